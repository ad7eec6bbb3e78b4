//! The `showcase` dialect: a public chat, notifications, shared documents, checked data. What can't be read is a
//! `validation-error {error}`, what can't be done a `message-error {error}`.
//!
//! The chat is the conversation [`words::LOBBY`]: every socket is in it from the start. Those who `join` with a name are in
//! [`words::NAMED`] besides, which is how they are counted.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::{Value, json};
use trunkline_adapter::Fill;
use trunkline_hub::{CloseReason, Encoded, Event, Refusal, Socket};
use trunkline_protocol::{
    Code, Failure, ids,
    lenient::{Any, Text},
    native::{Content, DocumentCursor, DocumentEdit, History, Join, Message, Nothing, NotificationSend},
    online_users::BARE,
    showcase::{self as words, ChatMessage, ErrorNote, LOBBY, NAMED, Status, event as name},
};

use super::{
    Dialect, Echo, EditedDocument, EventRate, MessageWords,
    wire::{answer, anything, last_word, optional_payload, payload, shutdown, value_of},
};
use crate::{
    auth::AuthError,
    domain::{Caller, Domain, Effect, Relay, Session},
    time::ms_of_iso,
};

/// The dialect.
#[derive(Debug)]
pub struct Showcase;

#[async_trait]
impl Dialect for Showcase {
    async fn greet(&self, domain: &Arc<Domain>, socket: &Socket) {
        enter_lobby(domain, socket).await;
        // After it: who is welcome hears what is said.
        socket.emit(Encoded::event(name::WELCOME, &words::Welcome { message: "Welcome!" }));
    }

    async fn event(&self, domain: &Arc<Domain>, socket: &Socket, event: Event) {
        enter_lobby(domain, socket).await;
        let result = handle(domain, socket, &event).await;
        if result.is_ok() && event.name == name::MESSAGE {
            socket.emit(Encoded::bare_event(name::MESSAGE_SUCCESS));
        }
        conclude(socket, event, result);
    }

    fn refused(&self, socket: &Socket, event: Event, why: Failure) {
        conclude(socket, event, Err(why));
    }

    fn farewell(&self, reason: CloseReason) -> Option<Encoded> {
        last_word(reason).map(|text| error(name::MESSAGE_ERROR, text))
    }

    fn words(&self, effect: Effect<'_>) -> Option<Encoded> {
        Some(match effect {
            Effect::OnlineUsers { count, .. } | Effect::OnlineChanges { count, .. } => {
                Encoded::event(name::USER_COUNT, &count)
            }
            Effect::Typing { user, name: called, started, .. } => {
                let event = if started { name::USER_TYPING } else { name::USER_STOP_TYPING };
                Encoded::event(event, &words::UserTyping { username: called.unwrap_or(user) })
            }
            Effect::Notification(notification) => Encoded::event(name::NOTIFICATION, notification),
            Effect::DocumentCursor { document, user, position } => {
                Encoded::event(name::REMOTE_CURSOR, &words::RemoteCursor { doc_id: document, user_id: user, position })
            }
            Effect::Shutdown { reconnect_after } => Encoded::event(name::SERVER_SHUTDOWN, &shutdown(reconnect_after)),
            // The document has no words for these; who comes and goes by name is counted, see `announce`.
            Effect::Online { .. }
            | Effect::Offline { .. }
            | Effect::UserJoined { .. }
            | Effect::MemberJoined(_)
            | Effect::MemberLeft(_)
            | Effect::Delivered { .. }
            | Effect::Read { .. }
            | Effect::Call { .. }
            | Effect::Upload { .. }
            | Effect::Synced { .. }
            | Effect::Reset { .. }
            | Effect::TokenExpiring { .. } => return None,
        })
    }

    fn message(&self, message: &Message, _: Option<&Socket>) -> Option<MessageWords> {
        if message.content.kind == words::SAVED {
            return None;
        }
        let (payload, filled): (_, &[_]) = if message.content.kind == BARE {
            (value_of(message).to_string(), &[])
        } else {
            let filled: &[_] = if message.stored.is_some() { &[] } else { &[("id", Fill::MessageId)] };
            (serde_json::to_string(&chat_message(message)).ok()?, filled)
        };
        Some(MessageWords { event: name::NEW_MESSAGE, payload, filled, envelope: None, echo: Echo::All })
    }

    fn document_edited(&self, edited: &EditedDocument<'_>) -> Option<MessageWords> {
        let EditedDocument { document, content, cursor, user } = *edited;
        let edit =
            words::RemoteEdit { doc_id: document, content, version: None, cursor_position: cursor, user_id: user };
        let (payload, filled) = (serde_json::to_string(&edit).ok()?, &[("version", Fill::Seq)]);
        Some(MessageWords { event: name::REMOTE_EDIT, payload, filled, envelope: None, echo: Echo::Others })
    }

