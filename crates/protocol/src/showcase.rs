//! The `showcase` dialect: a public chat, notifications, shared documents, and checked data.

use serde::{Deserialize, Serialize};

use crate::{
    events::events,
    lenient::{Any, Text},
    native::{Nothing, Notification, ServerShutdown},
};

events! {
    client {
        JOIN "join" (Username) -> Nothing,
        SEND_MESSAGE "send-message" (SendMessage) -> Status<'static>,
        CHAT_MESSAGE "chat-message" (SendMessage) -> Status<'static>,
        MESSAGE "message" (Data) -> Status<'static>,
        TYPING "typing" (Option<Typing>) -> Nothing,
        STOP_TYPING "stop-typing" (Option<Typing>) -> Nothing,
        SUBSCRIBE "subscribe" (Text) -> Nothing,
        SEND_NOTIFICATION "send-notification" (SendNotification) -> Nothing,
        JOIN_DOCUMENT "join-document" (Text) -> Nothing,
        LEAVE_DOCUMENT "leave-document" (Text) -> Nothing,
        EDIT "edit" (Edit) -> Nothing,
        CURSOR_MOVE "cursor-move" (CursorMove) -> Nothing,
        SAVE_DATA "save-data" (SaveData) -> Nothing,
    }
    server {
        WELCOME "welcome" (Welcome<'static>),
        PREVIOUS_MESSAGES "previous-messages" (Vec<ChatMessage>),
        USER_JOINED "user-joined" (UserCount<'static>),
        USER_LEFT "user-left" (UserCount<'static>),
        NEW_MESSAGE "new-message" (ChatMessage),
        USER_TYPING "user-typing" (UserTyping<'static>),
        USER_STOP_TYPING "user-stop-typing" (UserTyping<'static>),
        USER_COUNT "user-count" (u64),
        NOTIFICATION "notification" (Notification),
        DOCUMENT_STATE "document-state" (DocumentState<'static>),
        REMOTE_EDIT "remote-edit" (RemoteEdit<'static>),
        REMOTE_CURSOR "remote-cursor" (RemoteCursor<'static>),
        MESSAGE_SUCCESS "message-success" (),
        MESSAGE_ERROR "message-error" (ErrorNote<'static>),
        VALIDATION_ERROR "validation-error" (ErrorNote<'static>),
        RATE_LIMIT_EXCEEDED "rate-limit-exceeded" (),
        SERVER_SHUTDOWN "server-shutdown" (ServerShutdown),
    }
    both {}
}

/// The conversation that everybody in the dialect is in.
pub const LOBBY: &str = "lobby";

/// The conversation of those who `join`ed by name: they are counted.
pub const NAMED: &str = "lobby:named";

/// The `type` of a message to oneself that keeps what `save-data` brought.
pub const SAVED: &str = "saved-data";

/// Messages that a newcomer is given.
pub const PREVIOUS: usize = 100;

/// The longest text that `message` takes, in characters.
pub const MESSAGE_CHARS: usize = 500;

/// `join`: a bare name, or an object with it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "UsernameForm")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Username(pub String);

#[derive(Deserialize)]
#[serde(untagged)]
enum UsernameForm {
    Bare(Text),
    Object { username: Text },
}

impl From<UsernameForm> for Username {
    fn from(form: UsernameForm) -> Self {
        match form {
            UsernameForm::Bare(Text(name)) | UsernameForm::Object { username: Text(name) } => Self(name),
        }
    }
}

/// `send-message` and `chat-message`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct SendMessage {
    /// What.
    pub text: Text,
    /// When, as the client says; the server's time counts.
    #[serde(default)]
    #[cfg_attr(test, ts(as = "Option<Any>"))]
    pub timestamp: Option<Any>,
}

/// `message`: 1 to [`MESSAGE_CHARS`] characters and a time.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Data {
    /// What.
    pub text: String,
    /// When, as the client says, in milliseconds since 1970; the server's time counts.
    pub timestamp: f64,
}

/// What sending answers to a client that asks.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Status<'a> {
    /// `ok`.
    pub status: &'a str,
}

/// `typing` and `stop-typing`: nothing, or who.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct Typing {
    /// The name of somebody who did not `join` with one.
    #[serde(default)]
    pub username: Option<Text>,
}

/// `send-notification`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct SendNotification {
    /// Whom to.
    pub user_id: Text,
    /// A headline.
    #[serde(default)]
    pub title: Option<Text>,
    /// A text.
    #[serde(default)]
    pub message: Option<Text>,
}

/// `edit`: the whole text anew, the last writer wins.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct Edit {
    /// Which document.
    pub doc_id: Text,
    /// The whole text.
    pub content: String,
    /// Where the writer's cursor is.
    #[serde(default)]
    #[cfg_attr(test, ts(as = "Option<Any>"))]
    pub cursor_position: Option<Any>,
}

/// `cursor-move`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct CursorMove {
    /// In which document.
    pub doc_id: Text,
    /// Where.
    pub position: Any,
}

/// `save-data`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct SaveData {
    /// Whose, or what.
    pub name: Text,
}

/// `welcome`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Welcome<'a> {
    /// For a person.
    pub message: &'a str,
}

/// `new-message`, and in `previous-messages`. `new-message` leaves here without its id, which the store fills in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct ChatMessage {
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What the sender calls themselves, or their user id.
    pub username: String,
    /// Who the sender is.
    pub user_id: String,
    /// Where it was said.
    pub room: String,
    /// What.
    pub text: String,
    /// Milliseconds since 1970.
    pub timestamp: i64,
}

/// `user-joined` and `user-left`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct UserCount<'a> {
    /// Who.
    pub username: &'a str,
    /// How many are in the chat now.
    pub user_count: u64,
}

/// `user-typing` and `user-stop-typing`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct UserTyping<'a> {
    /// Who.
    pub username: &'a str,
}

/// `document-state`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct DocumentState<'a> {
    /// The whole text.
    pub content: &'a str,
}

/// `remote-edit`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct RemoteEdit<'a> {
    /// Which document.
    pub doc_id: &'a str,
    /// The whole text.
    pub content: &'a str,
    /// The version that the edit made: a smaller one than was seen already is late.
    /// Absent on the way into the store, which fills it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Where the writer's cursor is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(as = "Option<Any>"))]
    pub cursor_position: Option<&'a serde_json::value::RawValue>,
    /// Who wrote.
    pub user_id: &'a str,
}

/// `remote-cursor`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct RemoteCursor<'a> {
    /// In which document.
    pub doc_id: &'a str,
    /// Whose.
    pub user_id: &'a str,
    /// Where.
    #[cfg_attr(test, ts(as = "Any"))]
    pub position: &'a serde_json::value::RawValue,
}

/// `validation-error` and `message-error`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ErrorNote<'a> {
    /// For a person.
    pub error: &'a str,
}
