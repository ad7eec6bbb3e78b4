//! The `online-users` dialect: the list of who is online, direct messages, rooms, notifications. A failure is an
//! `error {message}`.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use trunkline_adapter::Fill;
use trunkline_hub::{CloseReason, Encoded, Event, Refusal, Socket};
use trunkline_protocol::{
    Code, Failure,
    lenient::{RoomRef, Text},
    limits,
    native::{Content, Join, Message, MissedItem, Nothing, Notification, Sent},
    online_users::{self as words, DirectMessage, ErrorMessage, RoomMessage, SendMessage, event as name},
};

use super::{
    Dialect, Echo, EventRate, MessageWords,
    wire::{answer, anything, conclude, last_word, optional_payload, payload, shutdown, value_of},
};
use crate::{
    auth::AuthError,
    domain::{Caller, Domain, Effect, Member, Relay},
    time::iso,
};

/// The dialect.
#[derive(Debug)]
pub struct OnlineUsers;

/// Between two `ping`s, which are the application's own: the engine has others.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Pages that one `requestMissedMessages` brings at the most; the client may ask again.
const MISSED_PAGES: usize = 20;

/// What the store fills in: databases' clients look for `_id`.
const IDS: &[(&str, Fill)] = &[("id", Fill::MessageId), ("_id", Fill::MessageId)];

#[async_trait]
impl Dialect for OnlineUsers {
    async fn event(&self, domain: &Arc<Domain>, socket: &Socket, event: Event) {
        let result = handle(domain, socket, &event).await;
        conclude(socket, event, result, |failure| socket.emit(error(&failure.message)));
    }

    fn refused(&self, socket: &Socket, event: Event, why: Failure) {
        conclude(socket, event, Err(why), |failure| socket.emit(error(&failure.message)));
    }

    fn farewell(&self, reason: CloseReason) -> Option<Encoded> {
        last_word(reason).map(error)
    }

    fn words(&self, effect: Effect<'_>) -> Option<Encoded> {
        Some(match effect {
            Effect::OnlineUsers { users, .. } => Encoded::event(name::GET_ONLINE_USERS, users?),
            Effect::OnlineChanges { came, went, count } => Encoded::event(
                name::ONLINE_USERS_CHANGED,
                &words::OnlineUsersChanged { online: came, offline: went, count },
            ),
            Effect::MemberJoined(Member { conversation, user, at_ms, .. }) => Encoded::event(
                name::USER_JOINED_ROOM,
                &words::UserJoinedRoom { user_id: user, room_id: conversation, timestamp: iso(at_ms) },
            ),
            Effect::MemberLeft(Member { conversation, user, .. }) => {
                Encoded::event(name::USER_LEFT_ROOM, &words::UserLeftRoom { user_id: user, room_id: conversation })
            }
            Effect::Typing { user, started, .. } => {
                Encoded::event(name::USER_TYPING, &words::UserTyping { user_id: user, is_typing: started })
            }
            Effect::Notification(notification) => notified(notification),
            Effect::Shutdown { reconnect_after } => Encoded::event(name::SERVER_SHUTDOWN, &shutdown(reconnect_after)),
            // The document has no words for these: presence is told as lists, the rest not at all.
            Effect::Online { .. }
            | Effect::Offline { .. }
            | Effect::UserJoined { .. }
            | Effect::Delivered { .. }
            | Effect::Read { .. }
            | Effect::DocumentCursor { .. }
            | Effect::Call { .. }
            | Effect::Upload { .. }
            | Effect::Synced { .. }
            | Effect::Reset { .. }
            | Effect::TokenExpiring { .. } => return None,
        })
    }

    fn message(&self, message: &Message, _: Option<&Socket>) -> Option<MessageWords> {
        let filled = if message.stored.is_some() { &[] } else { IDS };
        if let Some(direct) = direct(message) {
            let payload = serde_json::to_string(&direct).ok()?;
            // The sender shows its own message when it sends it; the document's pages would show it twice.
            return Some(MessageWords {
                event: name::NEW_MESSAGE,
                payload,
                filled,
                envelope: None,
                echo: Echo::Members,
            });
        }
        let value = value_of(message);
        if message.content.kind == words::BARE {
            let payload = value.to_string();
            return Some(MessageWords {
                event: name::NEW_MESSAGE,
                payload,
                filled: &[],
                envelope: None,
                echo: Echo::All,
            });
        }
        let new = words::NewRoomMessage {
            ids: message.stored.as_ref().map(|stored| stored.id.as_str().into()),
            user_id: &message.sender_id,
            room_id: &message.conversation_id,
            message: &value,
            timestamp: &message.timestamp,
        };
        let payload = serde_json::to_string(&new).ok()?;
        Some(MessageWords { event: name::NEW_ROOM_MESSAGE, payload, filled, envelope: None, echo: Echo::Members })
    }

