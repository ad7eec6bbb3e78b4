//! Messages: checked, stored with their place in the conversation, and published in the same step.
//!
//! A message reaches its hearers, on this node too, when it comes back from the store: publication order is then
//! log order, the same for everyone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trunkline_adapter as adapter;
use trunkline_hub::{RoomName, SocketId, Targets};
use trunkline_protocol::{
    Code, Failure, ids, limits,
    native::{self, Change, Content, Deleted, Edited, Message, Sent, Stored},
};
use trunkline_store::{self as store, Appended, Entry, Kind, NewEntry, Publication, Standing};

use super::{Caller, Domain, internal, others_of_direct, store_failure, user_room};
use crate::{
    dialects::{Dialect, Echo, MessageWords},
    resume::Heard,
    time::{iso, now_ms},
};

/// What a log entry holds besides what the store itself needs.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body {
    #[serde(flatten)]
    pub(super) content: Content,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recipient_user_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sender_name: Option<String>,
    /// The socket that sent it, and knows it from the answer.
    #[serde(default, rename = "via", skip_serializing_if = "Option::is_none")]
    sender_socket: Option<String>,
    /// Of a change: the socket that made it.
    #[serde(default, rename = "by", skip_serializing_if = "Option::is_none")]
    pub(super) changed_by: Option<String>,
}

/// The [`Body`] of a message that is about to be stored.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewBody<'a> {
    #[serde(flatten)]
    content: &'a Content,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient_user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_name: Option<&'a str>,
    #[serde(rename = "via", skip_serializing_if = "Option::is_none")]
    sender_socket: Option<&'a str>,
}

/// What a deletion holds.
#[derive(Debug, Serialize)]
pub(super) struct Deletion {
    /// As in [`Body`].
    #[serde(rename = "by", skip_serializing_if = "Option::is_none")]
    pub(super) changed_by: Option<String>,
}

impl Body {
    /// What an entry says; `None`, with a line in the log, when that can't be read.
    pub(super) fn of(entry: &Entry) -> Option<Self> {
        serde_json::from_str(&entry.body)
            .inspect_err(|error| tracing::error!(%error, id = entry.message_id, "a log entry is unreadable"))
            .ok()
    }

    pub(super) fn json(&self) -> Result<String, Failure> {
        serde_json::to_string(self).map_err(|_| internal())
    }
}

impl Domain {
    /// Sends to a conversation. Acknowledged means stored.
    ///
    /// # Errors
    /// `forbidden`, `invalid`, `too_large`, or `unavailable`: then it may be sent again with the same client message id.
    pub async fn send(
        self: &Arc<Self>,
        caller: Caller<'_>,
        conversation: &str,
        content: Content,
        client_message_id: Option<String>,
    ) -> Result<Sent, Failure> {
        self.post(caller, conversation, content, client_message_id).await.map(sent)
    }

    /// As [`send`](Self::send); answers the message itself, and whether it had been stored before.
    ///
    /// # Errors
    /// As there.
    pub async fn post(
        self: &Arc<Self>,
        caller: Caller<'_>,
        conversation: &str,
        content: Content,
        client_message_id: Option<String>,
    ) -> Result<(Message, bool), Failure> {
        self.may_address(caller, conversation).await?;
        let recipient = others_of_direct(caller.id(), conversation);
        self.store_and_publish(caller, conversation, recipient, content, client_message_id).await
    }

    /// Sends to one user, wherever they are connected.
    ///
    /// # Errors
    /// As [`Domain::send`].
    pub async fn send_private(
        self: &Arc<Self>,
        caller: Caller<'_>,
        recipient: &str,
        content: Content,
        client_message_id: Option<String>,
    ) -> Result<Sent, Failure> {
        self.post_private(caller, recipient, content, client_message_id).await.map(sent)
    }

