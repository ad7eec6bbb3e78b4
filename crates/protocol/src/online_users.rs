//! The `online-users` dialect: who is online, direct messages, rooms, notifications.

use serde::{Deserialize, Serialize};

use crate::{
    events::events,
    lenient::{Any, RoomRef, Text},
    native::{Nothing, PresenceList, PresencePage},
};

events! {
    client {
        TYPING "typing" (Typing) -> Nothing,
        JOIN_ROOM "joinRoom" (RoomRef) -> Nothing,
        LEAVE_ROOM "leaveRoom" (RoomRef) -> Nothing,
        SEND_MESSAGE_TO_ROOM "sendMessageToRoom" (RoomMessage) -> Sent,
        SEND_MESSAGE "sendMessage" (RoomMessage | DirectSend) -> Sent,
        REQUEST_MISSED_MESSAGES "requestMissedMessages" () -> Nothing,
        LIST_ONLINE_USERS "listOnlineUsers" (Option<PresenceList>) -> PresencePage,
        PONG "pong" (),
    }
    server {
        GET_ONLINE_USERS "getOnlineUsers" (Vec<String>),
        ONLINE_USERS_CHANGED "onlineUsersChanged" (OnlineUsersChanged<'static>),
        NEW_MESSAGE "newMessage" (DirectMessage),
        USER_TYPING "userTyping" (UserTyping<'static>),
        USER_JOINED_ROOM "userJoinedRoom" (UserJoinedRoom<'static>),
        USER_JOINED "userJoined" (UserLeftRoom<'static>),
        USER_LEFT_ROOM "userLeftRoom" (UserLeftRoom<'static>),
        NEW_ROOM_MESSAGE "newRoomMessage" (NewRoomMessage<'static>),
        NOTIFICATION "notification" (crate::native::Notification),
        MISSED_MESSAGES "missedMessages" (Vec<DirectMessage>),
        PING "ping" (),
        SERVER_SHUTDOWN "server-shutdown" (crate::native::ServerShutdown),
        ERROR "error" (ErrorMessage<'static>),
    }
    both {}
}

/// The `type` of a message whose value is all that hearers get, see `sendMessage`.
pub const BARE: &str = "bare";

/// `typing`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Typing {
    /// To whom.
    pub receiver_id: Text,
    /// Whether it goes on; a client that leaves it out has begun.
    #[serde(default = "yes")]
    #[cfg_attr(test, ts(as = "Option<bool>", optional))]
    pub is_typing: bool,
}

fn yes() -> bool {
    true
}

/// `sendMessageToRoom`, and `sendMessage` to a room.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct RoomMessage {
    /// Where to.
    pub room_id: Text,
    /// Anything.
    pub message: Any,
}

/// `sendMessage` to one user.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct DirectSend {
    /// Whom to.
    pub receiver_id: Text,
    /// What.
    pub text: Text,
}

/// `sendMessage`: the fields say to whom.
#[derive(Clone, Debug)]
pub enum SendMessage {
    /// To a room.
    Room(RoomMessage),
    /// To one user.
    Direct(DirectSend),
}

impl<'de> Deserialize<'de> for SendMessage {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not an untagged enum: its errors would not say which field is missing.
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Either {
            #[serde(default)]
            room_id: Option<Text>,
            #[serde(default)]
            message: Option<Any>,
            #[serde(default)]
            receiver_id: Option<Text>,
            #[serde(default)]
            text: Option<Text>,
        }
        let missing = serde::de::Error::missing_field;
        match Either::deserialize(deserializer)? {
            Either { room_id: Some(room_id), message, .. } => {
                let message = message.ok_or_else(|| missing("message"))?;
                Ok(Self::Room(RoomMessage { room_id, message }))
            }
            Either { receiver_id: Some(receiver_id), text, .. } => {
                let text = text.ok_or_else(|| missing("text"))?;
                Ok(Self::Direct(DirectSend { receiver_id, text }))
            }
            Either { .. } => Err(serde::de::Error::custom("missing field `receiverId` or `roomId`")),
        }
    }
}

/// What sending answers to a client that asks.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Sent {
    /// The message's id.
    pub message_id: String,
    /// ISO 8601.
    pub timestamp: String,
}

/// `newMessage`, in `missedMessages`, and what `POST /api/messages` answers.
///
/// `newMessage` leaves here without its ids, which the store fills in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct DirectMessage {
    /// Its id, under both names that clients look for.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub ids: Option<BothIds>,
    /// Who.
    pub sender_id: String,
    /// To whom.
    pub receiver_id: String,
    /// What.
    pub text: String,
    /// ISO 8601.
    pub timestamp: String,
}

/// One id under two names: clients of databases look for `_id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct BothIds {
    /// The id.
    pub id: String,
    /// The id.
    #[serde(rename = "_id")]
    pub underscored: String,
}

impl From<&str> for BothIds {
    fn from(id: &str) -> Self {
        Self { id: id.to_owned(), underscored: id.to_owned() }
    }
}

/// `userTyping`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct UserTyping<'a> {
    /// Who.
    pub user_id: &'a str,
    /// Whether it goes on.
    pub is_typing: bool,
}

/// `userJoinedRoom`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct UserJoinedRoom<'a> {
    /// Who.
    pub user_id: &'a str,
    /// Where.
    pub room_id: &'a str,
    /// ISO 8601.
    pub timestamp: String,
}

/// `userLeftRoom`, and `userJoined`, which the one who joined hears too.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct UserLeftRoom<'a> {
    /// Who.
    pub user_id: &'a str,
    /// Where.
    pub room_id: &'a str,
}

/// `newRoomMessage`; its id is filled in by the store.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct NewRoomMessage<'a> {
    /// Its id, under both names that clients look for.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub ids: Option<BothIds>,
    /// Who.
    pub user_id: &'a str,
    /// Where.
    pub room_id: &'a str,
    /// As it was sent.
    #[cfg_attr(test, ts(as = "Any"))]
    pub message: &'a serde_json::Value,
    /// ISO 8601.
    pub timestamp: &'a str,
}

/// `onlineUsersChanged`, in place of `getOnlineUsers` while more users are online than are told in one list.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct OnlineUsersChanged<'a> {
    /// Who came.
    pub online: &'a [String],
    /// Who went.
    pub offline: &'a [String],
    /// How many there are now.
    pub count: u64,
}

/// `error`: a handler failed.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ErrorMessage<'a> {
    /// For a person.
    pub message: &'a str,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_goes_where_its_fields_say() {
        let send = |value: serde_json::Value| serde_json::from_str::<SendMessage>(&value.to_string());
        assert!(matches!(send(json!({"roomId": 1, "message": {"any": []}})).unwrap(), SendMessage::Room(_)));
        assert!(matches!(send(json!({"receiverId": "a", "text": "hi"})).unwrap(), SendMessage::Direct(_)));
        for (wrong, missing) in [
            (json!({"roomId": "r"}), "message"),
            (json!({"receiverId": "a"}), "text"),
            (json!({"receiverId": null}), "receiverId"),
            (json!({}), "receiverId"),
        ] {
            assert!(send(wrong).unwrap_err().to_string().contains(&format!("missing field `{missing}`")));
        }
    }
}
