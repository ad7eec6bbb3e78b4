//! The `conversations` dialect: stored conversations, typing, and what its document wishes for. A failure is a
//! `messageError {error}`, the one event in which the document's clients look for it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::Serialize;
use serde_json::json;
use trunkline_adapter::Fill;
use trunkline_hub::{CloseReason, Encoded, Event, Gather, Handshake, Refusal, Socket};
use trunkline_protocol::{
    Code, Failure,
    conversations::{self as words, MessageError, event as name},
    lenient::{RoomRef, Text},
    limits,
    native::{self, Content, Join, Message, Nothing},
};

use super::{
    Dialect, Echo, MessageWords,
    wire::{answer, conclude, last_word, payload, shutdown},
};
use crate::{
    auth::AuthError,
    domain::{Caller, Domain, Effect, Member, Session},
    time::iso,
};

/// The dialect.
#[derive(Debug)]
pub struct Conversations;

/// What the store fills in: databases' clients look for `_id`.
const IDS: &[(&str, Fill)] =
    &[("id", Fill::MessageId), ("_id", Fill::MessageId), ("seq", Fill::Seq), ("epoch", Fill::Epoch)];

/// How long messages are gathered for clients that want several at a time.
const BATCH: Duration = Duration::from_millis(100);

#[async_trait]
impl Dialect for Conversations {
    async fn event(&self, domain: &Arc<Domain>, socket: &Socket, event: Event) {
        let result = handle(domain, socket, &event).await;
        conclude(socket, event, result, |failure| socket.emit(error(name::MESSAGE_ERROR, &failure.message)));
    }

    fn refused(&self, socket: &Socket, event: Event, why: Failure) {
        conclude(socket, event, Err(why), |failure| socket.emit(error(name::MESSAGE_ERROR, &failure.message)));
    }

    fn farewell(&self, reason: CloseReason) -> Option<Encoded> {
        last_word(reason).map(|text| error(name::ERROR, text))
    }

    fn words(&self, effect: Effect<'_>) -> Option<Encoded> {
        Some(match effect {
            Effect::Online { user } => Encoded::event(name::USER_ONLINE, &native::UserOnline { user_id: user }),
            Effect::Offline { user, last_seen_ms } => {
                let last_seen = iso(last_seen_ms);
                Encoded::event(name::USER_OFFLINE, &native::UserOffline { user_id: user, last_seen })
            }
            Effect::MemberJoined(member) => viewing(name::USER_VIEWING, &member),
            Effect::MemberLeft(member) => viewing(name::USER_STOPPED_VIEWING, &member),
            Effect::Typing { conversation, user, name: called, started } => {
                let event = if started { name::USER_TYPING } else { name::USER_STOPPED_TYPING };
                let user_id = shown(user, called);
                Encoded::event(event, &words::TypingNotice { conversation_id: conversation, user_id })
            }
            Effect::Delivered { conversation, seq, user } => Encoded::event(
                name::MESSAGE_DELIVERED,
                &words::Receipt { conversation_id: conversation, message_id: None, seq: Some(seq), user_id: user },
            ),
            Effect::Read { conversation, message_id, reader, .. } => Encoded::event(
                name::MESSAGE_READ,
                &words::Receipt {
                    conversation_id: conversation,
                    message_id: Some(message_id),
                    seq: None,
                    user_id: reader,
                },
            ),
            Effect::Notification(notification) => Encoded::event(name::NOTIFICATION, notification),
            Effect::Call { from, data } => Encoded::event(name::CALL_SIGNAL, &native::CallSignalNotice { from, data }),
            Effect::Upload { conversation, user, upload, file_name, percent } => Encoded::event(
                name::UPLOAD_PROGRESS,
                &native::UploadProgressNotice {
                    conversation_id: conversation,
                    user_id: user,
                    upload_id: upload,
                    file_name,
                    percent,
                },
            ),
            Effect::Shutdown { reconnect_after } => Encoded::event(name::SERVER_SHUTDOWN, &shutdown(reconnect_after)),
            // The document has no words for these.
            Effect::OnlineUsers { .. }
            | Effect::OnlineChanges { .. }
            | Effect::UserJoined { .. }
            | Effect::DocumentCursor { .. }
            | Effect::Synced { .. }
            | Effect::Reset { .. }
            | Effect::TokenExpiring { .. } => return None,
        })
    }