    fn refusal(&self, error: AuthError) -> Refusal {
        let message = if error == AuthError::NoToken { "Authentication required" } else { "Invalid token" };
        Refusal { message: message.to_owned(), code: Code::Unauthenticated.as_str() }
    }

    fn wants_online_users(&self) -> bool {
        true
    }

    fn rate(&self) -> Option<EventRate> {
        Some(EventRate { event: None, events: NonZeroU32::new(10)?, period: Duration::from_secs(1) })
    }

    fn heartbeat(&self) -> Option<(Duration, Encoded)> {
        Some((HEARTBEAT, Encoded::bare_event(name::PING)))
    }
}

async fn handle(domain: &Arc<Domain>, socket: &Socket, event: &Event) -> Result<Encoded, Failure> {
    let caller = Caller::of(socket)?;
    match event.name.as_str() {
        name::TYPING => {
            let words::Typing { receiver_id, is_typing } = payload(event)?;
            domain.typing(socket, None, Some(&receiver_id.0), is_typing).await?;
            Ok(answer(Nothing {}))
        }
        name::JOIN_ROOM => {
            let RoomRef(room) = payload(event)?;
            let join = Join { conversation_id: room.clone(), after: None, limit: Some(1) };
            domain.join(socket, &join).await?;
            let joined = words::UserLeftRoom { user_id: caller.id(), room_id: &room };
            domain.relay(socket, Some(&room), Relay::All, Encoded::event(name::USER_JOINED, &joined), false).await?;
            Ok(answer(Nothing {}))
        }
        name::LEAVE_ROOM => {
            let RoomRef(room) = payload(event)?;
            domain.leave_conversation(socket, &room).await?;
            Ok(answer(Nothing {}))
        }
        name::SEND_MESSAGE_TO_ROOM => {
            let RoomMessage { room_id: Text(room), message } = payload(event)?;
            domain.send(caller, &room, anything(event, &message, "text")?, None).await.map(sent)
        }
        name::SEND_MESSAGE => match payload(event)? {
            SendMessage::Room(RoomMessage { room_id: Text(room), message }) => {
                domain.send(caller, &room, anything(event, &message, words::BARE)?, None).await.map(sent)
            }
            SendMessage::Direct(words::DirectSend { receiver_id: Text(receiver), text: Text(content) }) => {
                let content = Content { content, kind: "text".to_owned(), ..Content::default() };
                domain.send_private(caller, &receiver, content, None).await.map(sent)
            }
        },
        name::REQUEST_MISSED_MESSAGES => {
            missed(domain, socket).await?;
            Ok(answer(Nothing {}))
        }
        name::LIST_ONLINE_USERS => domain.online_users(&optional_payload(event)?.unwrap_or_default()).await.map(answer),
        name::PONG => Ok(answer(Nothing {})),
        unknown => Err(Failure::new(Code::NotFound, format!("there is no event `{unknown:.100}`"))),
    }
}

/// Everything that arrived while this user was away, in pages; each counts as delivered once it is out. Notifications arrive as
/// they would have.
async fn missed(domain: &Arc<Domain>, socket: &Socket) -> Result<(), Failure> {
    let caller = Caller::of(socket)?;
    for _ in 0..MISSED_PAGES {
        let missed = domain.missed(caller, Some(limits::PAGE_MAX)).await?;
        let mut messages = Vec::new();
        for item in &missed.messages {
            match item {
                MissedItem::Message(message) => messages.extend(direct(message)),
                MissedItem::Notification(notification) => {
                    socket.emit(notified(notification));
                }
            }
        }
        socket.emit(Encoded::event(name::MISSED_MESSAGES, &messages));
        domain.took(caller, &missed).await;
        if missed.complete {
            break;
        }
    }
    Ok(())
}

/// Back ends of the document put fields of their own beside `type` and `message`: here those of `data`.
fn notified(notification: &Notification) -> Encoded {
    let mut fields = serde_json::to_value(notification).unwrap_or_default();
    if let Some(Value::Object(data)) = fields.get("data").cloned()
        && let Some(fields) = fields.as_object_mut()
    {
        for (field, value) in data {
            fields.entry(field).or_insert(value);
        }
    }
    Encoded::event(name::NOTIFICATION, &fields)
}

fn error(message: &str) -> Encoded {
    Encoded::event(name::ERROR, &ErrorMessage { message })
}

fn sent(sent: Sent) -> Encoded {
    answer(words::Sent { message_id: sent.message_id, timestamp: sent.timestamp })
}

/// A message to one user; `None` when it is not.
pub(crate) fn direct(message: &Message) -> Option<DirectMessage> {
    let receiver_id = message.recipient_user_id.clone()?;
    Some(DirectMessage {
        ids: message.stored.as_ref().map(|stored| stored.id.as_str().into()),
        sender_id: message.sender_id.clone(),
        receiver_id,
        text: message.content.content.clone(),
        timestamp: message.timestamp.clone(),
    })
}
