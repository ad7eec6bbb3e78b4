//! The `native` dialect: `noun:verb`, event by event.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// Names of events.
pub mod event {
    /// Client to server.
    pub const CONVERSATION_JOIN: &str = "conversation:join";
    /// Client to server.
    pub const CONVERSATION_LEAVE: &str = "conversation:leave";
    /// Client to server.
    pub const CONVERSATION_MEMBERS: &str = "conversation:members";
    /// Client to server.
    pub const MESSAGE_SEND: &str = "message:send";
    /// Client to server.
    pub const MESSAGE_HISTORY: &str = "message:history";
    /// Client to server.
    pub const PRIVATE_MESSAGE: &str = "private:message";
    /// Both ways.
    pub const TYPING_START: &str = "typing:start";
    /// Both ways.
    pub const TYPING_STOP: &str = "typing:stop";
    /// Client to server.
    pub const GET_ONLINE_COUNT: &str = "get:online:count";
    /// Client to server.
    pub const PRESENCE_GET: &str = "presence:get";
    /// Client to server.
    pub const PRESENCE_LIST: &str = "presence:list";
    /// Server to client, once after connecting.
    pub const CONNECTED: &str = "connected";
    /// Server to client.
    pub const MESSAGE_NEW: &str = "message:new";
    /// Server to client.
    pub const MEMBER_JOINED: &str = "member:joined";
    /// Server to client.
    pub const MEMBER_LEFT: &str = "member:left";
    /// Server to client.
    pub const USER_JOINED: &str = "user:joined";
    /// Server to client.
    pub const USER_ONLINE: &str = "user:online";
    /// Server to client.
    pub const USER_OFFLINE: &str = "user:offline";
    /// Server to client.
    pub const SERVER_SHUTDOWN: &str = "server-shutdown";
    /// Server to client.
    pub const ERROR: &str = "error";
}

/// `connected`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
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

/// A place in a conversation's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The log that `seq` counts in.
    pub epoch: String,
    /// The number within it.
    pub seq: u64,
}

/// `conversation:join`: the id itself, or an object with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Which one.
    pub conversation_id: String,
    /// Answer what came after this instead of the latest.
    pub after: Option<Position>,
    /// How many messages.
    pub limit: Option<usize>,
}

impl<'de> Deserialize<'de> for Join {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Object {
            conversation_id: String,
            #[serde(default)]
            after: Option<Position>,
            #[serde(default)]
            limit: Option<usize>,
        }
        struct Reader;
        // Not an untagged enum: its errors would not say which field is missing.
        impl<'de> Visitor<'de> for Reader {
            type Value = Join;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a conversation id, or an object with one")
            }
            fn visit_str<E>(self, conversation_id: &str) -> Result<Join, E> {
                Ok(Join { conversation_id: conversation_id.to_owned(), after: None, limit: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Join, A::Error> {
                let Object { conversation_id, after, limit } = Object::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Join { conversation_id, after, limit })
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// An event that names one conversation: the id itself, or an object with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationRef {
    /// Which one.
    pub conversation_id: String,
}

impl<'de> Deserialize<'de> for ConversationRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Join::deserialize(deserializer).map(|join| Self { conversation_id: join.conversation_id })
    }
}

/// Who is in a conversation now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The user.
    pub user_id: String,
    /// With how many sockets.
    pub sockets: u32,
}

/// What `conversation:join` answers.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// Which one.
    pub conversation_id: String,
    /// The log that the numbers count in.
    pub epoch: String,
    /// The newest number; 0 when nothing was said yet.
    pub seq: u64,
    /// In ascending `seq`.
    pub messages: Vec<Message>,
    /// Whether everything after `after` is in `messages`.
    pub complete: bool,
    /// Who is here, this user included.
    pub members: Vec<Member>,
}

/// What `conversation:leave` answers.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Left {
    /// Which one.
    pub conversation_id: String,
}

/// What `conversation:members` answers.
#[derive(Clone, Debug, Serialize)]
pub struct Members {
    /// Who is here.
    pub members: Vec<Member>,
}

/// `member:joined` and `member:left`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberChange<'a> {
    /// Where.
    pub conversation_id: &'a str,
    /// Who.
    pub user_id: &'a str,
    /// ISO 8601.
    pub timestamp: String,
}

/// What a message says; shared by `message:send`, `private:message` and `message:new`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    /// The text.
    #[serde(default)]
    pub content: String,
    /// `text`, `image`, `file` or what the application likes.
    #[serde(default = "text", rename = "type")]
    pub kind: String,
    /// Where the file is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_url: Option<String>,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// The message this answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
}

fn text() -> String {
    "text".to_owned()
}

/// `message:send`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Send {
    /// Where to.
    pub conversation_id: String,
    /// What.
    #[serde(flatten)]
    pub content: Content,
    /// Makes a repeat harmless.
    #[serde(default)]
    pub client_message_id: Option<String>,
}

/// `private:message`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendPrivate {
    /// Whom to.
    pub recipient_user_id: String,
    /// What.
    #[serde(flatten)]
    pub content: Content,
    /// Makes a repeat harmless.
    #[serde(default)]
    pub client_message_id: Option<String>,
}

