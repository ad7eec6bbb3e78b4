//! One node's Socket.IO sockets.
//!
//! Connections come in by a lane ([`lanes`]), become a [`Socket`] of a [`Namespace`], and from there on everything
//! above (dialects, the adapter) sees the hub alone. It knows neither Redis nor chat. In reading order:
//!
//! - [`packet`](Encoded): what travels, encoded once
//! - `socket`: an ordered bounded inbox, a bounded outbox, the rooms it is in; `acks`: answers it waits for
//! - `rooms`: the sharded index behind a fan-out
//! - `namespace`: the sockets of a path, and the [`Handler`] that says what to do with their events
//! - `interest`: who wants to know which rooms have members here
//! - [`lanes`]: how connections arrive; one file a lane

mod acks;
mod handshake;
mod interest;
pub mod lanes;
pub mod metrics;
mod namespace;
mod packet;
mod reason;
mod rooms;
mod socket;

use std::sync::Arc;

use ahash::AHashMap;
use parking_lot::RwLock;
use tokio_util::task::TaskTracker;

pub use acks::AckError;
pub use handshake::{Handshake, PeerAddress};
pub use interest::Interest;
pub use lanes::Flush;
pub use namespace::{Handler, Namespace, Refusal};
pub use packet::{Encoded, Packet};
pub use reason::{Close, CloseReason};
pub use rooms::{RoomName, Targets};
pub use socket::{AckReply, Event, INBOX_BYTES, INBOX_EVENTS, Socket, SocketId};

/// All namespaces of this node. Cheap to clone.
#[derive(Clone, Default)]
pub struct Hub(Arc<Inner>);

#[derive(Default)]
struct Inner {
    namespaces: RwLock<AHashMap<Arc<str>, Namespace>>,
    /// Runs the sockets' inboxes; `close` waits for them.
    tasks: TaskTracker,
    interest: interest::Shared,
}

impl Hub {
    /// A hub without namespaces.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a namespace, or returns the one that has this name already.
    pub fn add_namespace(&self, name: &str, handler: Arc<dyn Handler>) -> Namespace {
        let mut namespaces = self.0.namespaces.write();
        let new = || {
            let watch = interest::Watch::new(name, Arc::clone(&self.0.interest));
            Namespace::new(handler, self.0.tasks.clone(), watch)
        };
        namespaces.entry(name.into()).or_insert_with(new).clone()
    }

    /// Names who is told from now on which rooms have members on this node. Whether there was nobody before: there
    /// is one way to other nodes at most.
    pub fn set_interest(&self, interest: Arc<dyn Interest>) -> bool {
        self.0.interest.set(interest).is_ok()
    }

    /// The namespace with this name.
    pub fn namespace(&self, name: &str) -> Option<Namespace> {
        self.0.namespaces.read().get(name).cloned()
    }

    /// All namespaces.
    pub fn namespaces(&self) -> Vec<Namespace> {
        self.0.namespaces.read().values().cloned().collect()
    }

    /// Sockets on this node, in all namespaces.
    pub fn socket_count(&self) -> usize {
        self.namespaces().iter().map(Namespace::len).sum()
    }

    /// Waits until every socket's inbox is empty, disconnect handlers included. Close the sockets first.
    pub async fn idle(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.tasks.reopen();
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("namespaces", &self.namespaces()).finish_non_exhaustive()
    }
}
