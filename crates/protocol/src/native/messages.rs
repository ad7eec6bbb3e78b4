//! Messages: sent, changed, read, paged through.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Notification, Position};

/// What a message says; shared by `message:send`, `private:message` and `message:new`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct Content {
    /// The text.
    #[serde(default)]
    pub content: String,
    /// `text`, `image`, `file` or what the application likes.
    #[serde(default = "text", rename = "type")]
    #[cfg_attr(test, ts(as = "Option<String>", optional))]
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
    /// What was sent, where that was no text: `content` is then its JSON. Dialects whose messages may be anything use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(as = "Option<crate::lenient::Any>"))]
    pub data: Option<Value>,
}

fn text() -> String {
    "text".to_owned()
}

/// `message:send`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", from = "SendFields")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct Send {
    /// Where to.
    pub conversation_id: String,
    /// What.
    #[cfg_attr(test, ts(flatten))]
    pub content: Content,
    /// Makes a repeat harmless.
    pub client_message_id: Option<String>,
}

/// `private:message`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", from = "SendPrivateFields")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct SendPrivate {
    /// Whom to.
    pub recipient_user_id: String,
    /// What.
    #[cfg_attr(test, ts(flatten))]
    pub content: Content,
    /// Makes a repeat harmless.
    pub client_message_id: Option<String>,
}

/// How `$sent` is read: with the fields of [`Content`] beside the others. serde's `flatten` would read all of them into a buffer
/// first, which costs twice as much, for each message that is sent.
macro_rules! flat {
    ($sent:ident, $fields:ident, $address:ident) => {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct $fields {
            $address: String,
            client_message_id: Option<String>,
            #[serde(default)]
            content: String,
            #[serde(default = "text", rename = "type")]
            kind: String,
            file_url: Option<String>,
            file_name: Option<String>,
            reply_to: Option<String>,
            data: Option<Value>,
        }

        impl From<$fields> for $sent {
            fn from(fields: $fields) -> Self {
                let $fields { $address, client_message_id, content, kind, file_url, file_name, reply_to, data } =
                    fields;
                let content = Content { content, kind, file_url, file_name, reply_to, data };
                Self { $address, content, client_message_id }
            }
        }
    };
}

flat!(Send, SendFields, conversation_id);
flat!(SendPrivate, SendPrivateFields, recipient_user_id);

/// What sending answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct Message {
    /// Where it stands.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<Stored>,
    /// Which conversation.
    pub conversation_id: String,
    /// Who the sender's token says they are.
    pub sender_id: String,
    /// What the sender calls themselves, in dialects where they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_name: Option<String>,
    /// For a private message: the sender once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// For a private message: whom it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient_user_id: Option<String>,
    /// What it says.
    #[serde(flatten)]
    pub content: Content,
    /// As the sender gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<String>,
    /// ISO 8601.
    pub timestamp: String,
    /// When its sender changed it: the number of the last change. `content` is what it says now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_seq: Option<u64>,
    /// Its sender took it back, and what it said is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
}

/// Where a message stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
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
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
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
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct HistoryPage {
    /// In ascending `seq`, as they stand now.
    pub messages: Vec<Message>,
    /// The entries between them that are no messages but changes of some, in ascending `seq`.
    pub changes: Vec<Change>,
    /// The log that the numbers count in.
    pub epoch: String,
    /// The newest number.
    pub seq: u64,
    /// Whether the page holds everything that was asked for.
    pub complete: bool,
}

/// `message:edit`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Edit {
    /// Which conversation.
    pub conversation_id: String,
    /// Which of the user's own messages.
    pub message_id: String,
    /// What it is to say.
    pub content: String,
}

/// `message:delete`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Delete {
    /// Which conversation.
    pub conversation_id: String,
    /// Which of the user's own messages.
    pub message_id: String,
}

/// What `message:edit` and `message:delete` answer: the place of the change, which is an entry of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Changed {
    /// Its number.
    pub seq: u64,
    /// The log that `seq` counts in.
    pub epoch: String,
}

/// `message:edited`.
///
/// `seq` and `epoch` are the change's own; without them on the way into the log, which fills them in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct Edited {
    /// The change's place.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Which conversation.
    pub conversation_id: String,
    /// Which message.
    pub message_id: String,
    /// Whose.
    pub sender_id: String,
    /// What it says now.
    pub content: String,
    /// When it was changed, ISO 8601.
    pub timestamp: String,
}

/// `message:deleted`; `seq` and `epoch` as in [`Edited`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct Deleted {
    /// The change's place.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Which conversation.
    pub conversation_id: String,
    /// Which message.
    pub message_id: String,
    /// Whose.
    pub sender_id: String,
    /// When it was deleted, ISO 8601.
    pub timestamp: String,
}

