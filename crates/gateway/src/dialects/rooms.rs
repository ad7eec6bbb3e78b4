//! The `rooms` dialect: echoes, broadcasts and rooms. A failure is an `error {message}`.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use async_trait::async_trait;
use trunkline_adapter::Fill;
use trunkline_hub::{CloseReason, Encoded, Event, Refusal, Socket};
use trunkline_protocol::{
    Code, Failure,
    lenient::{Any, RoomRef, Text},
    native::{Join, Message, Nothing},
    online_users::ErrorMessage,
    rooms::{self as words, event as name},
};

use super::{
    Dialect, Echo, EventRate, MessageWords,
    wire::{answer, anything, conclude, last_word, optional_payload, payload, renamed, shutdown, value_of},
};
use crate::{
    auth::AuthError,
    domain::{Caller, Domain, Effect, Member, Relay},
};

/// The dialect.
#[derive(Debug)]
pub struct Rooms;

#[async_trait]
impl Dialect for Rooms {
    async fn event(&self, domain: &Arc<Domain>, socket: &Socket, event: Event) {
        let result = handle(domain, socket, &event).await;
        conclude(socket, event, result, |failure| socket.emit(error(&failure.message)));
    }

    fn refused(&self, socket: &Socket, event: Event, why: Failure) {
        conclude(socket, event, Err(why), |failure| {
            let limited = failure.code == Code::RateLimited;
            socket.emit(error(if limited { "Rate limit exceeded" } else { &failure.message }));
        });
    }

    fn farewell(&self, reason: CloseReason) -> Option<Encoded> {
        last_word(reason).map(error)
    }

    fn words(&self, effect: Effect<'_>) -> Option<Encoded> {
        Some(match effect {
            Effect::MemberJoined(Member { conversation, socket, .. }) => {
                Encoded::event(name::USER_JOINED, &words::UserJoined { socket_id: socket, room_id: conversation })
            }
            Effect::MemberLeft(Member { conversation, socket, .. }) => {
                Encoded::event(name::USER_LEFT, &words::UserLeft { socket_id: socket, room_id: conversation })
            }
            Effect::Notification(notification) => Encoded::event(name::NOTIFICATION, notification),
            Effect::Shutdown { reconnect_after } => Encoded::event(name::SERVER_SHUTDOWN, &shutdown(reconnect_after)),
            // The document has no words for these.
            Effect::Online { .. }
            | Effect::Offline { .. }
            | Effect::OnlineUsers { .. }
            | Effect::OnlineChanges { .. }
            | Effect::UserJoined { .. }
            | Effect::Typing { .. }
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

    fn message(&self, message: &Message, socket: Option<&Socket>) -> Option<MessageWords> {
        let announced = message.content.kind == words::ANNOUNCED;
        let value = value_of(message);
        let from = words::FromSocket {
            id: message.stored.as_ref().map(|stored| stored.id.as_str()),
            socket_id: socket.map(|socket| &**socket.id()),
            user_id: &message.sender_id,
            room_id: &message.conversation_id,
            message: &value,
        };
        Some(MessageWords {
            event: if announced { name::ANNOUNCEMENT } else { name::MESSAGE },
            payload: serde_json::to_string(&from).ok()?,
            filled: if message.stored.is_some() { &[] } else { &[("id", Fill::MessageId)] },
            envelope: None,
            echo: if announced { Echo::All } else { Echo::Members },
        })
    }

    fn refusal(&self, error: AuthError) -> Refusal {
        let why = if error == AuthError::NoToken { "No token" } else { "Invalid token" };
        Refusal { message: format!("Authentication error: {why}"), code: Code::Unauthenticated.as_str() }
    }

    fn admits_guests(&self) -> bool {
        true
    }

    fn rate(&self) -> Option<EventRate> {
        let (events, period) = (NonZeroU32::new(10)?, Duration::from_secs(60));
        Some(EventRate { event: Some(name::MESSAGE), events, period })
    }
}

async fn handle(domain: &Arc<Domain>, socket: &Socket, event: &Event) -> Result<Encoded, Failure> {
    let caller = Caller::of(socket)?;
    match event.name.as_str() {
        name::MESSAGE => {
            socket.emit(echoed(event)?);
            socket.emit(Encoded::event(name::SUCCESS, &words::Note { message: "Processed" }));
        }
        name::BROADCAST => domain.relay(socket, None, Relay::Others, renamed(event, name::MESSAGE), false).await?,
        name::ANNOUNCE => domain.relay(socket, None, Relay::All, renamed(event, name::ANNOUNCEMENT), false).await?,
        name::CHAT => {
            let words::Chat { message } = optional_payload(event)?.unwrap_or(words::Chat { message: None });
            let response =
                Encoded::event(name::CHAT_RESPONSE, &words::ChatResponse { status: "ok", echo: message.as_ref() });
            socket.emit(Encoded::new(response.text, event.args.attachments.clone()));
        }
        name::JOIN_ROOM => {
            let RoomRef(room) = payload(event)?;
            domain.join(socket, &Join { conversation_id: room, after: None, limit: Some(1) }).await?;
        }
        name::LEAVE_ROOM => {
            let RoomRef(room) = payload(event)?;
            domain.leave_conversation(socket, &room).await?;
        }
        name::ROOM_MESSAGE | name::ROOM_ANNOUNCE => {
            let words::RoomMessage { room_id: Text(room), message } = payload(event)?;
            let kind = if event.name == name::ROOM_ANNOUNCE { words::ANNOUNCED } else { "text" };
            domain.send(caller, &room, anything(event, &message, kind)?, None).await?;
        }
        unknown => return Err(Failure::new(Code::NotFound, format!("there is no event `{unknown:.100}`"))),
    }
    Ok(answer(Nothing {}))
}

/// `response`, with binary parts where the message had them.
fn echoed(event: &Event) -> Result<Encoded, Failure> {
    let data: Option<Any> = optional_payload(event)?;
    let response =
        Encoded::event(name::RESPONSE, &words::Response { message: "Message received", data: data.as_ref() });
    let attachments = event.args.attachments.clone();
    Ok(Encoded::new(response.text, attachments))
}

fn error(message: &str) -> Encoded {
    Encoded::event(name::ERROR, &ErrorMessage { message })
}
