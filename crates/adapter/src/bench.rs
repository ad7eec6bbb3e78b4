//! The codec, for `benches/` alone.

use bytes::Bytes;
use trunkline_hub::{Encoded, Targets};

use crate::{
    broadcast,
    sharded::{self, Envelope},
};

/// Whose words.
#[derive(Clone, Copy, Debug)]
pub enum Wire {
    /// The classic adapter's: msgpack.
    Classic,
    /// The sharded adapter's: JSON.
    Sharded,
}

/// Encodes an event for one room.
///
/// # Panics
/// When it is none.
pub fn encode(wire: Wire, event: &str) -> Bytes {
    let (event, targets) = (Encoded::new(event.to_owned(), Vec::new()), Targets::room("room"));
    match wire {
        Wire::Classic => broadcast::encode("0123456789abcdef", "/", &event, &targets, false),
        Wire::Sharded => sharded::broadcast("0123456789abcdef", "/", &event, &targets, false, None),
    }
    .expect("an event")
}

/// Decodes what was encoded.
///
/// # Panics
/// When it was not.
pub fn decode(wire: Wire, payload: &[u8]) -> usize {
    match wire {
        Wire::Classic => {
            broadcast::sender(payload).expect("a broadcast");
            broadcast::decode(payload).expect("a broadcast").event.len()
        }
        Wire::Sharded => Envelope::open(payload).and_then(Envelope::read).map(|_| payload.len()).expect("a broadcast"),
    }
}
