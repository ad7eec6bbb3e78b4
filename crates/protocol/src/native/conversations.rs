//! Joining and leaving conversations, and which there are.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{Change, Message};

/// A place in a conversation's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Position {
    /// The log that `seq` counts in.
    pub epoch: String,
    /// The number within it.
    pub seq: u64,
}

/// `conversation:join`: the id itself, or an object with it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(rename_all = "camelCase", optional_fields))]
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
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(rename_all = "camelCase"))]
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
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Member {
    /// The user.
    pub user_id: String,
    /// With how many sockets.
    pub sockets: u32,
}

/// What `conversation:join` answers.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Joined {
    /// Which one.
    pub conversation_id: String,
    /// The log that the numbers count in.
    pub epoch: String,
    /// The newest number; 0 when nothing was said yet.
    pub seq: u64,
    /// In ascending `seq`, as they stand now.
    pub messages: Vec<Message>,
    /// The entries between them that are no messages but changes of some.
    pub changes: Vec<Change>,
    /// Whether everything after `after` is in `messages` and `changes`.
    pub complete: bool,
    /// Who is here, this user included.
    pub members: Vec<Member>,
}

/// What `conversation:leave` answers.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Left {
    /// Which one.
    pub conversation_id: String,
}

/// What `conversation:members` answers.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Members {
    /// Who is here.
    pub members: Vec<Member>,
}

/// `member:joined` and `member:left`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct MemberChange<'a> {
    /// Where.
    pub conversation_id: &'a str,
    /// Who.
    pub user_id: &'a str,
    /// ISO 8601.
    pub timestamp: String,
}

/// `conversation:list`.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
#[into_params(parameter_in = Query)]
pub struct ConversationList {
    /// How many.
    #[serde(default)]
    pub limit: Option<usize>,
    /// Where the last page ended.
    #[serde(default)]
    pub cursor: Option<String>,
}

/// A conversation that the asking user takes part in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct ConversationSummary {
    /// Which one.
    pub conversation_id: String,
    /// Absent when it was trimmed or nothing was said yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_message: Option<Message>,
    /// Messages of others after the last one that this user has read.
    pub unread: u64,
}

/// What `conversation:list` answers: the latest first.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ConversationPage {
    /// Those this user takes part in.
    pub conversations: Vec<ConversationSummary>,
    /// Where the next page starts; `null` when this was the last.
    pub cursor: Option<String>,
}

/// `conversation:synced`: everything after the cursor has been delivered.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Synced {
    /// Which one.
    pub conversation_id: String,
    /// How far it goes now.
    #[serde(flatten)]
    pub position: Position,
    /// How many messages were missed.
    pub count: u64,
}

/// Why a cursor can't be honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum ResetReason {
    /// The log no longer reaches back that far.
    Trimmed,
    /// The log that the cursor counts in is lost.
    Epoch,
}

/// `conversation:reset`: messages are missing, reload the conversation.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Reset {
    /// Which one.
    pub conversation_id: String,
    /// Where it stands.
    #[serde(flatten)]
    pub position: Position,
    /// Why.
    pub reason: ResetReason,
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
    }
}