    async fn gone(&self, domain: &Arc<Domain>, socket: &Socket) {
        if socket.is_in(NAMED) {
            // Nobody is left to hear of a failure; the next to come or go brings the right number.
            let _ = announce(domain, socket, name::USER_LEFT).await;
        }
    }

    fn refusal(&self, _: AuthError) -> Refusal {
        Refusal { message: "Authentication error".to_owned(), code: Code::Unauthenticated.as_str() }
    }

    fn admits_guests(&self) -> bool {
        true
    }

    fn wants_online_users(&self) -> bool {
        true
    }

    fn rate(&self) -> Option<EventRate> {
        let (events, period) = (NonZeroU32::new(10)?, Duration::from_secs(60));
        Some(EventRate { event: Some(name::MESSAGE), events, period })
    }
}

async fn handle(domain: &Arc<Domain>, socket: &Socket, event: &Event) -> Result<Encoded, Failure> {
    match event.name.as_str() {
        name::JOIN => {
            let words::Username(username) = payload(event)?;
            ids::check("username", &username)?;
            join(domain, socket, &username).await?;
        }
        name::SEND_MESSAGE | name::CHAT_MESSAGE => {
            let words::SendMessage { text: Text(text), .. } = payload(event)?;
            return say(domain, socket, text, "text").await;
        }
        name::MESSAGE => {
            let (text, kind) = checked_message(socket, event)?;
            return say(domain, socket, text, kind).await;
        }
        name::TYPING | name::STOP_TYPING => {
            let words::Typing { username } = optional_payload(event)?.unwrap_or_default();
            if let Some(Text(username)) = username {
                ids::check("username", &username)?;
                if let (Some(session), false) = (Session::of(socket), socket.is_in(NAMED)) {
                    session.set_name(&username);
                }
            }
            domain.typing(socket, Some(LOBBY), None, event.name == name::TYPING).await?;
        }
        name::SEND_NOTIFICATION => {
            let words::SendNotification { user_id: Text(user_id), title, message } = payload(event)?;
            let text = |field: Option<Text>| field.unwrap_or_default().0;
            let ask = NotificationSend { user_id, title: text(title), message: text(message), kind: None, data: None };
            // In this document everybody may.
            domain.notify_as(Some(Caller::of(socket)?.id()), ask).await?;
        }
        name::JOIN_DOCUMENT => {
            let Text(document) = payload(event)?;
            let state = domain.open_document(socket, &document).await?;
            socket.emit(Encoded::event(name::DOCUMENT_STATE, &words::DocumentState { content: &state.content }));
        }
        name::LEAVE_DOCUMENT => {
            let Text(document) = payload(event)?;
            domain.close_document(socket, &document)?;
        }
        name::EDIT => {
            let words::Edit { doc_id: Text(document_id), content, cursor_position } = payload(event)?;
            let cursor_position = cursor_position.map(|Any(position)| position);
            let edit = DocumentEdit { document_id, content, base_version: None, cursor_position };
            domain.edit_document(socket, &edit).await?;
        }
        name::CURSOR_MOVE => {
            let words::CursorMove { doc_id: Text(document_id), position: Any(position) } = payload(event)?;
            domain.move_cursor(socket, &DocumentCursor { document_id, position })?;
        }
        name::SAVE_DATA => save(domain, socket, event).await?,
        name::SUBSCRIBE => {
            let Text(user) = payload(event)?;
            subscribe(socket, &user)?;
        }
        unknown => return Err(Failure::new(Code::NotFound, format!("there is no event `{unknown:.100}`"))),
    }
    Ok(answer(Nothing {}))
}

/// Everybody is in the lobby, as soon as the store can be told.
async fn enter_lobby(domain: &Arc<Domain>, socket: &Socket) {
    if socket.is_in(LOBBY) {
        return;
    }
    let lobby = Join { conversation_id: LOBBY.to_owned(), after: None, limit: Some(1) };
    if let Err(failure) = domain.join(socket, &lobby).await {
        tracing::warn!(message = %failure.message, "a socket is not in the lobby yet");
    }
}

/// Takes a name: the newcomer is given what was said before, and everybody hears who came and how many there are.
async fn join(domain: &Arc<Domain>, socket: &Socket, username: &str) -> Result<(), Failure> {
    let lobby = History { conversation_id: LOBBY.to_owned(), after: None, before: None, limit: Some(words::PREVIOUS) };
    let previous = domain.history(Caller::of(socket)?, &lobby).await?.messages;
    let previous: Vec<ChatMessage> = previous.iter().map(chat_message).collect();
    if let Some(session) = Session::of(socket) {
        session.set_name(username);
    }
    domain.join(socket, &Join { conversation_id: NAMED.to_owned(), after: None, limit: Some(1) }).await?;
    socket.emit(Encoded::event(name::PREVIOUS_MESSAGES, &previous));
    announce(domain, socket, name::USER_JOINED).await
}

