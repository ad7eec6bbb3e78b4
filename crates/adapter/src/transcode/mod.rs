//! Between the two forms of an event: JSON text with attachments, as clients and the hub have it, and msgpack
//! as JavaScript's notepack writes it, which the cluster speaks.
//!
//! A generic transcoder won't do. Binary data is a placeholder and an attachment on one side and `bin` on the
//! other; dates, `undefined` and array buffers are extension types that become what `JSON.stringify` makes of them.

pub(crate) mod date;
mod number;
mod read;
mod to_json;
mod to_msgpack;
pub(crate) mod write;

pub(crate) use read::{Reader, Token, lossy};
pub(crate) use to_json::{event_to_json, to_json};
#[cfg(any(fuzzing, test))]
pub(crate) use to_msgpack::replace_lone_surrogates;
pub(crate) use to_msgpack::{
    event_to_msgpack, first_to_msgpack, json_to_msgpack, open_map_to_msgpack, value_to_msgpack,
};

/// How deep values may be nested. The same limit as serde_json's, so that what comes in can go out.
const MAX_DEPTH: usize = 127;

/// Event names that mean something to Socket.IO itself. A client that receives one closes its connection.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// Why a message of another member can't be used. None of these is worth a second try.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("the message ends in the middle of a value")]
    Truncated,
    #[error("there are bytes after the message")]
    Trailing,
    #[error("0x{0:02x} starts no msgpack value")]
    Marker(u8),
    #[error("values are nested too deeply")]
    TooDeep,
    #[error("a map key is neither text nor a number")]
    Key,
    #[error("{0} is missing or of the wrong type")]
    Field(&'static str),
    #[error("packets of type {0} don't travel between servers")]
    PacketType(u64),
    #[error("it is no event that a client could take")]
    NotAnEvent,
    #[error("requests of type {0} are not known")]
    RequestType(u64),
    #[error("it is a request of Socket.IO 2")]
    Legacy,
    #[error("it is no valid JSON")]
    Json,
    #[error("it has more than {} bytes", crate::limits::MESSAGE_BYTES)]
    TooLarge,
}

impl DecodeError {
    /// Its name in metrics.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Trailing => "trailing",
            Self::Marker(_) => "marker",
            Self::TooDeep => "too_deep",
            Self::Key => "key",
            Self::Field(_) => "field",
            Self::PacketType(_) => "packet_type",
            Self::NotAnEvent => "not_an_event",
            Self::RequestType(_) => "request_type",
            Self::Legacy => "legacy",
            Self::Json => "json",
            Self::TooLarge => "too_large",
        }
    }
}

/// Why an event can't go to the other members. Nothing was published, since a message that Node can't decode ends
/// the Node process.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The text is no JSON, or names an attachment that isn't there.
    #[error("the event can't be written as msgpack")]
    Json(#[source] serde_json::Error),
    /// The text is no array that starts with a name, or the name is one of Socket.IO's own.
    #[error("an event is an array that starts with its name, which must not be one of Socket.IO's own")]
    NotAnEvent,
    /// The payload of a template is no JSON object.
    #[error("a template's payload is a JSON object")]
    NotAnObject,
    /// A field would be there twice: once from the payload, once to be filled in.
    #[error("the field {0} of the payload is to be filled in later")]
    FilledTwice(String),
    /// The encoded message has more bytes than members accept.
    #[error("the encoded event has {0} bytes")]
    TooLarge(usize),
}

impl EncodeError {
    /// Whether the same call may succeed later. Never: the event itself is at fault.
    pub fn retryable(&self) -> bool {
        false
    }
}

pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}
