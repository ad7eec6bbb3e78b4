//! Broadcasts with holes, for messages that get their number when they are stored.

use bytes::Bytes;
use trunkline_hub::Targets;

use crate::{
    broadcast,
    limits::MESSAGE_BYTES,
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

/// Encodes `[event, payload]` for `targets`.
pub(crate) fn encode(
    channel: String,
    namespace: &str,
    event: &str,
    payload: &Payload<'_>,
    targets: &Targets,
) -> Result<Template, EncodeError> {
    let mut literal = Vec::with_capacity(payload.json.len() + 128);
    broadcast::open(TEMPLATE_UID, &mut literal);
    write::array(&mut literal, 2);
    write::text(&mut literal, checked_name(event)?);
    payload.open(&mut literal)?;
    let mut parts = Vec::with_capacity(2 * payload.filled.len() + 2);
    let mut size = 0;
    for (name, fill) in payload.filled {
        write::text(&mut literal, name);
        size += literal.len();
        parts.push(Part::Literal(std::mem::take(&mut literal).into()));
        parts.push(Part::Fill(*fill));
    }
    broadcast::close_stored(namespace, targets, &mut literal);
    size += literal.len();
    if size > MESSAGE_BYTES {
        return Err(EncodeError::TooLarge(size));
    }
    parts.push(Part::Literal(literal.into()));
    parts.push(Part::Fill(Fill::MessageId));
    Ok(Template { channel: channel.into_bytes(), parts })
}

fn checked_name(event: &str) -> Result<&str, EncodeError> {
    if crate::transcode::is_reserved(event) { Err(EncodeError::NotAnEvent) } else { Ok(event) }
}
