//! The `rooms` dialect: echoes, broadcasts and rooms.

use serde::{Deserialize, Serialize};

use crate::{
    events::events,
    lenient::{Any, RoomRef, Text},
    native::Nothing,
    online_users::ErrorMessage,
};

events! {
    client {
        BROADCAST "broadcast" (Any) -> Nothing,
        ANNOUNCE "announce" (Any) -> Nothing,
        CHAT "chat" (Chat) -> Nothing,
        JOIN_ROOM "join_room" (RoomRef) -> Nothing,
        LEAVE_ROOM "leave_room" (RoomRef) -> Nothing,
        ROOM_MESSAGE "room_message" (RoomMessage) -> Nothing,
        ROOM_ANNOUNCE "room_announce" (RoomMessage) -> Nothing,
    }
    server {
        RESPONSE "response" (Response<'static>),
        SUCCESS "success" (Note<'static>),
        ANNOUNCEMENT "announcement" (Any),
        CHAT_RESPONSE "chat_response" (ChatResponse<'static>),
        USER_JOINED "user_joined" (UserJoined<'static>),
        USER_LEFT "user_left" (UserLeft<'static>),
        NOTIFICATION "notification" (crate::native::Notification),
        SERVER_SHUTDOWN "server-shutdown" (crate::native::ServerShutdown),
        ERROR "error" (ErrorMessage<'static>),
    }
    both {
        MESSAGE "message" (Any) -> Nothing, (Any),
    }
}

/// The `type` of a message that its sender hears too, see `room_announce`.
pub const ANNOUNCED: &str = "announcement";

/// `chat`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct Chat {
    /// Anything; comes back.
    #[serde(default)]
    #[cfg_attr(test, ts(as = "Option<Any>"))]
    pub message: Option<Any>,
}

/// `room_message` and `room_announce`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct RoomMessage {
    /// Where to.
    pub room_id: Text,
    /// Anything.
    pub message: Any,
}

/// `response`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct Response<'a> {
    /// Always the same text.
    pub message: &'a str,
    /// What was sent; absent when nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(as = "Option<Any>"))]
    pub data: Option<&'a Any>,
}

/// `success`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Note<'a> {
    /// For a person.
    pub message: &'a str,
}

/// `chat_response`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct ChatResponse<'a> {
    /// `ok`.
    pub status: &'a str,
    /// What was sent; absent when nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(as = "Option<Any>"))]
    pub echo: Option<&'a Any>,
}

/// `message` and `announcement` in a room; its id is filled in by the store.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct FromSocket<'a> {
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    /// Who, as long as the sender's socket is known: not for what was sent over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_id: Option<&'a str>,
    /// Whose socket.
    pub user_id: &'a str,
    /// Where.
    pub room_id: &'a str,
    /// As it was sent.
    #[cfg_attr(test, ts(as = "Any"))]
    pub message: &'a serde_json::Value,
}

/// `user_joined`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct UserJoined<'a> {
    /// Who.
    pub socket_id: &'a str,
    /// Where.
    pub room_id: &'a str,
}

/// `user_left`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct UserLeft<'a> {
    /// Who.
    pub socket_id: &'a str,
    /// Where.
    pub room_id: &'a str,
}
