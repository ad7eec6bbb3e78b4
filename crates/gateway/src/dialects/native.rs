//! The `native` dialect: `noun:verb`. Every event with an ack answers `{success: true, …}` or
//! `{success: false, error, message, retryable}`; without one a failure arrives as `error`.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use trunkline_adapter::Fill;
use trunkline_hub::{CloseReason, Encoded, Event, Socket};
use trunkline_protocol::{
    Ack, Code, Failure,
    native::{self, Message, event as name},
};

use super::{
    Dialect, Echo, EditedDocument, MessageWords,
    wire::{answer, last_word, optional_payload, payload, shutdown},
};
use crate::{
    domain::{Caller, Domain, EditOutcome, Effect, Member, Session},
    time::{iso, now_ms, since_epoch_ms},
};

/// The dialect.
#[derive(Debug)]
pub struct Native {
    node_id: String,
}

impl Native {
    /// On this node.
    pub fn new(node_id: &str) -> Self {
        Self { node_id: node_id.to_owned() }
    }
}

#[async_trait]
impl Dialect for Native {
    fn welcome(&self, socket: &Socket) {
        let Some(session) = Session::of(socket) else { return };
        let connected = native::Connected {
            user_id: &session.identity.user,
            socket_id: socket.id(),
            node_id: &self.node_id,
            server_time: iso(now_ms()),
            expires_at: session.expires_at().map(|at| iso(since_epoch_ms(at))),
        };
        socket.emit(Encoded::event(name::CONNECTED, &connected));
    }

    async fn event(&self, domain: &Arc<Domain>, socket: &Socket, mut event: Event) {
        if event.name == name::MESSAGES_MISSED {
            if let Err(failure) = missed(domain, socket, &mut event).await {
                fail(socket, event, failure);
            }
            return;
        }
        match handle(domain, socket, &event).await {
            Ok(answer) => {
                if let Some(ack) = event.ack {
                    ack.send(socket, &answer);
                }
            }
            Err(failure) => fail(socket, event, failure),
        }
    }

    fn refused(&self, socket: &Socket, event: Event, why: Failure) {
        fail(socket, event, why);
    }

    fn failed(&self, socket: &Socket, what: &str, failure: &Failure) {
        socket.emit(error(what, failure));
    }

    fn farewell(&self, reason: CloseReason) -> Option<Encoded> {
        let message = last_word(reason)?;
        let retryable = reason.how() == trunkline_hub::Close::Transport;
        Some(Encoded::event(name::ERROR, &native::ErrorEvent { code: reason.code(), message, event: None, retryable }))
    }

    fn words(&self, effect: Effect<'_>) -> Option<Encoded> {
        Some(match effect {
            Effect::Online { user } => Encoded::event(name::USER_ONLINE, &native::UserOnline { user_id: user }),
            Effect::Offline { user, last_seen_ms } => {
                Encoded::event(name::USER_OFFLINE, &native::UserOffline { user_id: user, last_seen: iso(last_seen_ms) })
            }
            Effect::UserJoined { user, at_ms } => {
                Encoded::event(name::USER_JOINED, &native::UserJoined { user_id: user, timestamp: iso(at_ms) })
            }
            Effect::MemberJoined(member) => Encoded::event(name::MEMBER_JOINED, &member_change(&member)),
            Effect::MemberLeft(member) => Encoded::event(name::MEMBER_LEFT, &member_change(&member)),
            Effect::Typing { conversation, user, started, .. } => Encoded::event(
                if started { name::TYPING_START } else { name::TYPING_STOP },
                &native::TypingNotice { user_id: user, conversation_id: conversation },
            ),
            Effect::Synced { conversation, epoch, seq, count } => Encoded::event(
                name::CONVERSATION_SYNCED,
                &native::Synced { conversation_id: conversation.to_owned(), position: position(epoch, seq), count },
            ),
            Effect::Reset { conversation, epoch, seq, reason } => Encoded::event(
                name::CONVERSATION_RESET,
                &native::Reset { conversation_id: conversation.to_owned(), position: position(epoch, seq), reason },
            ),
            Effect::Shutdown { reconnect_after } => Encoded::event(name::SERVER_SHUTDOWN, &shutdown(reconnect_after)),
            Effect::Delivered { conversation, seq, user } => Encoded::event(
                name::MESSAGE_DELIVERED,
                &native::DeliveredNotice { conversation_id: conversation, seq, user_id: user },
            ),
            Effect::Read { conversation, message_id, reader, at_ms } => Encoded::event(
                name::MESSAGE_READ,
                &native::ReadNotice {
                    message_id,
                    read_by: reader,
                    conversation_id: conversation,
                    timestamp: iso(at_ms),
                },
            ),
            Effect::Notification(notification) => Encoded::event(name::NOTIFICATION, notification),
            Effect::DocumentCursor { document, user, position } => Encoded::event(
                name::DOCUMENT_CURSOR,
                &native::DocumentCursorNotice { document_id: document, user_id: user, position },
            ),
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
            Effect::TokenExpiring { expires_at_ms } => {
                Encoded::event(name::AUTH_EXPIRING, &native::Expiring { expires_at: iso(expires_at_ms) })
            }
            // Pages on request, and the changes one by one.
            Effect::OnlineUsers { .. } | Effect::OnlineChanges { .. } => return None,
        })
    }

