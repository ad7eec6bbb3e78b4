//! Broadcasts with holes, for messages that get their number when they are stored.

use bytes::Bytes;
use trunkline_hub::Targets;

use crate::{
    broadcast,
    limits::MESSAGE_BYTES,
    sharded,
    transcode::{EncodeError, fields_to_msgpack, json_to_msgpack, write},
};

/// The uid of every template: no member's own. A stored message is delivered on each node when it comes back
/// through Redis, on the sender's too, so that all members see one order.
pub const TEMPLATE_UID: &str = "trunkline";

/// A broadcast that is complete but for what the message log knows when it appends: concatenate the parts, each
/// [`Fill`] written as msgpack of its type, and publish the result on `channel`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Where to publish.
    pub channel: Vec<u8>,
    /// The message, in order.
    pub parts: Vec<Part>,
    /// The same for members that hear nothing of what is published there, see [`Cluster::relay`](crate::Cluster::relay).
    pub relay: Option<Relay>,
}

/// A stored message for Node servers with the sharded adapter, whose channels a script of the log can't reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    pub(crate) channel: String,
    parts: Vec<Part>,
}

/// What a message log knows once it has appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled<'a> {
    /// The entry's number.
    pub seq: u64,
    /// The log's epoch.
    pub epoch: &'a str,
    /// The message's id.
    pub message_id: &'a str,
}

impl Relay {
    pub(crate) fn fill(&self, filled: &Filled<'_>) -> Bytes {
        let mut out = Vec::new();
        for part in &self.parts {
            match part {
                Part::Literal(bytes) => out.extend_from_slice(bytes),
                Part::Fill(Fill::Seq) => write::unsigned(&mut out, filled.seq),
                Part::Fill(Fill::Epoch) => write::text(&mut out, filled.epoch),
                Part::Fill(Fill::MessageId) => write::text(&mut out, filled.message_id),
                // In a broadcast's options only, which are others for a relay.
                Part::Fill(Fill::Stamp) => write::text(&mut out, ""),
            }
        }
        out.into()
    }
}

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// These bytes as they are.
    Literal(Bytes),
    /// One msgpack value.
    Fill(Fill),
}

/// What is to be filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fill {
    /// The entry's number in its log: a msgpack unsigned integer.
    Seq,
    /// The log's epoch: a msgpack string.
    Epoch,
    /// The message's id: a msgpack string.
    MessageId,
    /// The entry's place among those of all logs: a msgpack string, which may be empty.
    Stamp,
}

/// The payload of a template's event.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    json: &'a str,
    filled: &'a [(&'a str, Fill)],
    envelope: Option<(&'a str, &'a str)>,
}

impl<'a> Payload<'a> {
    /// A JSON object that gets the fields in `filled`, which come last and in the order given. With none of them `json` may
    /// be any value.
    pub fn new(json: &'a str, filled: &'a [(&'a str, Fill)]) -> Self {
        Self { json, filled, envelope: None }
    }

    /// Puts the object into `outer`, another JSON object, as its last field.
    #[must_use]
    pub fn inside(self, outer: &'a str, field: &'a str) -> Self {
        Self { envelope: Some((outer, field)), ..self }
    }

    /// About as many bytes as it takes.
    fn len(&self) -> usize {
        self.json.len() + self.envelope.map_or(0, |(outer, _)| outer.len())
    }

    /// What comes before the first filled field.
    fn open(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if let Some((outer, field)) = self.envelope {
            open_map(outer, &[field], out)?;
            write::text(out, field);
        }
        if self.filled.is_empty() {
            out.append(&mut json_to_msgpack(self.json)?);
            return Ok(());
        }
        let names: Vec<&str> = self.filled.iter().map(|(name, _)| *name).collect();
        open_map(self.json, &names, out)
    }
}

/// Writes a JSON object as a map that has room for `more` fields after its own.
fn open_map(object: &str, more: &[&str], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let mut fields = Vec::with_capacity(object.len());
    let count = fields_to_msgpack(object, more, &mut fields)?;
    write::map(out, count + more.len());
    out.append(&mut fields);
    Ok(())
}

/// Encodes `[event, payload]` for each of `audiences`, which are channels and targets. What stands before the targets is encoded
/// once and shared.
pub(crate) fn encode<'a>(
    namespace: &str,
    event: &str,
    payload: &Payload<'_>,
    audiences: impl Iterator<Item = (String, &'a Targets)>,
) -> Result<Vec<Template>, EncodeError> {
    let mut opened = Parts { literal: Vec::with_capacity(payload.len() + ROOM), ..Parts::default() };
    broadcast::open(TEMPLATE_UID, &mut opened.literal);
    opened.event(event, payload)?;
    opened.end_literal();
    let template = |(channel, targets): (String, &Targets)| {
        let mut parts = opened.clone();
        parts.literal.reserve(ROOM);
        broadcast::close_stored(namespace, targets, &mut parts.literal);
        parts.fill(Fill::MessageId);
        write::text(&mut parts.literal, broadcast::STAMP);
        parts.fill(Fill::Stamp);
        Ok(Template { channel: channel.into_bytes(), parts: parts.finish()?, relay: None })
    };
    audiences.map(template).collect()
}

/// Encodes the same in the words of the sharded adapter.
pub(crate) fn relay(
    channel: String,
    namespace: &str,
    event: &str,
    payload: &Payload<'_>,
    targets: &Targets,
) -> Result<Relay, EncodeError> {
    let mut parts = Parts::default();
    sharded::open_broadcast(2, &mut parts.literal);
    parts.event(event, payload)?;
    sharded::close_broadcast(TEMPLATE_UID, namespace, targets, false, None, &mut parts.literal);
    Ok(Relay { channel, parts: parts.finish()? })
}

/// Bytes around a payload, mostly; and of the options behind it.
const ROOM: usize = 192;

/// What is written so far.
#[derive(Clone, Default)]
struct Parts {
    done: Vec<Part>,
    size: usize,
    /// What comes after the last hole.
    literal: Vec<u8>,
}

impl Parts {
    fn event(&mut self, event: &str, payload: &Payload<'_>) -> Result<(), EncodeError> {
        write::array(&mut self.literal, 2);
        write::text(&mut self.literal, checked_name(event)?);
        payload.open(&mut self.literal)?;
        for (name, fill) in payload.filled {
            write::text(&mut self.literal, name);
            self.fill(*fill);
        }
        Ok(())
    }

    fn fill(&mut self, fill: Fill) {
        self.end_literal();
        self.done.push(Part::Fill(fill));
    }

    fn end_literal(&mut self) {
        if self.literal.is_empty() {
            return;
        }
        self.size += self.literal.len();
        self.done.push(Part::Literal(std::mem::take(&mut self.literal).into()));
    }

    fn finish(mut self) -> Result<Vec<Part>, EncodeError> {
        self.end_literal();
        if self.size > MESSAGE_BYTES { Err(EncodeError::TooLarge(self.size)) } else { Ok(self.done) }
    }
}

fn checked_name(event: &str) -> Result<&str, EncodeError> {
    if crate::transcode::is_reserved(event) { Err(EncodeError::NotAnEvent) } else { Ok(event) }
}