    fn message(&self, message: &Message, _: Option<&Socket>) -> Option<MessageWords> {
        Some(MessageWords {
            event: name::RECEIVE_MESSAGE,
            payload: serde_json::to_string(&stored_message(message)).ok()?,
            filled: if message.stored.is_some() { &[] } else { IDS },
            envelope: Some((json!({ "conversationId": message.conversation_id }).to_string(), "message")),
            echo: Echo::All,
        })
    }

    fn edited(&self, edited: &native::Edited) -> Option<MessageWords> {
        changed(
            name::MESSAGE_EDITED,
            &words::MessageEdited {
                conversation_id: &edited.conversation_id,
                message_id: &edited.message_id,
                content: &edited.content,
                timestamp: &edited.timestamp,
            },
        )
    }

    fn deleted(&self, deleted: &native::Deleted) -> Option<MessageWords> {
        changed(
            name::MESSAGE_DELETED,
            &words::MessageDeleted {
                conversation_id: &deleted.conversation_id,
                message_id: &deleted.message_id,
                timestamp: &deleted.timestamp,
            },
        )
    }

    fn refusal(&self, _: AuthError) -> Refusal {
        Refusal { message: "Authentication error".to_owned(), code: Code::Unauthenticated.as_str() }
    }

    fn admits_guests(&self) -> bool {
        true
    }

    fn gathers(&self, handshake: &Handshake) -> Option<Gather> {
        let rule = Gather { event: name::RECEIVE_MESSAGE, into: name::MESSAGES_BATCH, period: BATCH };
        let in_query = || {
            form_urlencoded::parse(handshake.query().as_bytes()).any(|(key, value)| key == "batch" && value == "true")
        };
        let in_auth = handshake.auth().get("batch").is_some_and(|batch| *batch == true);
        (in_auth || in_query()).then_some(rule)
    }
}

async fn handle(domain: &Arc<Domain>, socket: &Socket, event: &Event) -> Result<Encoded, Failure> {
    match event.name.as_str() {
        name::JOIN_ROOM => {
            let RoomRef(conversation_id) = payload(event)?;
            domain.join(socket, &Join { conversation_id, after: None, limit: Some(1) }).await?;
        }
        name::LEAVE_ROOM => {
            let RoomRef(conversation) = payload(event)?;
            domain.leave_conversation(socket, &conversation).await?;
        }
        name::SEND_MESSAGE => return send(domain, socket, payload(event)?).await,
        name::TYPING | name::STOP_TYPING => {
            let words::Typing { conversation_id: Text(conversation), user_id } = payload(event)?;
            believe_guest(socket, user_id.as_ref());
            domain.typing(socket, Some(&conversation), None, event.name == name::TYPING).await?;
        }
        name::EDIT_MESSAGE => {
            let words::EditMessage { message_id, content: Text(content), .. } = payload(event)?;
            let (conversation, _) = place(&message_id)?;
            domain.edit(Caller::of(socket)?, conversation, &message_id, &content).await?;
        }
        name::DELETE_MESSAGE => {
            let words::MessageRef { message_id, .. } = payload(event)?;
            let (conversation, _) = place(&message_id)?;
            domain.delete(Caller::of(socket)?, conversation, &message_id).await?;
        }
        name::MESSAGE_DELIVERED => {
            let words::MessageRef { message_id, .. } = payload(event)?;
            let (conversation, seq) = place(&message_id)?;
            domain.delivered(Caller::of(socket)?, conversation, seq).await?;
        }
        name::MESSAGE_READ => {
            let words::MessageRef { message_id, .. } = payload(event)?;
            domain.read(Caller::of(socket)?, &message_id, None).await?;
        }
        name::MESSAGE_STATUS => {
            let words::MessageRef { message_id, .. } = payload(event)?;
            let (conversation, _) = place(&message_id)?;
            return domain.status(Caller::of(socket)?, conversation, &message_id).await.map(answer);
        }
        name::CALL_SIGNAL => domain.signal(Caller::of(socket)?, &payload(event)?)?,
        name::UPLOAD_PROGRESS => domain.upload_progress(Caller::of(socket)?, &payload(event)?).await?,
        name::GET_VIEWERS => {
            let RoomRef(conversation) = payload(event)?;
            let members = domain.members(Caller::of(socket)?, &conversation).await?.members;
            return Ok(answer(words::Viewers { viewers: members.into_iter().map(|member| member.user_id).collect() }));
        }
        unknown => return Err(Failure::new(Code::NotFound, format!("there is no event `{unknown:.100}`"))),
    }
    Ok(answer(Nothing {}))
}

