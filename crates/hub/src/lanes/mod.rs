//! The ways by which connections reach the hub.
//!
//! A lane accepts connections, speaks Engine.IO and Socket.IO with them, and for each socket
//! 1. calls `Namespace::connect` with an [`Outbox`] before it answers CONNECT,
//! 2. calls `Socket::opened` when the answer is out,
//! 3. calls `Socket::receive` for each event, in order,
//! 4. calls `Socket::closed` when the client is gone, however that came about.

mod closable;
pub mod socketioxide;

pub use closable::{Closable, CloseHandle};

use crate::{
    packet::{Encoded, Packet},
    reason::Close,
};

/// Why a packet was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The outbox is full. Trying again may help once the client has read something.
    #[error("the socket's outbox is full")]
    Full,
    /// The socket is closed. Trying again does not help.
    #[error("the socket is closed")]
    Closed,
}

/// One socket's way out: bounded, and never waiting.
pub trait Outbox: Send + Sync + 'static {
    /// Queues an event. A `volatile` one may be dropped at any time without an error.
    ///
    /// # Errors
    /// Nothing was queued.
    fn send(&self, packet: &Packet, volatile: bool) -> Result<(), SendError>;

    /// Queues the answer to event number `id`.
    ///
    /// # Errors
    /// Nothing was queued.
    fn send_ack(&self, id: i64, args: &Encoded) -> Result<(), SendError>;

    /// Closes the socket after what is queued and after `last`, within seconds even if the client does not read.
    /// `last` may be lost when nothing can be queued any more.
    fn close(&self, how: Close, last: Option<&Packet>);

    /// `websocket` or `polling`.
    fn transport(&self) -> &'static str;
}