/// A change, in a page of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    /// What `message:edited` said.
    Edited(Edited),
    /// What `message:deleted` said.
    Deleted(Deleted),
}

/// `messages:missed`.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
#[into_params(parameter_in = Query)]
pub struct MissedAsk {
    /// How many.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// Something that arrived for a user while they were away.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum MissedItem {
    /// A direct message.
    Message(Box<Message>),
    /// A notification.
    Notification(Notification),
}

/// What `messages:missed` answers, in order. Once it is out, its items count as delivered.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Missed {
    /// The oldest first.
    pub messages: Vec<MissedItem>,
    /// Whether that was all.
    pub complete: bool,
}

/// `message:delivered` from a client.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Delivered {
    /// Which conversation.
    pub conversation_id: String,
    /// Everything up to this number has arrived.
    pub seq: u64,
}

/// `message:delivered` to the sender.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct DeliveredNotice<'a> {
    /// Which conversation.
    pub conversation_id: &'a str,
    /// Which message.
    pub seq: u64,
    /// To whom.
    pub user_id: &'a str,
}

/// `message:read` from a client. The message's id finds its conversation and its real sender.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct Read {
    /// Which message.
    pub message_id: String,
    /// Who sent it, as the client believes; the log knows better.
    #[serde(default)]
    pub sender_id: Option<String>,
    /// Which conversation, as the client believes.
    #[serde(default)]
    pub conversation_id: Option<String>,
}

/// `message:read` to the sender.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ReadNotice<'a> {
    /// Which message.
    pub message_id: &'a str,
    /// By whom.
    pub read_by: &'a str,
    /// Which conversation.
    pub conversation_id: &'a str,
    /// ISO 8601.
    pub timestamp: String,
}

/// `message:status`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct StatusAsk {
    /// Which conversation.
    pub conversation_id: String,
    /// Which message.
    pub message_id: String,
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum DeliveryStatus {
    /// Stored.
    Sent,
    /// On a recipient's device.
    Delivered,
    /// Before a recipient's eyes.
    Read,
}

/// What `message:status` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct MessageStatus {
    /// The furthest that anybody but the sender is.
    pub status: DeliveryStatus,
    /// On whose devices it is; those who read it too.
    pub delivered_to: Vec<String>,
    /// Who read it.
    pub read_by: Vec<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let error = serde_json::from_value::<Send>(json!({"content": "hi"})).unwrap_err();
        assert_eq!(error.to_string(), "missing field `conversationId`");
    }

    #[test]
    fn what_is_sent_has_the_fields_of_its_content_beside_the_others() {
        let content = Content {
            content: "see there".into(),
            kind: "file".into(),
            file_url: Some("https://files.example/1".into()),
            file_name: Some("1.pdf".into()),
            reply_to: Some("general:e:7".into()),
            data: Some(json!({"pages": 3})),
        };
        let mut flat = serde_json::to_value(&content).unwrap();
        flat["conversationId"] = "general".into();
        flat["recipientUserId"] = "bob".into();
        flat["clientMessageId"] = "c".into();
        flat["somethingElse"] = json!([1]);
        let Send { conversation_id, content: sent, client_message_id } = serde_json::from_value(flat.clone()).unwrap();
        assert_eq!((&*conversation_id, &sent, client_message_id.as_deref()), ("general", &content, Some("c")));
        let SendPrivate { recipient_user_id, content: sent, client_message_id } = serde_json::from_value(flat).unwrap();
        assert_eq!((&*recipient_user_id, &sent, client_message_id.as_deref()), ("bob", &content, Some("c")));
        let least: Send = serde_json::from_value(json!({"conversationId": "general", "data": null})).unwrap();
        assert_eq!(least.content, Content { kind: "text".into(), ..Content::default() });
    }

    #[test]
    fn a_message_is_flat() {
        let message = Message {
            stored: Some(Stored { id: "general:e:7".into(), seq: 7, epoch: "e".into() }),
            conversation_id: "general".into(),
            sender_id: "alice".into(),
            sender_name: None,
            from: None,
            recipient_user_id: None,
            content: Content { content: "hi".into(), kind: "text".into(), ..Content::default() },
            client_message_id: None,
            timestamp: "2026-01-01T00:00:00.000Z".into(),
            edited_seq: None,
            deleted: false,
        };
        let flat = json!({"id": "general:e:7", "seq": 7, "epoch": "e", "conversationId": "general", "senderId": "alice",
            "content": "hi", "type": "text", "timestamp": "2026-01-01T00:00:00.000Z"});
        assert_eq!(serde_json::to_value(&message).unwrap(), flat);
        assert_eq!(serde_json::from_value::<Message>(flat.clone()).unwrap(), message);
        let missed = serde_json::to_value(MissedItem::Message(message.into())).unwrap();
        assert_eq!((&missed["kind"], &missed["id"]), (&json!("message"), &flat["id"]));
    }
}
