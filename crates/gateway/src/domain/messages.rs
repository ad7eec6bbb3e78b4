//! Messages: checked, stored with their place in the conversation, and published in the same step.
//!
//! A message reaches its hearers, on this node too, when it comes back from the store: publication order is then
//! log order, the same for everyone.

use serde::{Deserialize, Serialize};
use trunkline_adapter as adapter;
use trunkline_hub::{Encoded, RoomName, Targets};
use trunkline_protocol::{
    Code, Failure, ids, limits,
    native::{Content, Message, Sent, Stored},
};
use trunkline_store::{self as store, Entry, Kind, NewEntry, Publication};

use super::{Caller, Domain, store_failure, user_room};
use crate::{
    dialects::Echo,
    resume::Position,
    time::{iso, now_ms},
};

/// What a log entry holds besides what the store itself needs.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(flatten)]
    content: Content,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recipient_user_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sender_name: Option<String>,
}

impl Domain {
    /// Sends to a conversation. Acknowledged means stored.
    ///
    /// # Errors
    /// `forbidden`, `invalid`, `too_large`, or `unavailable`: then it may be sent again with the same client message id.
    pub async fn send(
        &self,
        caller: Caller<'_>,
        conversation: &str,
        content: Content,
        client_message_id: Option<String>,
    ) -> Result<Sent, Failure> {
        caller.may_enter(conversation)?;
        let recipient = ids::direct_members(conversation).map(|(a, b)| if a == caller.id() { b } else { a });
        self.store_and_publish(caller, conversation, recipient, content, client_message_id).await
    }

    /// Sends to one user, wherever they are connected.
    ///
    /// # Errors
    /// As [`Domain::send`].
    pub async fn send_private(
        &self,
        caller: Caller<'_>,
        recipient: &str,
        content: Content,
        client_message_id: Option<String>,
    ) -> Result<Sent, Failure> {
        ids::check("recipientUserId", recipient)?;
        let conversation = ids::direct_conversation(caller.id(), recipient);
        self.store_and_publish(caller, &conversation, Some(recipient.to_owned()), content, client_message_id).await
    }

    async fn store_and_publish(
        &self,
        caller: Caller<'_>,
        conversation: &str,
        recipient: Option<String>,
        content: Content,
        client_message_id: Option<String>,
    ) -> Result<Sent, Failure> {
        check(&content, client_message_id.as_deref())?;
        let timestamp_ms = now_ms();
        let message = Message {
            stored: None,
            conversation_id: conversation.to_owned(),
            sender_id: caller.id().to_owned(),
            sender_name: caller.name(),
            from: recipient.is_some().then(|| caller.id().to_owned()),
            recipient_user_id: recipient,
            content,
            client_message_id: client_message_id.clone(),
            timestamp: iso(timestamp_ms),
        };
        let Broadcasts { publications, relays, echo } = self.broadcasts(caller, &message)?;
        let body = Body {
            content: message.content,
            recipient_user_id: message.recipient_user_id,
            sender_name: message.sender_name,
        };
        let entry = NewEntry {
            conversation: conversation.to_owned(),
            kind: Kind::Message,
            sender: caller.id().to_owned(),
            participants: std::iter::once(caller.id().to_owned()).chain(body.recipient_user_id.clone()).collect(),
            client_message_id,
            timestamp_ms,
            body: serde_json::to_string(&body).map_err(|_| Failure::new(Code::Internal, "internal error"))?,
        };
        let appended = self.store.log.append(entry, &publications).await.map_err(|error| store_failure(&error))?;
        if !appended.duplicate {
            let (seq, epoch, message_id) = (appended.seq, &*appended.epoch, &*appended.message_id);
            relays.iter().for_each(|relay| self.cluster.relay(relay, &adapter::Filled { seq, epoch, message_id }));
        }
        if let Some(socket) = caller.socket().filter(|_| !echo && !appended.duplicate) {
            let at = Position::new(appended.epoch.as_str(), appended.seq);
            self.streams.sent(socket, &caller.heard_by(conversation), conversation, &at);
        }
        Ok(Sent {
            message_id: appended.message_id,
            seq: appended.seq,
            epoch: appended.epoch,
            timestamp: iso(appended.timestamp_ms),
            duplicate: appended.duplicate,
        })
    }

    /// The broadcasts that the store sends once it knows the message's place: one per namespace and audience. And the same
    /// for members that don't hear those.
    fn broadcasts(&self, caller: Caller<'_>, message: &Message) -> Result<Broadcasts, Failure> {
        let (mut publications, mut relays, mut echo) = (Vec::new(), Vec::new(), false);
        let here = caller.socket().map(|socket| socket.namespace().name());
        for speaker in &self.speakers {
            let Some(words) = speaker.dialect.message(message, caller.socket()) else { continue };
            echo |= words.echo == Echo::All && here == Some(speaker.namespace.as_str());
            for audience in audiences(caller, message, words.echo) {
                let template = self.cluster.template(&speaker.namespace, words.event, &words.as_payload(), &audience);
                let mut template = template.map_err(|error| {
                    tracing::error!(%error, "could not encode a message");
                    Failure::new(Code::Internal, "internal error")
                })?;
                relays.extend(template.relay.take());
                publications.push(publication(template));
            }
        }
        Ok(Broadcasts { publications, relays, echo })
    }