    /// As [`send_private`](Self::send_private); answers as [`post`](Self::post).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn post_private(
        self: &Arc<Self>,
        caller: Caller<'_>,
        recipient: &str,
        content: Content,
        client_message_id: Option<String>,
    ) -> Result<(Message, bool), Failure> {
        ids::check_user("recipientUserId", recipient)?;
        let conversation = ids::direct_conversation(caller.id(), recipient);
        self.store_and_publish(caller, &conversation, Some(recipient.to_owned()), content, client_message_id).await
    }

    async fn store_and_publish(
        self: &Arc<Self>,
        caller: Caller<'_>,
        conversation: &str,
        recipient: Option<String>,
        content: Content,
        client_message_id: Option<String>,
    ) -> Result<(Message, bool), Failure> {
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
            edited_seq: None,
            deleted: false,
        };
        let Broadcasts { publications, relays } = self.broadcasts(
            |dialect| dialect.message(&message, caller.socket()),
            |echo| audiences(caller, &message, echo),
        )?;
        let body = NewBody {
            content: &message.content,
            recipient_user_id: message.recipient_user_id.as_deref(),
            sender_name: message.sender_name.as_deref(),
            sender_socket: caller.socket().map(|socket| &**socket.id()),
        };
        let entry = NewEntry {
            conversation: conversation.to_owned(),
            kind: Kind::Message,
            sender: caller.id().to_owned(),
            participants: std::iter::once(caller.id().to_owned()).chain(message.recipient_user_id.clone()).collect(),
            client_message_id,
            timestamp_ms,
            body: serde_json::to_string(&body).map_err(|_| internal())?,
        };
        let appended = match &message.recipient_user_id {
            Some(recipient) => self.append_for(recipient, &message, entry, &publications).await,
            None => self.store.log.append(entry, &publications).await,
        };
        let appended = appended.map_err(|error| store_failure(&error))?;
        let Appended { message_id, seq, epoch, timestamp_ms: stored_ms, duplicate } = appended;
        if !duplicate {
            self.relay_stored(&relays, &message_id, &epoch, seq);
        }
        let stored = Some(Stored { id: message_id, seq, epoch });
        // Another one's when it had been stored before.
        let timestamp = if stored_ms == timestamp_ms { message.timestamp } else { iso(stored_ms) };
        Ok((Message { stored, timestamp, ..message }, duplicate))
    }

    /// The same for members that don't hear what the store publishes.
    pub(super) fn relay_stored(&self, relays: &[adapter::Relay], message_id: &str, epoch: &str, seq: u64) {
        relays.iter().for_each(|relay| self.cluster.relay(relay, &adapter::Filled { seq, epoch, message_id }));
    }

    /// The broadcasts that the store sends once it knows the place of what it stores: for each namespace that has `words`,
    /// one per audience. And the same for members that don't hear those.
    pub(super) fn broadcasts(
        &self,
        words: impl Fn(&dyn Dialect) -> Option<MessageWords>,
        audiences: impl Fn(Echo) -> Vec<Targets>,
    ) -> Result<Broadcasts, Failure> {
        let mut broadcasts = Broadcasts::default();
        for speaker in &self.speakers {
            let Some(words) = words(&*speaker.dialect) else { continue };
            let payload = words.as_payload();
            let templates = self
                .cluster
                .templates(&speaker.namespace, words.event, &payload, &audiences(words.echo))
                .map_err(|error| {
                tracing::error!(%error, "could not encode what is to be stored");
                internal()
            })?;
            for mut template in templates {
                broadcasts.relays.extend(template.relay.take());
                broadcasts.publications.push(publication(template));
            }
        }
        Ok(broadcasts)
    }

    /// A log entry as the sockets of `namespace` hear it that hear the conversation by `room`: what is read from the log goes to
    /// whom it went live. `None` when that is nobody, or the dialect has no word for it.
    pub(crate) fn heard(&self, namespace: &str, room: &str, conversation: &str, entry: Entry) -> Option<Heard> {
        let stored = Stored { id: entry.message_id.clone(), seq: entry.seq, epoch: entry.epoch.clone() };
        let is_senders = *room == *user_room(&entry.sender);
        let is_message = entry.kind == Kind::Message;
        let sender = made_by(&entry);
        let dialect = &self.speaker(namespace)?.dialect;
        let Contents { mut messages, mut changes } = Contents::read(conversation, vec![entry]);
        let words = match (messages.pop(), changes.pop()) {
            (Some(message), _) => dialect.message(&Message { stored: None, ..message }, None),
            (_, Some(Change::Edited(edited))) => dialect.edited(&Edited { position: None, ..edited }),
            (_, Some(Change::Deleted(deleted))) => dialect.deleted(&Deleted { position: None, ..deleted }),
            (None, None) => None,
        };
        let words = words?;
        // The sender's other sockets hear a direct message only in dialects that say so; one to oneself is for oneself.
        let between_two = ids::direct_members(conversation).is_some_and(|(a, b)| a != b);
        if is_senders && is_message && between_two && words.echo == Echo::Members {
            return None;
        }
        let sender = sender.filter(|_| !is_message || words.echo != Echo::All).map(SocketId::new);
        Some(Heard { event: words.complete(&stored)?, sender })
    }
}

