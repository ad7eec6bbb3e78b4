//! The `native` dialect: `noun:verb`, event by event.

mod conversations;
mod documents;
mod messages;
mod people;

use serde::{Deserialize, Serialize};

pub use conversations::*;
pub use documents::*;
pub use messages::*;
pub use people::*;

use crate::events::events;

events! {
    client {
        CONVERSATION_JOIN "conversation:join" (String | Join) -> Joined,
        CONVERSATION_LEAVE "conversation:leave" (String | ConversationRef) -> Left,
        CONVERSATION_MEMBERS "conversation:members" (String | ConversationRef) -> Members,
        CONVERSATION_LIST "conversation:list" (Option<ConversationList>) -> ConversationPage,
        MESSAGE_SEND "message:send" (Send) -> Sent,
        PRIVATE_MESSAGE "private:message" (SendPrivate) -> Sent,
        MESSAGE_EDIT "message:edit" (Edit) -> Changed,
        MESSAGE_DELETE "message:delete" (Delete) -> Changed,
        MESSAGE_HISTORY "message:history" (History) -> HistoryPage,
        MESSAGES_MISSED "messages:missed" (Option<MissedAsk>) -> Missed,
        MESSAGE_STATUS "message:status" (StatusAsk) -> MessageStatus,
        GET_ONLINE_COUNT "get:online:count" () -> OnlineCount,
        PRESENCE_GET "presence:get" (PresenceGet) -> PresenceUsers,
        PRESENCE_LIST "presence:list" (Option<PresenceList>) -> PresencePage,
        PRESENCE_WATCH "presence:watch" (PresenceGet) -> PresenceUsers,
        PRESENCE_UNWATCH "presence:unwatch" (PresenceGet) -> PresenceUsers,
        NOTIFICATION_SEND "notification:send" (NotificationSend) -> NotificationSent,
        DOCUMENT_JOIN "document:join" (DocumentRef) -> DocumentState,
        DOCUMENT_LEAVE "document:leave" (DocumentRef) -> Nothing,
        DOCUMENT_EDIT "document:edit" (DocumentEdit) -> DocumentVersion,
        AUTH_REFRESH "auth:refresh" (Refresh) -> Refreshed,
    }
    server {
        CONNECTED "connected" (Connected<'static>),
        CONVERSATION_SYNCED "conversation:synced" (Synced),
        CONVERSATION_RESET "conversation:reset" (Reset),
        MESSAGE_NEW "message:new" (Message),
        MESSAGE_EDITED "message:edited" (Edited),
        MESSAGE_DELETED "message:deleted" (Deleted),
        MEMBER_JOINED "member:joined" (MemberChange<'static>),
        MEMBER_LEFT "member:left" (MemberChange<'static>),
        USER_JOINED "user:joined" (UserJoined<'static>),
        USER_ONLINE "user:online" (UserOnline<'static>),
        USER_OFFLINE "user:offline" (UserOffline<'static>),
        NOTIFICATION "notification" (Notification),
        DOCUMENT_EDITED "document:edited" (DocumentEdited<'static>),
        AUTH_EXPIRING "auth:expiring" (Expiring),
        SERVER_SHUTDOWN "server-shutdown" (ServerShutdown),
        ERROR "error" (ErrorEvent<'static>),
    }
    both {
        MESSAGE_DELIVERED "message:delivered" (Delivered) -> Nothing, (DeliveredNotice<'static>),
        MESSAGE_READ "message:read" (Read) -> Nothing, (ReadNotice<'static>),
        TYPING_START "typing:start" (Typing) -> Nothing, (TypingNotice<'static>),
        TYPING_STOP "typing:stop" (Typing) -> Nothing, (TypingNotice<'static>),
        DOCUMENT_CURSOR "document:cursor" (DocumentCursor) -> Nothing, (DocumentCursorNotice<'static>),
        CALL_SIGNAL "call:signal" (CallSignal) -> Nothing, (CallSignalNotice<'static>),
        UPLOAD_PROGRESS "upload:progress" (UploadProgress) -> Nothing, (UploadProgressNotice<'static>),
    }
}

/// An ack that adds nothing to `success`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Nothing {}

/// `connected`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct Connected<'a> {
    /// Who the token says this is.
    pub user_id: &'a str,
    /// This socket.
    pub socket_id: &'a str,
    /// The node it is on.
    pub node_id: &'a str,
    /// ISO 8601.
    pub server_time: String,
    /// When the token runs out, ISO 8601; absent when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// `auth:refresh`: a new token for the same user.
#[derive(Clone, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Refresh {
    /// The token.
    pub token: String,
}

impl std::fmt::Debug for Refresh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Refresh { token: … }")
    }
}

/// What `auth:refresh` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Refreshed {
    /// When the new token runs out, ISO 8601; `null` when it does not.
    pub expires_at: Option<String>,
}

/// `auth:expiring`: refresh soon, or the connection ends.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Expiring {
    /// ISO 8601.
    pub expires_at: String,
}

/// `server-shutdown`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ServerShutdown {
    /// For a person.
    pub message: String,
    /// How long to wait before coming back: spread, so that clients don't come all at once.
    pub reconnect_after_ms: u64,
}

/// `error`: a failure without an ack to carry it, or the last word before the server closes a socket.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct ErrorEvent<'a> {
    /// What went wrong.
    pub code: &'a str,
    /// For a person.
    pub message: &'a str,
    /// The event that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<&'a str>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
}