    fn message(&self, message: &Message, _: Option<&Socket>) -> Option<MessageWords> {
        let filled = &[("id", Fill::MessageId), ("seq", Fill::Seq), ("epoch", Fill::Epoch)];
        stored(name::MESSAGE_NEW, message, filled)
    }

    fn edited(&self, edited: &native::Edited) -> Option<MessageWords> {
        stored(name::MESSAGE_EDITED, edited, POSITION)
    }

    fn document_edited(&self, edited: &EditedDocument<'_>) -> Option<MessageWords> {
        let EditedDocument { document, content, cursor, user } = *edited;
        let edit = native::DocumentEdited {
            document_id: document,
            content,
            version: None,
            cursor_position: cursor,
            user_id: user,
        };
        stored(name::DOCUMENT_EDITED, &edit, &[("version", Fill::Seq)])
    }

    fn deleted(&self, deleted: &native::Deleted) -> Option<MessageWords> {
        stored(name::MESSAGE_DELETED, deleted, POSITION)
    }
}

/// What the store fills in where there is an entry's place, but no new message.
const POSITION: &[(&str, Fill)] = &[("seq", Fill::Seq), ("epoch", Fill::Epoch)];

/// An event for what is stored; the sending socket has its ack instead.
fn stored<T: Serialize>(
    event: &'static str,
    payload: &T,
    filled: &'static [(&'static str, Fill)],
) -> Option<MessageWords> {
    let payload = serde_json::to_string(payload).ok()?;
    Some(MessageWords { event, payload, filled, envelope: None, echo: Echo::Others })
}

/// Event to command, and its result to an answer.
async fn handle(domain: &Arc<Domain>, socket: &Socket, event: &Event) -> Result<Encoded, Failure> {
    let caller = Caller::of(socket)?;
    match event.name.as_str() {
        name::CONVERSATION_JOIN => domain.join(socket, &payload(event)?).await.map(answer),
        name::CONVERSATION_LEAVE => {
            let native::ConversationRef { conversation_id } = payload(event)?;
            domain.leave_conversation(socket, &conversation_id).await.map(answer)
        }
        name::CONVERSATION_MEMBERS => {
            let native::ConversationRef { conversation_id } = payload(event)?;
            domain.members(caller, &conversation_id).await.map(answer)
        }
        name::MESSAGE_SEND => {
            let native::Send { conversation_id, content, client_message_id } = payload(event)?;
            domain.send(caller, &conversation_id, content, client_message_id).await.map(answer)
        }
        name::PRIVATE_MESSAGE => {
            let native::SendPrivate { recipient_user_id, content, client_message_id } = payload(event)?;
            domain.send_private(caller, &recipient_user_id, content, client_message_id).await.map(answer)
        }
        name::MESSAGE_HISTORY => domain.history(caller, &payload(event)?).await.map(answer),
        name::TYPING_START | name::TYPING_STOP => {
            let native::Typing { conversation_id, recipient_user_id } = payload(event)?;
            let started = event.name == name::TYPING_START;
            let (conversation, recipient) = (conversation_id.as_deref(), recipient_user_id.as_deref());
            domain.typing(socket, conversation, recipient, started).await.map(done)
        }
        name::GET_ONLINE_COUNT => domain.online_count().await.map(answer),
        name::PRESENCE_GET => {
            let native::PresenceGet { user_ids } = payload(event)?;
            domain.presence_of(&user_ids).await.map(answer)
        }
        name::PRESENCE_LIST => domain.online_users(&optional_payload(event)?.unwrap_or_default()).await.map(answer),
        name::CONVERSATION_LIST => {
            domain.conversations(caller, &optional_payload(event)?.unwrap_or_default()).await.map(answer)
        }
        name::MESSAGE_EDIT => {
            let native::Edit { conversation_id, message_id, content } = payload(event)?;
            domain.edit(caller, &conversation_id, &message_id, &content).await.map(answer)
        }
        name::MESSAGE_DELETE => {
            let native::Delete { conversation_id, message_id } = payload(event)?;
            domain.delete(caller, &conversation_id, &message_id).await.map(answer)
        }
        name::MESSAGE_DELIVERED => {
            let native::Delivered { conversation_id, seq } = payload(event)?;
            domain.delivered(caller, &conversation_id, seq).await.map(done)
        }
        name::MESSAGE_READ => {
            let native::Read { message_id, conversation_id, .. } = payload(event)?;
            domain.read(caller, &message_id, conversation_id.as_deref()).await.map(done)
        }
        name::MESSAGE_STATUS => {
            let native::StatusAsk { conversation_id, message_id } = payload(event)?;
            domain.status(caller, &conversation_id, &message_id).await.map(answer)
        }
        name::PRESENCE_WATCH => {
            let native::PresenceGet { user_ids } = payload(event)?;
            domain.watch(socket, &user_ids).await.map(answer)
        }
        name::PRESENCE_UNWATCH => {
            let native::PresenceGet { user_ids } = payload(event)?;
            domain.unwatch(socket, &user_ids).await.map(answer)
        }
        name::NOTIFICATION_SEND => domain.notify(caller, payload(event)?).await.map(answer),
        name::DOCUMENT_JOIN => {
            let native::DocumentRef { document_id } = payload(event)?;
            domain.open_document(socket, &document_id).await.map(answer)
        }
        name::DOCUMENT_LEAVE => {
            let native::DocumentRef { document_id } = payload(event)?;
            domain.close_document(socket, &document_id).map(done)
        }
        name::DOCUMENT_EDIT => Ok(match domain.edit_document(socket, &payload(event)?).await? {
            EditOutcome::Stored(version) => answer(native::DocumentVersion { version }),
            EditOutcome::Conflict(state) => Encoded::ack(&native::DocumentConflict::new(state)),
        }),
        name::DOCUMENT_CURSOR => domain.move_cursor(socket, &payload(event)?).map(done),
        name::CALL_SIGNAL => domain.signal(caller, &payload(event)?).map(done),
        name::UPLOAD_PROGRESS => domain.upload_progress(caller, &payload(event)?).await.map(done),
        name::AUTH_REFRESH => {
            let native::Refresh { token } = payload(event)?;
            domain.refresh(socket, &token).await.map(answer)
        }
        unknown => Err(Failure::new(Code::NotFound, format!("there is no event `{unknown:.100}`"))),
    }
}

