//! The ways by which connections reach the hub.
//!
//! A lane accepts connections, speaks Engine.IO and Socket.IO with them, and for each socket
//! 1. calls `Namespace::connect` with an [`Outbox`] before it answers CONNECT,
//! 2. calls `Socket::opened` when the answer is out,
//! 3. calls `Socket::receive` for each event, in order,
//! 4. calls `Socket::closed` when the client is gone, however that came about.

mod backlog;
mod closable;
pub mod socketioxide;
pub mod websocket;

pub use closable::{Closable, CloseHandle};

use std::time::Duration;

use crate::{
    packet::{Encoded, Packet, Run},
    reason::Close,
    socket::Socket,
};

/// The Engine.IO path.
pub const PATH: &str = "/socket.io";

/// What can be set about the lanes.
#[derive(Clone, Debug)]
pub struct Options {
    /// Time between pings.
    pub ping_interval: Duration,
    /// Time a client has to answer one.
    pub ping_timeout: Duration,
    /// Bytes of one message or one polling body, the same on all transports; announced as `maxPayload`.
    pub max_payload: usize,
    /// Whether HTTP long-polling is offered.
    pub polling: bool,
    /// Whether WebSocket is offered.
    pub websocket: bool,
    /// Bytes that may wait for one connection.
    pub outbox_bytes: usize,
    /// How long a peer may take nothing of what waits for it, on the WebSocket lane.
    pub stall_timeout: Duration,
    /// How long packets gather before they are written after a fan-out, on the WebSocket lane.
    pub flush_delay: Duration,
    /// Tasks that write after a fan-out, on the WebSocket lane: as many as there are cores.
    pub flushers: usize,
}

impl Default for Options {
    /// Both transports, with Node's time-outs and payload size, and an outbox of 1 MiB.
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            max_payload: 1_000_000,
            polling: true,
            websocket: true,
            outbox_bytes: 1 << 20,
            stall_timeout: Duration::from_secs(10),
            flush_delay: Duration::ZERO,
            flushers: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// When a packet should leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// At once.
    Now,
    /// Once all who are ready have said what they have to say.
    Next,
    /// Soon, perhaps after a pause, together with what else is on its way by then.
    Soon,
}

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

impl Flush {
    /// Up to so many recipients nobody waits for a pause.
    const FEW: usize = 8;

    /// What suits a packet for so many recipients. Few are written to as soon as all that has arrived is handed out: under load, the
    /// answer to what one of them sent or another packet for them is often among it, and costs no system call of its own then. Where
    /// nothing meets, reading first and then writing is still cheaper than taking turns.
    pub(crate) fn for_recipients(count: usize) -> Self {
        if count <= Self::FEW { Self::Next } else { Self::Soon }
    }
}

/// One socket's way out: bounded, and never waiting.
pub trait Outbox: Send + Sync + 'static {
    /// Queues an event. A `volatile` one may be dropped at any time without an error.
    ///
    /// # Errors
    /// Nothing was queued.
    fn send(&self, packet: &Packet, volatile: bool, flush: Flush) -> Result<(), SendError>;

    /// Queues several events, none of them volatile.
    ///
    /// # Errors
    /// From some event on, nothing was queued.
    fn send_run(&self, run: &Run<'_>, flush: Flush) -> Result<(), SendError> {
        run.packets().iter().try_for_each(|packet| self.send(packet, false, flush))
    }

    /// Queues an event that the client is to answer: the answer goes to [`Socket::acked`] of `socket`, whose outbox
    /// this is, under the same number.
    ///
    /// # Errors
    /// Nothing was queued.
    fn send_with_id(&self, socket: &Socket, packet: &Packet, id: i64) -> Result<(), SendError>;

    /// Queues the answer to event number `id`.
    ///
    /// # Errors
    /// Nothing was queued.
    fn send_ack(&self, id: i64, args: &Encoded) -> Result<(), SendError>;

    /// Closes the socket after what is queued and after `last`, within seconds even if the client does not read.
    /// `last` may be lost when nothing can be queued any more.
    fn close(&self, how: Close, last: Option<&Packet>);

    /// Whether the client is told how to come back as what it is: the lane can, and the handler
    /// [does](crate::Handler::recovers).
    fn recovers(&self) -> bool {
        false
    }

    /// Bytes that wait to be written.
    fn backlog(&self) -> usize;

    /// `websocket` or `polling`.
    fn transport(&self) -> &'static str;
}
