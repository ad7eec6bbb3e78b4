//! One node's Socket.IO sockets.
//!
//! Connections come in by a lane ([`lanes`]), become a [`Socket`] of a [`Namespace`], and from there on everything
//! above (dialects, the adapter) sees the hub alone. It knows neither Redis nor chat. In reading order:
//!
//! - [`packet`](Encoded): what travels, encoded once
//! - `socket`: an ordered bounded inbox, a bounded outbox, the rooms it is in; `acks`: answers it waits for
//! - `rooms`: the sharded index behind a fan-out
//! - `namespace`: the sockets of a path, and the [`Handler`] that says what to do with their events
//! - `ids`: how sockets are named
//! - `gather`: an outbox for a client that wants several events in one
//! - `interest`: who wants to know which rooms have members here
//! - [`lanes`]: how connections arrive; one file a lane

mod acks;
mod gather;
mod handshake;
mod ids;
mod interest;
pub mod lanes;
pub mod metrics;
mod namespace;
mod packet;
mod reason;
mod rooms;
mod socket;

use std::sync::{Arc, OnceLock};

use ahash::AHashMap;
use parking_lot::{Mutex, RwLock};
use tokio_util::task::TaskTracker;

pub use acks::AckError;
pub use gather::Gather;
pub use handshake::{Handshake, PeerAddress};
pub use interest::Interest;
pub use lanes::Flush;
pub use namespace::{Handler, Namespace, Recovery, Refusal};
pub use packet::{Encoded, Packet, Run};
pub use reason::{Close, CloseReason};
pub use rooms::{RoomName, Targets};
pub use socket::{AckReply, Event, INBOX_BYTES, INBOX_EVENTS, Socket, SocketId};

/// All namespaces of this node. Cheap to clone.
#[derive(Clone, Default)]
pub struct Hub(Arc<Inner>);

#[derive(Default)]
struct Inner {
    namespaces: RwLock<AHashMap<Arc<str>, Namespace>>,
    dynamic: OnceLock<Dynamic>,
    /// Runs the sockets' inboxes; `close` waits for them.
    tasks: TaskTracker,
    interest: interest::Shared,
    ids: ids::Ids,
}

/// Namespaces that come into being when somebody connects to them.
struct Dynamic {
    makes: Box<MakeHandler>,
    /// Those there are, and whether nobody was in it when we last looked.
    made: Mutex<AHashMap<Arc<str>, bool>>,
}

/// Gives a namespace its handler, or `None` when there is no such namespace.
pub type MakeHandler = dyn Fn(&str) -> Option<Arc<dyn Handler>> + Send + Sync;

/// Dynamic namespaces at a time on a node; beyond it, one that isn't there can't be connected to.
pub const DYNAMIC_NAMESPACES: usize = 10_000;

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("namespaces", &self.namespaces.read().len()).finish_non_exhaustive()
    }
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

    /// How the ids of those sockets begin that this hub's lanes name themselves: different on every node and at every start, so
    /// that one pattern can stand for all their rooms.
    pub fn id_prefix(&self) -> &str {
        self.0.ids.prefix()
    }

    /// An id for a socket, or for a session.
    pub(crate) fn fresh_id(&self) -> String {
        self.0.ids.fresh()
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

    /// From now on a client may connect to every namespace that `makes` has a handler for. The first call counts.
    pub fn make_namespaces(&self, makes: impl Fn(&str) -> Option<Arc<dyn Handler>> + Send + Sync + 'static) {
        let _ = self.0.dynamic.set(Dynamic { makes: Box::new(makes), made: Mutex::default() });
    }

    /// The namespace with this name, made if it is a dynamic one: for lanes, when a client wants to connect.
    pub fn open_namespace(&self, name: &str) -> Option<Namespace> {
        if let Some(known) = self.namespace(name) {
            return Some(known);
        }
        let dynamic = self.0.dynamic.get()?;
        let mut made = dynamic.made.lock();
        if made.len() >= DYNAMIC_NAMESPACES {
            tracing::warn!(namespace = name, "there are too many dynamic namespaces, refusing another");
            return None;
        }
        let handler = (dynamic.makes)(name)?;
        made.insert(name.into(), false);
        Some(self.add_namespace(name, handler))
    }

    /// Removes the dynamic namespaces that nobody is in or about to enter, now and at the last call. `removed` hears of each
    /// before the next of its name can be made; it must not block.
    pub fn remove_idle_namespaces(&self, mut removed: impl FnMut(&str)) {
        let Some(dynamic) = self.0.dynamic.get() else { return };
        dynamic.made.lock().retain(|name, was_idle| {
            let Some(namespace) = self.namespace(name) else { return false };
            let remove = if *was_idle { namespace.retire() } else { false };
            *was_idle = namespace.is_empty();
            if remove {
                self.0.namespaces.write().remove(name);
                removed(name);
            }
            !remove
        });
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