/// An ack that adds nothing.
fn done((): ()) -> Encoded {
    answer(native::Nothing {})
}

/// Gives out what was missed, and only then takes it out of the inbox.
async fn missed(domain: &Arc<Domain>, socket: &Socket, event: &mut Event) -> Result<(), Failure> {
    let caller = Caller::of(socket)?;
    let native::MissedAsk { limit } = optional_payload(event)?.unwrap_or_default();
    let missed = domain.missed(caller, limit).await?;
    // Who does not ask for an answer gets none, and misses nothing later.
    if let Some(ack) = event.ack.take() {
        ack.send(socket, &answer(&missed));
        domain.took(caller, &missed).await;
    }
    Ok(())
}

/// A failure reaches the client by the ack, or else as `error`.
fn fail(socket: &Socket, event: Event, failure: Failure) {
    tracing::debug!(event = %event.name, code = failure.code.as_str(), message = %failure.message, "refused an event");
    match event.ack {
        Some(ack) => ack.send(socket, &Encoded::ack(&Ack::<()>::from(Err(failure)))),
        None => socket.emit(error(&event.name, &failure)),
    }
}

fn error(event: &str, failure: &Failure) -> Encoded {
    let (code, message) = (failure.code.as_str(), failure.message.as_str());
    let error = native::ErrorEvent { code, message, event: Some(event), retryable: failure.code.retryable() };
    Encoded::event(name::ERROR, &error)
}

fn position(epoch: &str, seq: u64) -> native::Position {
    native::Position { epoch: epoch.to_owned(), seq }
}

fn member_change<'a>(member: &Member<'a>) -> native::MemberChange<'a> {
    native::MemberChange { conversation_id: member.conversation, user_id: member.user, timestamp: iso(member.at_ms) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_closings_by_the_server_have_a_last_word() {
        let native = Native::new("n");
        let word = native.farewell(CloseReason::SlowConsumer).unwrap();
        let payload: serde_json::Value = word.payload().unwrap().unwrap();
        assert_eq!(payload["code"], json!("slow_consumer"));
        assert_eq!(payload["retryable"], json!(true));
        let revoked: serde_json::Value = native.farewell(CloseReason::Revoked).unwrap().payload().unwrap().unwrap();
        assert_eq!(revoked["retryable"], json!(false));
        assert!(native.farewell(CloseReason::TransportClose).is_none());
    }
}
