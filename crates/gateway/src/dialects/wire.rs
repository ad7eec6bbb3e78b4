//! What all dialects do alike: reading payloads, answering, and a few words that they share.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};
use trunkline_hub::{CloseReason, Encoded, Event, Socket};
use trunkline_protocol::{
    Ack, Failure,
    lenient::Any,
    native::{Content, Message, ServerShutdown},
};

/// The event's first argument, which must be there.
pub(super) fn payload<T: DeserializeOwned>(event: &Event) -> Result<T, Failure> {
    optional_payload(event)?.ok_or_else(|| Failure::invalid(format!("{} needs a payload", event.name)))
}

/// The event's first argument. An explicit `null` is none: it is what JavaScript sends for `undefined`.
pub(super) fn optional_payload<T: DeserializeOwned>(event: &Event) -> Result<Option<T>, Failure> {
    let read = event.args.payload::<Option<T>>();
    read.map(Option::flatten).map_err(|error| Failure::invalid(format!("{}: {}", event.name, reason(&error))))
}

/// What is wrong, without serde's position in a text that the client never saw.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned()
}

/// `{success: true, …}`.
pub(super) fn answer<T: Serialize>(value: T) -> Encoded {
    Encoded::ack(&Ack::from(Ok(value)))
}

/// Answers an event that asked for it, then tells of a failure in the dialect's way.
pub(super) fn conclude(socket: &Socket, event: Event, result: Result<Encoded, Failure>, fail: impl FnOnce(&Failure)) {
    let (answer, failure) = match result {
        Ok(answer) => (answer, None),
        Err(failure) => (Encoded::ack(&Ack::<()>::from(Err(failure.clone()))), Some(failure)),
    };
    if let Some(failure) = &failure {
        let (code, message) = (failure.code.as_str(), &failure.message);
        tracing::debug!(event = %event.name, code, %message, "refused an event");
        fail(failure);
    }
    if let Some(ack) = event.ack {
        ack.send(socket, &answer);
    }
}

/// The event's first argument under another name, with its binary parts.
pub(super) fn renamed(event: &Event, name: &str) -> Encoded {
    let args: Vec<Box<RawValue>> = serde_json::from_str(&event.args.text).unwrap_or_default();
    let name = Value::from(name);
    let text = match args.get(1) {
        Some(arg) => format!("[{name},{}]", arg.get()),
        None => format!("[{name}]"),
    };
    // Parts of other arguments may be among them: nothing points at those.
    Encoded::new(text, event.args.attachments.clone())
}

/// A message that may be anything.
///
/// # Errors
/// `invalid` when it has binary parts: the log keeps text.
pub(super) fn anything(event: &Event, message: &Any, kind: &str) -> Result<Content, Failure> {
    if !event.args.attachments.is_empty() {
        return Err(Failure::invalid("binary data can't be kept as a message, send a link to it"));
    }
    let value: Value = serde_json::from_str(message.0.get()).map_err(|error| Failure::invalid(reason(&error)))?;
    let (content, data) = match value {
        Value::String(text) => (text, None),
        other => (other.to_string(), Some(other)),
    };
    Ok(Content { content, kind: kind.to_owned(), data, ..Content::default() })
}

/// What was sent, as it was sent.
pub(super) fn value_of(message: &Message) -> Value {
    message.content.data.clone().unwrap_or_else(|| Value::from(message.content.content.as_str()))
}

/// What a client is told when this side closes it; `None` when it began, or when Node's servers say nothing either.
pub(super) fn last_word(reason: CloseReason) -> Option<&'static str> {
    Some(match reason {
        CloseReason::Shutdown => "the server is shutting down",
        CloseReason::SlowConsumer => "this connection reads too slowly",
        CloseReason::TokenExpired => "the token has expired",
        CloseReason::RateLimited => "too many events",
        CloseReason::Revoked => "access was revoked",
        CloseReason::Forbidden => "access is forbidden",
        CloseReason::Internal => "internal error",
        // Node's servers say nothing before a disconnect that a cluster member asked for, nor do we.
        CloseReason::ServerDisconnect | CloseReason::ServerClose => return None,
        // The client began it.
        CloseReason::ClientDisconnect
        | CloseReason::TransportClose
        | CloseReason::TransportError
        | CloseReason::PingTimeout
        | CloseReason::ParseError => return None,
    })
}

/// `server-shutdown`.
pub(super) fn shutdown(reconnect_after: Duration) -> ServerShutdown {
    ServerShutdown {
        message: "the server is shutting down, reconnecting will reach another node".to_owned(),
        reconnect_after_ms: u64::try_from(reconnect_after.as_millis()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use trunkline_protocol::{Code, native::Join};

    use super::*;

    fn event(args: &str) -> Event {
        let args = Encoded::new(args.to_owned(), vec![]);
        Event { name: args.event_name().unwrap().into_owned(), args, ack: None }
    }

    #[test]
    fn a_wrong_payload_is_explained_without_positions() {
        let failure = payload::<Join>(&event(r#"["conversation:join",{"limit":5}]"#)).unwrap_err();
        assert_eq!(failure.message, "conversation:join: missing field `conversationId`");
        assert_eq!(failure.code, Code::Invalid);
        for nothing in [r#"["conversation:join"]"#, r#"["conversation:join",null]"#] {
            let failure = payload::<Join>(&event(nothing)).unwrap_err();
            assert_eq!(failure.message, "conversation:join needs a payload");
        }
    }

    #[test]
    fn an_event_keeps_its_first_argument_under_another_name() {
        assert_eq!(&*renamed(&event(r#"["a",{"b":1},2]"#), "m").text, r#"["m",{"b":1}]"#);
        assert_eq!(&*renamed(&event(r#"["a"]"#), "m").text, r#"["m"]"#);
        let mut binary = event(r#"["a",{"_placeholder":true,"num":0}]"#);
        binary.args.attachments.push(Bytes::from_static(b"x"));
        let renamed = renamed(&binary, "m");
        assert_eq!(&*renamed.text, r#"["m",{"_placeholder":true,"num":0}]"#);
        assert_eq!(renamed.attachments.len(), 1);
    }

    #[test]
    fn a_message_that_is_no_text_is_kept_with_its_json() {
        let any = |text: &str| Any(RawValue::from_string(text.to_owned()).unwrap());
        let text = anything(&event(r#"["e"]"#), &any(r#""hi""#), "text").unwrap();
        assert_eq!((text.content.as_str(), text.data), ("hi", None));
        let object = anything(&event(r#"["e"]"#), &any(r#"{"a":[1]}"#), "text").unwrap();
        assert_eq!((object.content.as_str(), object.data), (r#"{"a":[1]}"#, Some(serde_json::json!({"a": [1]}))));
        let mut binary = event(r#"["e",{"_placeholder":true,"num":0}]"#);
        binary.args.attachments.push(Bytes::from_static(b"x"));
        assert_eq!(anything(&binary, &any("{}"), "text").unwrap_err().code, Code::Invalid);
    }
}
