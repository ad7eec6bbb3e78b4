//! Which sockets are in which room, on this node: an index in shards, each behind its own lock,
//! so that a fan-out to one room does not hold up the others.

use std::sync::Arc;

use ahash::{AHashMap, AHashSet, RandomState};
use parking_lot::RwLock;

use crate::socket::{Socket, SocketId};

/// A room's name, as on the wire.
pub type RoomName = Arc<str>;

/// Enough that two cores seldom meet in one shard, few enough to walk for `rooms()`.
const SHARDS: usize = 64;

type Members = AHashMap<SocketId, Socket>;

/// Which sockets an emit is for: the union of `rooms` (everyone when empty) less the members of `except`,
/// each socket once. A socket's id is a room that it alone is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Empty means everyone in the namespace.
    pub rooms: Vec<RoomName>,
    /// Rooms whose members are left out.
    pub except: Vec<RoomName>,
}

impl Targets {
    /// Everyone in the namespace.
    pub fn everyone() -> Self {
        Self::default()
    }

    /// The members of one room.
    pub fn room(name: impl Into<RoomName>) -> Self {
        Self { rooms: vec![name.into()], except: Vec::new() }
    }

    /// The same without the members of `room`; with a socket's id, without that socket.
    #[must_use]
    pub fn except(mut self, room: impl Into<RoomName>) -> Self {
        self.except.push(room.into());
        self
    }
}

#[derive(Debug)]
pub(crate) struct Rooms {
    hasher: RandomState,
    shards: Box<[RwLock<AHashMap<RoomName, Members>>]>,
}

impl Rooms {
    pub(crate) fn new() -> Self {
        Self { hasher: RandomState::new(), shards: (0..SHARDS).map(|_| RwLock::default()).collect() }
    }

    fn shard(&self, room: &str) -> &RwLock<AHashMap<RoomName, Members>> {
        &self.shards[self.hasher.hash_one(room) as usize % SHARDS]
    }

    /// Whether this made the room.
    pub(crate) fn insert(&self, room: &RoomName, socket: &Socket) -> bool {
        let mut shard = self.shard(room).write();
        let members = shard.entry(Arc::clone(room)).or_default();
        let first = members.is_empty();
        members.insert(socket.id().clone(), socket.clone());
        first
    }

    /// Whether this emptied the room, which then is gone.
    pub(crate) fn remove(&self, room: &str, socket: &SocketId) -> bool {
        let mut shard = self.shard(room).write();
        let Some(members) = shard.get_mut(room) else { return false };
        members.remove(socket);
        let last = members.is_empty();
        if last {
            shard.remove(room);
        }
        last
    }

    pub(crate) fn contains(&self, room: &str) -> bool {
        self.shard(room).read().contains_key(room)
    }

    pub(crate) fn names(&self) -> Vec<RoomName> {
        self.shards.iter().flat_map(|shard| shard.read().keys().cloned().collect::<Vec<_>>()).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Calls `f` once for each socket in the union of `rooms` that is in none of `except`.
    /// `rooms` must not be empty: "everyone" is the namespace's own list.
    ///
    /// One room without exceptions, the common case, costs no allocation. `f` runs under the lock of a
    /// shard: it may enqueue, it must not join or leave.
    pub(crate) fn for_each(&self, rooms: &[RoomName], except: &[RoomName], mut f: impl FnMut(&Socket)) {
        let left_out = self.ids(except);
        if let [room] = rooms {
            if let Some(members) = self.shard(room).read().get(room) {
                members.iter().filter(|(id, _)| !left_out.contains(*id)).for_each(|(_, socket)| f(socket));
            }
            return;
        }
        let mut seen = left_out;
        for room in rooms {
            if let Some(members) = self.shard(room).read().get(room) {
                for (id, socket) in members {
                    if seen.insert(id.clone()) {
                        f(socket);
                    }
                }
            }
        }
    }

    /// Ids of everyone in any of `rooms`.
    pub(crate) fn ids(&self, rooms: &[RoomName]) -> AHashSet<SocketId> {
        let mut ids = AHashSet::new();
        for room in rooms {
            if let Some(members) = self.shard(room).read().get(room) {
                ids.extend(members.keys().cloned());
            }
        }
        ids
    }
}