/// Checks in the document's words, then as everywhere.
async fn send(domain: &Arc<Domain>, socket: &Socket, ask: words::SendMessage) -> Result<Encoded, Failure> {
    let given = |text: Option<Text>| text.map(|Text(text)| text).filter(|text| !text.is_empty());
    let missing = || Failure::invalid("Missing required fields");
    let (conversation, sender) = (given(ask.conversation_id).ok_or_else(missing)?, ask.sender_id);
    let content = match given(ask.content) {
        Some(content) => content,
        // A file speaks for itself.
        None if ask.file_url.is_some() => String::new(),
        None => return Err(missing()),
    };
    if content.chars().count() > limits::CONTENT_CHARS {
        return Err(Failure::new(Code::TooLarge, "Message too long"));
    }
    believe_guest(socket, sender.as_ref());
    let sender = given(sender);
    if sender.is_none() && is_guest(socket) {
        return Err(missing());
    }
    let content = Content {
        content,
        kind: ask.kind.unwrap_or_else(|| "text".to_owned()),
        file_url: ask.file_url,
        file_name: ask.file_name,
        ..Content::default()
    };
    let caller = Caller::of(socket)?.or_as(sender.as_deref())?;
    let sent = domain.send(caller, &conversation, content, given(ask.client_message_id)).await?;
    Ok(answer(words::Sent { message_id: sent.message_id, timestamp: sent.timestamp }))
}

/// Where a message stands, which its id tells.
fn place(message_id: &str) -> Result<(&str, u64), Failure> {
    let parsed = trunkline_store::parse_message_id(message_id).map(|(conversation, _, seq)| (conversation, seq));
    parsed.ok_or_else(|| Failure::new(Code::NotFound, "there is no such message"))
}

fn is_guest(socket: &Socket) -> bool {
    Session::of(socket).is_some_and(|session| session.identity.guest)
}

/// A guest is who it says it is, in what others are shown.
fn believe_guest(socket: &Socket, user_id: Option<&Text>) {
    if let (Some(Text(name)), Some(session), true) = (user_id, Session::of(socket), is_guest(socket))
        && trunkline_protocol::ids::is_user(name)
    {
        session.set_name(name);
    }
}

/// Only guests of this dialect and those who `join` in `showcase` call themselves something; a guest's own id says nothing.
fn shown<'a>(user: &'a str, called: Option<&'a str>) -> &'a str {
    called.filter(|_| user.starts_with("guest:")).unwrap_or(user)
}

fn viewing(event: &str, member: &Member<'_>) -> Encoded {
    let user_id = shown(member.user, member.name);
    Encoded::event(event, &words::TypingNotice { conversation_id: member.conversation, user_id })
}

fn stored_message(message: &Message) -> words::StoredMessage {
    words::StoredMessage {
        ids: message.stored.as_ref().map(|stored| stored.id.as_str().into()),
        position: message
            .stored
            .as_ref()
            .map(|stored| native::Position { epoch: stored.epoch.clone(), seq: stored.seq }),
        conversation_id: message.conversation_id.clone(),
        sender_id: message.sender_id.clone(),
        content: message.content.content.clone(),
        kind: message.content.kind.clone(),
        file_url: message.content.file_url.clone(),
        file_name: message.content.file_name.clone(),
        status: native::DeliveryStatus::Sent,
        timestamp: message.timestamp.clone(),
        client_message_id: message.client_message_id.clone(),
    }
}

fn changed(event: &'static str, payload: &impl Serialize) -> Option<MessageWords> {
    let payload = serde_json::to_string(payload).ok()?;
    Some(MessageWords { event, payload, filled: &[], envelope: None, echo: Echo::All })
}

fn error(event: &str, error: &str) -> Encoded {
    Encoded::event(event, &MessageError { error })
}