/// Tells everyone who came or went, and how many with a name there are now.
async fn announce(domain: &Arc<Domain>, socket: &Socket, event: &str) -> Result<(), Failure> {
    let members = domain.members(Caller::of(socket)?, NAMED).await?.members;
    let user_count = members.iter().map(|member| u64::from(member.sockets)).sum();
    let called = Session::of(socket).and_then(Session::name);
    let username = called.as_deref().unwrap_or_default();
    let news = Encoded::event(event, &words::UserCount { username, user_count });
    domain.relay(socket, None, Relay::All, news, false).await
}

async fn say(domain: &Arc<Domain>, socket: &Socket, text: String, kind: &str) -> Result<Encoded, Failure> {
    let content = Content { content: text, kind: kind.to_owned(), ..Content::default() };
    domain.send(Caller::of(socket)?, LOBBY, content, None).await?;
    Ok(answer(Status { status: "ok" }))
}

/// Keeps an object with a name: as a message of the user to themselves, which nobody else can read.
async fn save(domain: &Arc<Domain>, socket: &Socket, event: &Event) -> Result<(), Failure> {
    let words::SaveData { name: Text(name) } = payload(event)?;
    if name.is_empty() {
        return Err(Failure::invalid("save-data: name must not be empty"));
    }
    let caller = Caller::of(socket)?;
    domain.send_private(caller, caller.id(), anything(event, &payload(event)?, words::SAVED)?, None).await?;
    Ok(())
}

/// The document checks the shape in `/`. In its other namespaces a bare text is passed on to everyone as it is.
fn checked_message(socket: &Socket, event: &Event) -> Result<(String, &'static str), Failure> {
    let bare = || event.args.payload::<String>().ok().flatten();
    let (text, kind) = match (socket.namespace().name(), bare()) {
        ("/", _) | (_, None) => (payload::<words::Data>(event)?.text, "text"),
        (_, Some(text)) => (text, BARE),
    };
    match text.chars().count() {
        1..=words::MESSAGE_CHARS => Ok((text, kind)),
        0 => Err(Failure::invalid("message: text must not be empty")),
        _ => Err(Failure::invalid(format!("message: text is longer than {} characters", words::MESSAGE_CHARS))),
    }
}

/// A user hears its own notifications anyway. A guest is nobody in particular, and may name who it is.
fn subscribe(socket: &Socket, user: &str) -> Result<(), Failure> {
    let session =
        Session::of(socket).ok_or_else(|| Failure::new(Code::Unauthenticated, "this connection is nobody's"))?;
    if session.identity.user == user {
        return Ok(());
    }
    if !session.identity.guest {
        return Err(Failure::forbidden("these are the notifications of somebody else"));
    }
    if !ids::is_user(user) {
        return Err(Failure::invalid("subscribe: this is no user id"));
    }
    socket.join(ids::user_room(user));
    Ok(())
}

fn chat_message(message: &Message) -> ChatMessage {
    ChatMessage {
        id: message.stored.as_ref().map(|stored| stored.id.clone()),
        username: message.sender_name.clone().unwrap_or_else(|| message.sender_id.clone()),
        user_id: message.sender_id.clone(),
        room: message.conversation_id.clone(),
        text: message.content.content.clone(),
        timestamp: ms_of_iso(&message.timestamp),
    }
}

/// Answers an event that asked for it, and tells of a failure: in the event that fits it.
fn conclude(socket: &Socket, event: Event, result: Result<Encoded, Failure>) {
    let answer = match result {
        Ok(answer) => answer,
        Err(failure) => {
            let (code, message) = (failure.code.as_str(), failure.message.as_str());
            tracing::debug!(event = %event.name, code, message, "refused an event");
            match failure.code {
                // Who asks for an answer has it.
                _ if event.ack.is_some() && event.name == name::SAVE_DATA => {}
                Code::RateLimited => socket.emit(Encoded::bare_event(name::RATE_LIMIT_EXCEEDED)),
                Code::Invalid | Code::TooLarge => socket.emit(error(name::VALIDATION_ERROR, message)),
                _ => socket.emit(error(name::MESSAGE_ERROR, message)),
            }
            let failed: Value = json!({ "success": false, "status": "error", "error": message, "code": code });
            Encoded::ack(&failed)
        }
    };
    if let Some(ack) = event.ack {
        ack.send(socket, &answer);
    }
}

fn error(event: &str, error: &str) -> Encoded {
    Encoded::event(event, &ErrorNote { error })
}