    /// A log entry as the event that `namespace` hears of it; `None` when its dialect has no word for it.
    pub(crate) fn event_of(&self, namespace: &str, conversation: &str, entry: Entry) -> Option<Encoded> {
        let epoch = entry.epoch.clone();
        let mut message = from_entries(conversation, vec![entry], &epoch).pop()?;
        let stored = message.stored.take()?;
        self.speaker(namespace)?.dialect.message(&message, None)?.complete(&stored)
    }
}

/// A message on its way to its hearers.
struct Broadcasts {
    publications: Vec<Publication>,
    relays: Vec<adapter::Relay>,
    /// Whether the calling socket hears it too.
    echo: bool,
}

/// Who hears a message: a conversation's members. A direct one goes to all sockets of the recipient and, as far as `echo` says,
/// of the sender, joined or not; each audience is one room, so that only nodes with such sockets are bothered.
fn audiences(caller: Caller<'_>, message: &Message, echo: Echo) -> Vec<Targets> {
    let heard = |targets| if echo == Echo::All { targets } else { caller.others(targets) };
    let Some(recipient) = &message.recipient_user_id else {
        return vec![heard(Targets::room(&*message.conversation_id))];
    };
    let (recipient, sender) = (user_room(recipient), user_room(&message.sender_id));
    let to_recipient = heard(Targets::room(RoomName::clone(&recipient)));
    if recipient == sender || echo == Echo::Members {
        return vec![to_recipient];
    }
    vec![to_recipient, heard(Targets::room(sender)).except(recipient)]
}

fn check(content: &Content, client_message_id: Option<&str>) -> Result<(), Failure> {
    if content.content.is_empty() && content.file_url.is_none() {
        return Err(Failure::invalid("content must not be empty"));
    }
    // Bytes bound characters from above: most messages need no counting.
    if content.content.len() > limits::CONTENT_CHARS && content.content.chars().count() > limits::CONTENT_CHARS {
        let text = format!("content is longer than {} characters", limits::CONTENT_CHARS);
        return Err(Failure::new(Code::TooLarge, text));
    }
    for (field, value) in [("fileUrl", &content.file_url), ("fileName", &content.file_name)] {
        if value.as_ref().is_some_and(|value| value.len() > limits::FILE_FIELD_BYTES) {
            let text = format!("{field} is longer than {} bytes", limits::FILE_FIELD_BYTES);
            return Err(Failure::new(Code::TooLarge, text));
        }
    }
    if content.data.as_ref().is_some_and(|data| data.to_string().len() > limits::DATA_BYTES) {
        return Err(Failure::new(Code::TooLarge, format!("data is longer than {} bytes", limits::DATA_BYTES)));
    }
    ids::check("type", &content.kind)?;
    // A message id holds a conversation's id, an epoch and a number.
    if content.reply_to.as_ref().is_some_and(|id| id.is_empty() || id.len() > limits::ID_BYTES * 2) {
        return Err(Failure::invalid("replyTo is no message id"));
    }
    client_message_id.map_or(Ok(()), |id| ids::check("clientMessageId", id))
}

fn publication(template: adapter::Template) -> Publication {
    let part = |part| match part {
        adapter::Part::Literal(bytes) => store::Part::Literal(bytes),
        adapter::Part::Fill(adapter::Fill::Seq) => store::Part::Fill(store::Fill::Seq),
        adapter::Part::Fill(adapter::Fill::Epoch) => store::Part::Fill(store::Fill::Epoch),
        adapter::Part::Fill(adapter::Fill::MessageId) => store::Part::Fill(store::Fill::MessageId),
    };
    Publication { channel: template.channel, parts: template.parts.into_iter().map(part).collect() }
}

/// Log entries as messages. One that can't be read is left out, with a line in the log.
pub(super) fn from_entries(conversation: &str, entries: Vec<Entry>, epoch: &str) -> Vec<Message> {
    let read = |entry: Entry| {
        let body: Body = serde_json::from_str(&entry.body)
            .inspect_err(|error| tracing::error!(%error, conversation, seq = entry.seq, "a log entry is unreadable"))
            .ok()?;
        Some(Message {
            stored: Some(Stored { id: entry.message_id, seq: entry.seq, epoch: epoch.to_owned() }),
            conversation_id: conversation.to_owned(),
            from: body.recipient_user_id.is_some().then(|| entry.sender.clone()),
            sender_id: entry.sender,
            sender_name: body.sender_name,
            recipient_user_id: body.recipient_user_id,
            content: body.content,
            client_message_id: entry.client_message_id,
            timestamp: iso(entry.timestamp_ms),
        })
    };
    entries.into_iter().filter_map(read).collect()
}