/// What sending answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    /// The message's id.
    pub message_id: String,
    /// Its place.
    pub seq: u64,
    /// The log that `seq` counts in.
    pub epoch: String,
    /// ISO 8601.
    pub timestamp: String,
    /// Whether it had been stored before, under the same `clientMessageId`.
    pub duplicate: bool,
}

/// A stored message, as `message:new` and in pages.
///
/// `seq`, `epoch` and `id` are known only once it is stored, so `message:new` leaves here without them and the
/// store fills them in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Where it stands.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Stored>,
    /// Which conversation.
    pub conversation_id: String,
    /// Who the sender's token says they are.
    pub sender_id: String,
    /// For a private message: the sender once more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// For a private message: whom it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient_user_id: Option<String>,
    /// What it says.
    #[serde(flatten)]
    pub content: Content,
    /// As the sender gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<String>,
    /// ISO 8601.
    pub timestamp: String,
}

/// Where a message stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stored {
    /// Its id.
    pub id: String,
    /// Its place.
    pub seq: u64,
    /// The log that `seq` counts in.
    pub epoch: String,
}

/// `message:history`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// Which conversation.
    pub conversation_id: String,
    /// Only what came after this.
    #[serde(default)]
    pub after: Option<u64>,
    /// Only what came before this.
    #[serde(default)]
    pub before: Option<u64>,
    /// How many.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// What `message:history` answers.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryPage {
    /// In ascending `seq`.
    pub messages: Vec<Message>,
    /// The log that the numbers count in.
    pub epoch: String,
    /// The newest number.
    pub seq: u64,
    /// Whether the page holds everything that was asked for.
    pub complete: bool,
}

/// `typing:start` and `typing:stop` from a client: to a conversation or to one user.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
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
pub struct TypingNotice<'a> {
    /// Who.
    pub user_id: &'a str,
    /// Where.
    pub conversation_id: &'a str,
}

/// `user:online`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserOnline<'a> {
    /// Who.
    pub user_id: &'a str,
}

/// `user:offline`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserOffline<'a> {
    /// Who.
    pub user_id: &'a str,
    /// ISO 8601.
    pub last_seen: String,
}

/// `user:joined`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserJoined<'a> {
    /// Who.
    pub user_id: &'a str,
    /// ISO 8601.
    pub timestamp: String,
}

/// What `get:online:count` answers.
#[derive(Clone, Debug, Serialize)]
pub struct OnlineCount {
    /// Users online on all nodes.
    pub count: u64,
}

/// `presence:get`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PresenceGet {
    /// Whom to look up.
    pub user_ids: Vec<String>,
}

/// `presence:list`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PresenceList {
    /// How many.
    #[serde(default)]
    pub limit: Option<usize>,
    /// Where the last page ended.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// One user's presence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
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
pub struct PresenceUsers {
    /// In the order asked.
    pub users: Vec<UserPresence>,
}

/// What `presence:list` answers.
#[derive(Clone, Debug, Serialize)]
pub struct PresencePage {
    /// Users online.
    pub users: Vec<UserPresence>,
    /// How many there are in all.
    pub count: u64,
    /// Where the next page starts; `null` when this was the last.
    pub cursor: Option<String>,
}

/// `server-shutdown`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerShutdown {
    /// For a person.
    pub message: String,
    /// How long to wait before coming back: spread, so that clients don't come all at once.
    pub reconnect_after_ms: u64,
}

/// `error`: a failure without an ack to carry it, or the last word before the server closes a socket.
#[derive(Clone, Debug, Serialize)]
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_conversation_is_joined_by_name_or_by_object() {
        let by_name: Join = serde_json::from_value(json!("general")).unwrap();
        let by_object: Join = serde_json::from_value(json!({"conversationId": "general"})).unwrap();
        assert_eq!(by_name, by_object);
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = serde_json::from_value::<Join>(json!({"limit": 5})).unwrap_err();
        assert_eq!(error.to_string(), "missing field `conversationId`");
        let error = serde_json::from_value::<Send>(json!({"content": "hi"})).unwrap_err();
        assert_eq!(error.to_string(), "missing field `conversationId`");
    }

    #[test]
    fn a_message_is_flat() {
        let message = Message {
            stored: Some(Stored { id: "general:e:7".into(), seq: 7, epoch: "e".into() }),
            conversation_id: "general".into(),
            sender_id: "alice".into(),
            from: None,
            recipient_user_id: None,
            content: Content { content: "hi".into(), kind: "text".into(), ..Content::default() },
            client_message_id: None,
            timestamp: "2026-01-01T00:00:00.000Z".into(),
        };
        assert_eq!(
            serde_json::to_value(message).unwrap(),
            json!({"id": "general:e:7", "seq": 7, "epoch": "e", "conversationId": "general", "senderId": "alice",
                "content": "hi", "type": "text", "timestamp": "2026-01-01T00:00:00.000Z"})
        );
    }
}
