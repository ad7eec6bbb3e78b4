//! People: who types, who is online, and what is sent to one of them.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// `typing:start` and `typing:stop` from a client: to a conversation or to one user.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct Typing {
    /// Where.
    #[serde(default)]
    pub conversation_id: Option<String>,
    /// Or to whom.
    #[serde(default)]
    pub recipient_user_id: Option<String>,
}

/// `typing:start` and `typing:stop` to a client.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct TypingNotice<'a> {
    /// Who.
    pub user_id: &'a str,
    /// Where.
    pub conversation_id: &'a str,
}

/// `user:online`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct UserOnline<'a> {
    /// Who.
    pub user_id: &'a str,
}

/// `user:offline`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct UserOffline<'a> {
    /// Who.
    pub user_id: &'a str,
    /// ISO 8601.
    pub last_seen: String,
}

/// `user:joined`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct UserJoined<'a> {
    /// Who.
    pub user_id: &'a str,
    /// ISO 8601.
    pub timestamp: String,
}

/// What `get:online:count` answers.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct OnlineCount {
    /// Users online on all nodes.
    pub count: u64,
}

/// `presence:get`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct PresenceGet {
    /// Whom to look up.
    pub user_ids: Vec<String>,
}

/// `presence:list`.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
#[into_params(parameter_in = Query)]
pub struct PresenceList {
    /// How many.
    #[serde(default)]
    pub limit: Option<usize>,
    /// Where the last page ended.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// One user's presence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct UserPresence {
    /// Who.
    pub user_id: String,
    /// Whether online.
    pub online: bool,
    /// ISO 8601; absent for a user who was never seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    /// With how many sockets.
    pub sockets: u32,
}

/// What `presence:get` answers.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct PresenceUsers {
    /// In the order asked.
    pub users: Vec<UserPresence>,
}

/// What `presence:list` answers.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct PresencePage {
    /// Users online.
    pub users: Vec<UserPresence>,
    /// How many there are in all.
    pub count: u64,
    /// Where the next page starts; `null` when this was the last.
    pub cursor: Option<String>,
}

/// `notification:send`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct NotificationSend {
    /// Whom to.
    pub user_id: String,
    /// A headline.
    pub title: String,
    /// A text.
    pub message: String,
    /// What the application likes.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// What the application likes.
    #[serde(default)]
    #[cfg_attr(test, ts(as = "Option<crate::lenient::Any>"))]
    pub data: Option<Box<RawValue>>,
}

/// What `notification:send` answers.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct NotificationSent {
    /// The notification's id.
    pub id: String,
}

/// `notification`, and in what was missed.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct Notification {
    /// Its id.
    pub id: String,
    /// Who sent it; absent when a back end did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<String>,
    /// `info` unless its sender said otherwise.
    #[serde(rename = "type")]
    pub kind: String,
    /// A headline.
    pub title: String,
    /// A text.
    pub message: String,
    /// What its sender put there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(as = "Option<crate::lenient::Any>"))]
    #[schema(value_type = Option<serde_json::Value>)]
    pub data: Option<Box<RawValue>>,
    /// ISO 8601.
    pub timestamp: String,
}

/// `call:signal` from a client.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct CallSignal {
    /// Whom to.
    pub user_id: String,
    /// A WebRTC offer, answer or candidate; not looked into.
    #[cfg_attr(test, ts(as = "crate::lenient::Any"))]
    pub data: Box<RawValue>,
}

/// `call:signal` to that user.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct CallSignalNotice<'a> {
    /// Who.
    pub from: &'a str,
    /// As it was sent.
    #[cfg_attr(test, ts(as = "crate::lenient::Any"))]
    pub data: &'a RawValue,
}

/// `upload:progress` from a client.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct UploadProgress {
    /// Where.
    pub conversation_id: String,
    /// Which upload, a name of the client's choosing.
    pub upload_id: String,
    /// What is uploaded.
    pub file_name: String,
    /// 0 to 100.
    pub percent: f64,
}

/// `upload:progress` to the others.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct UploadProgressNotice<'a> {
    /// Where.
    pub conversation_id: &'a str,
    /// Who.
    pub user_id: &'a str,
    /// Which upload.
    pub upload_id: &'a str,
    /// What is uploaded.
    pub file_name: &'a str,
    /// 0 to 100.
    pub percent: f64,
}