/// The socket that an entry came from, if it was one.
fn made_by(entry: &Entry) -> Option<String> {
    #[derive(Deserialize)]
    struct Made {
        via: Option<String>,
        by: Option<String>,
    }
    let Made { via, by } = serde_json::from_str(&entry.body).ok()?;
    if entry.kind == Kind::Message { via } else { by }
}

/// What sending answers.
fn sent((message, duplicate): (Message, bool)) -> Sent {
    let Stored { id, seq, epoch } = message.stored.unwrap_or_default();
    Sent { message_id: id, seq, epoch, timestamp: message.timestamp, duplicate }
}

/// What is stored, on its way to its hearers.
#[derive(Default)]
pub(super) struct Broadcasts {
    pub(super) publications: Vec<Publication>,
    pub(super) relays: Vec<adapter::Relay>,
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

pub(super) fn check(content: &Content, client_message_id: Option<&str>) -> Result<(), Failure> {
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
        adapter::Part::Fill(adapter::Fill::Stamp) => store::Part::Fill(store::Fill::Stamp),
    };
    Publication { channel: template.channel, parts: template.parts.into_iter().map(part).collect() }
}

/// What a page of a log holds.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) messages: Vec<Message>,
    pub(super) changes: Vec<Change>,
}

impl Contents {
    /// Entries as they stand now. One that can't be read is left out, with a line in the log.
    pub(super) fn read(conversation: &str, entries: Vec<Entry>) -> Self {
        let mut contents = Self::default();
        for entry in entries {
            match &entry.kind {
                Kind::Message => contents.messages.extend(as_message(conversation, entry)),
                Kind::Edit(target) => {
                    let (position, message_id) = (position(&entry), store_id(conversation, target));
                    let timestamp = iso(entry.timestamp_ms);
                    let is_gone = matches!(entry.standing, Standing::Deleted { .. });
                    // What was taken back later is not given out any more.
                    let content =
                        if is_gone { Some(String::new()) } else { Body::of(&entry).map(|body| body.content.content) };
                    contents.changes.extend(content.map(|content| {
                        Change::Edited(Edited {
                            position: Some(position),
                            conversation_id: conversation.to_owned(),
                            message_id,
                            sender_id: entry.sender,
                            content,
                            timestamp,
                        })
                    }));
                }
                Kind::Deletion(target) => contents.changes.push(Change::Deleted(Deleted {
                    position: Some(position(&entry)),
                    conversation_id: conversation.to_owned(),
                    message_id: store_id(conversation, target),
                    sender_id: entry.sender,
                    timestamp: iso(entry.timestamp_ms),
                })),
            }
        }
        contents
    }
}

fn position(entry: &Entry) -> native::Position {
    native::Position { epoch: entry.epoch.clone(), seq: entry.seq }
}

fn store_id(conversation: &str, target: &store::Position) -> String {
    store::message_id(conversation, &target.epoch, target.seq)
}

/// A message as it stands now.
pub(super) fn as_message(conversation: &str, entry: Entry) -> Option<Message> {
    let deleted = matches!(entry.standing, Standing::Deleted { .. });
    let body = if deleted { Body::default() } else { Body::of(&entry)? };
    let recipient = body.recipient_user_id.or_else(|| others_of_direct(&entry.sender, conversation));
    Some(Message {
        stored: Some(Stored { id: entry.message_id, seq: entry.seq, epoch: entry.epoch }),
        conversation_id: conversation.to_owned(),
        from: recipient.is_some().then(|| entry.sender.clone()),
        sender_id: entry.sender,
        sender_name: body.sender_name,
        recipient_user_id: recipient,
        content: body.content,
        client_message_id: entry.client_message_id,
        timestamp: iso(entry.timestamp_ms),
        edited_seq: match entry.standing {
            Standing::Edited { seq } => Some(seq),
            Standing::AsWritten | Standing::Deleted { .. } => None,
        },
        deleted,
    })
}
