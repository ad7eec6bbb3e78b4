//! Broadcasts with holes, for messages that get their number when they are stored.

use bytes::Bytes;
use trunkline_hub::Targets;

use crate::{
    broadcast,
    limits::MESSAGE_BYTES,
    sharded,
    transcode::{EncodeError, open_map_to_msgpack, value_to_msgpack, write},
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
            open_map_to_msgpack(outer, 1, |name| name == field, out)?;
            write::text(out, field);
        }
        if self.filled.is_empty() {
            return value_to_msgpack(self.json, out);
        }
        let is_filled = |name: &str| self.filled.iter().any(|(filled, _)| *filled == name);
        open_map_to_msgpack(self.json, self.filled.len(), is_filled, out)
    }
}

/// Encodes `[event, payload]` for each of `audiences`, which are channels and targets. What stands before the targets is encoded
/// once and shared.
pub(crate) fn encode<'a>(
    namespace: &str,
    event: &str,
    payload: &Payload<'_>,
    audiences: impl Iterator<Item = (String, &'a Targets)>,
) -> Result<Vec<Template>, EncodeError> {
    let mut opened = Written::with_capacity(payload.len() + ROOM);
    broadcast::open(TEMPLATE_UID, &mut opened.literals);
    opened.event(event, payload)?;
    let opened = opened.parts()?;
    let template = |(channel, targets): (String, &Targets)| {
        let mut closed = Written::with_capacity(ROOM);
        broadcast::close_stored(namespace, targets, &mut closed.literals);
        closed.fill(Fill::MessageId);
        write::text(&mut closed.literals, broadcast::STAMP);
        closed.fill(Fill::Stamp);
        let parts = opened.iter().cloned().chain(closed.parts()?).collect();
        Ok(Template { channel: channel.into_bytes(), parts, relay: None })
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
    let mut written = Written::with_capacity(payload.len() + ROOM);
    sharded::open_broadcast(2, &mut written.literals);
    written.event(event, payload)?;
    sharded::close_broadcast(TEMPLATE_UID, namespace, targets, false, None, &mut written.literals);
    Ok(Relay { channel, parts: written.parts()? })
}

/// Bytes around a payload, mostly; and of the options behind it.
const ROOM: usize = 192;

/// As many as events have, mostly.
const HOLES: usize = 3;

/// What is written so far.
struct Written {
    /// All literals, one behind the other: cut into parts in the end, which share the bytes.
    literals: Vec<u8>,
    /// After how many bytes of them what is filled in.
    holes: Vec<(usize, Fill)>,
}

impl Written {
    fn with_capacity(bytes: usize) -> Self {
        Self { literals: Vec::with_capacity(bytes), holes: Vec::with_capacity(HOLES) }
    }

    fn event(&mut self, event: &str, payload: &Payload<'_>) -> Result<(), EncodeError> {
        write::array(&mut self.literals, 2);
        write::text(&mut self.literals, checked_name(event)?);
        payload.open(&mut self.literals)?;
        for (name, fill) in payload.filled {
            write::text(&mut self.literals, name);
            self.fill(*fill);
        }
        Ok(())
    }

    fn fill(&mut self, fill: Fill) {
        self.holes.push((self.literals.len(), fill));
    }

    fn parts(self) -> Result<Vec<Part>, EncodeError> {
        if self.literals.len() > MESSAGE_BYTES {
            return Err(EncodeError::TooLarge(self.literals.len()));
        }
        let (literals, mut parts, mut from) =
            (Bytes::from(self.literals), Vec::with_capacity(2 * self.holes.len() + 1), 0);
        for (at, fill) in self.holes {
            if from < at {
                parts.push(Part::Literal(literals.slice(from..at)));
            }
            parts.push(Part::Fill(fill));
            from = at;
        }
        if from < literals.len() {
            parts.push(Part::Literal(literals.slice(from..)));
        }
        Ok(parts)
    }
}

fn checked_name(event: &str) -> Result<&str, EncodeError> {
    if crate::transcode::is_reserved(event) { Err(EncodeError::NotAnEvent) } else { Ok(event) }
}
