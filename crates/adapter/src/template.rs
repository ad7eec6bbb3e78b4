//! Broadcasts with holes, for messages that get their number when they are stored.

use bytes::Bytes;
use trunkline_hub::Targets;

use crate::{
    broadcast,
    limits::MESSAGE_BYTES,
    transcode::{EncodeError, fields_to_msgpack, write},
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

/// Encodes `[event, {payload…, filled…}]` for `targets`, the filled fields last and in the order given.
pub(crate) fn encode(
    channel: String,
    namespace: &str,
    event: &str,
    payload: &str,
    filled: &[(&str, Fill)],
    targets: &Targets,
) -> Result<Template, EncodeError> {
    let names: Vec<&str> = filled.iter().map(|(name, _)| *name).collect();
    let mut fields = Vec::with_capacity(payload.len());
    let count = fields_to_msgpack(payload, &names, &mut fields)?;
    let mut literal = Vec::with_capacity(fields.len() + 128);
    broadcast::open(TEMPLATE_UID, &mut literal);
    write::array(&mut literal, 2);
    write::text(&mut literal, checked_name(event)?);
    write::map(&mut literal, count + filled.len());
    literal.append(&mut fields);
    let mut parts = Vec::with_capacity(2 * filled.len() + 2);
    let mut size = 0;
    for (name, fill) in filled {
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
