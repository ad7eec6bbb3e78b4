//! The `conversations` dialect: stored conversations, and what its document wishes for.

use serde::{Deserialize, Serialize};

use crate::{
    events::events,
    lenient::{RoomRef, Text},
    native::{
        CallSignal, CallSignalNotice, DeliveryStatus, MessageStatus, Nothing, Notification, Position, ServerShutdown,
        UploadProgress, UploadProgressNotice, UserOffline, UserOnline,
    },
    online_users::BothIds,
};

events! {
    client {
        JOIN_ROOM "joinRoom" (RoomRef) -> Nothing,
        LEAVE_ROOM "leaveRoom" (RoomRef) -> Nothing,
        SEND_MESSAGE "sendMessage" (SendMessage) -> Sent,
        EDIT_MESSAGE "editMessage" (EditMessage) -> Nothing,
        DELETE_MESSAGE "deleteMessage" (MessageRef) -> Nothing,
        MESSAGE_STATUS "messageStatus" (MessageRef) -> MessageStatus,
        GET_VIEWERS "getViewers" (RoomRef) -> Viewers,
        TYPING "typing" (Typing) -> Nothing,
        STOP_TYPING "stopTyping" (Typing) -> Nothing,
    }
    server {
        RECEIVE_MESSAGE "receiveMessage" (ReceiveMessage),
        MESSAGES_BATCH "messagesBatch" (Vec<ReceiveMessage>),
        MESSAGE_ERROR "messageError" (MessageError<'static>),
        MESSAGE_EDITED "messageEdited" (MessageEdited<'static>),
        MESSAGE_DELETED "messageDeleted" (MessageDeleted<'static>),
        USER_TYPING "userTyping" (TypingNotice<'static>),
        USER_STOPPED_TYPING "userStoppedTyping" (TypingNotice<'static>),
        USER_VIEWING "userViewing" (TypingNotice<'static>),
        USER_STOPPED_VIEWING "userStoppedViewing" (TypingNotice<'static>),
        USER_ONLINE "userOnline" (UserOnline<'static>),
        USER_OFFLINE "userOffline" (UserOffline<'static>),
        NOTIFICATION "notification" (Notification),
        SERVER_SHUTDOWN "server-shutdown" (ServerShutdown),
        ERROR "error" (MessageError<'static>),
    }
    both {
        MESSAGE_DELIVERED "messageDelivered" (MessageRef) -> Nothing, (Receipt<'static>),
        MESSAGE_READ "messageRead" (MessageRef) -> Nothing, (Receipt<'static>),
        CALL_SIGNAL "callSignal" (CallSignal) -> Nothing, (CallSignalNotice<'static>),
        UPLOAD_PROGRESS "uploadProgress" (UploadProgress) -> Nothing, (UploadProgressNotice<'static>),
    }
}

/// `sendMessage`. Everything may be missing here: what has to be there is said in the document's own words.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct SendMessage {
    /// Where to.
    #[serde(default)]
    pub conversation_id: Option<Text>,
    /// Who, as the client says; believed only of guests.
    #[serde(default)]
    pub sender_id: Option<Text>,
    /// What.
    #[serde(default)]
    pub content: Option<Text>,
    /// `text`, `image` or `file`.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// Where the file is.
    #[serde(default)]
    pub file_url: Option<String>,
    /// What it is called.
    #[serde(default)]
    pub file_name: Option<String>,
    /// Makes a repeat harmless.
    #[serde(default)]
    pub client_message_id: Option<Text>,
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

/// `receiveMessage`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ReceiveMessage {
    /// Where.
    pub conversation_id: String,
    /// What.
    pub message: StoredMessage,
}

/// A message as it is stored. It leaves here without ids, which the store fills in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct StoredMessage {
    /// Its id, under both names that clients look for.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub ids: Option<BothIds>,
    /// Its place.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Where.
    pub conversation_id: String,
    /// Who.
    pub sender_id: String,
    /// What.
    pub content: String,
    /// `text`, `image` or `file`, or what another dialect's client said.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where the file is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_url: Option<String>,
    /// What it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// `sent`: further on `messageStatus` tells.
    pub status: DeliveryStatus,
    /// ISO 8601.
    pub timestamp: String,
    /// As the sender gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<String>,
}

/// `messageError`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct MessageError<'a> {
    /// For a person.
    pub error: &'a str,
}

/// `typing` and `stopTyping`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct Typing {
    /// Where.
    pub conversation_id: Text,
    /// Who, as the client says; believed only of guests.
    #[serde(default)]
    pub user_id: Option<Text>,
}

/// `userTyping`, `userStoppedTyping`, `userViewing` and `userStoppedViewing`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct TypingNotice<'a> {
    /// Where.
    pub conversation_id: &'a str,
    /// Who.
    pub user_id: &'a str,
}

/// An event about one message. Its id finds its conversation.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct MessageRef {
    /// Which one.
    pub message_id: String,
    /// Where, as the client believes.
    #[serde(default)]
    pub conversation_id: Option<Text>,
}

/// `editMessage`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct EditMessage {
    /// Which of the user's own messages.
    pub message_id: String,
    /// Where, as the client believes.
    #[serde(default)]
    pub conversation_id: Option<Text>,
    /// What it is to say.
    pub content: Text,
}

/// `messageEdited`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct MessageEdited<'a> {
    /// Where.
    pub conversation_id: &'a str,
    /// Which message.
    pub message_id: &'a str,
    /// What it says now.
    pub content: &'a str,
    /// ISO 8601.
    pub timestamp: &'a str,
}

/// `messageDeleted`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct MessageDeleted<'a> {
    /// Where.
    pub conversation_id: &'a str,
    /// Which message.
    pub message_id: &'a str,
    /// ISO 8601.
    pub timestamp: &'a str,
}

/// `messageDelivered` and `messageRead` to the sender.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct Receipt<'a> {
    /// Where.
    pub conversation_id: &'a str,
    /// Which message, and all of the conversation's before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<&'a str>,
    /// Its number in the conversation, when that is what is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Who has it, or read it.
    pub user_id: &'a str,
}

/// What `getViewers` answers.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Viewers {
    /// Who has the conversation open.
    pub viewers: Vec<String>,
}
