//! Which sockets are in which room, on this node: an index in shards, each behind its own lock,
//! so that a fan-out to one room does not hold up the others.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use ahash::{AHashMap, RandomState};
use parking_lot::RwLock;

use crate::{
    interest::Watch,
    lanes::Flush,
    socket::{Socket, SocketId},
};

/// A room's name, as on the wire.
pub type RoomName = Arc<str>;

/// Enough that two cores seldom meet in one shard, few enough to walk for `rooms()`.
const SHARDS: usize = 64;

/// Sockets, told apart by where they are and not by their ids, which would have to be fetched and compared: each message to a
/// room is held against one for each of its members. Mostly there is one, a sender's.
#[derive(Debug)]
pub(crate) enum Sockets {
    Few(Vec<Socket>),
    Many(AHashMap<usize, Socket>),
}

/// Beyond so many a table is quicker.
const FEW: usize = 8;

impl Default for Sockets {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Sockets {
    pub(crate) fn contains(&self, socket: &Socket) -> bool {
        match self {
            Self::Few(sockets) => sockets.iter().any(|one| one.is(socket)),
            Self::Many(sockets) => sockets.contains_key(&socket.address()),
        }
    }

    /// Whether it was not there.
    fn insert(&mut self, socket: &Socket) -> bool {
        if self.contains(socket) {
            return false;
        }
        match self {
            Self::Few(sockets) if sockets.len() < FEW => sockets.push(socket.clone()),
            Self::Few(sockets) => {
                let table = sockets.drain(..).chain([socket.clone()]).map(|socket| (socket.address(), socket));
                *self = Self::Many(table.collect());
            }
            Self::Many(sockets) => drop(sockets.insert(socket.address(), socket.clone())),
        }
        true
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        match other {
            Self::Few(sockets) => sockets.iter().for_each(|socket| _ = self.insert(socket)),
            Self::Many(sockets) => sockets.values().for_each(|socket| _ = self.insert(socket)),
        }
    }
}

/// Who is in a room. Most rooms are of one socket or one user's few: those need no table.
#[derive(Debug)]
enum Members {
    One(Socket),
    /// Boxed, so that a room of one stays small.
    Many(Box<AHashMap<SocketId, Socket>>),
}

impl Members {
    fn insert(&mut self, socket: &Socket) {
        if let Self::One(only) = self {
            if only.id() == socket.id() {
                // Perhaps one that was recovered, and takes the place of the one whose connection was lost.
                *only = socket.clone();
                return;
            }
            *self = Self::Many(Box::new(AHashMap::from_iter([(only.id().clone(), only.clone())])));
        }
        if let Self::Many(members) = self {
            members.insert(socket.id().clone(), socket.clone());
        }
    }

    /// Removes this very socket, not one that took its place. Whether nobody is left.
    fn remove(&mut self, socket: &Socket) -> bool {
        match self {
            Self::One(only) => only.is(socket),
            Self::Many(members) => {
                if members.get(socket.id()).is_some_and(|member| member.is(socket)) {
                    members.remove(socket.id());
                }
                members.is_empty()
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(members) => members.len(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Socket> {
        let (one, many) = match self {
            Self::One(only) => (Some(only), None),
            Self::Many(members) => (None, Some(members.values())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

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

type Index = HashMap<RoomName, Members, RandomState>;

#[derive(Debug)]
pub(crate) struct Rooms {
    hasher: RandomState,
    shards: Box<[RwLock<Index>]>,
    /// Told under a shard's lock, so that what it hears of one room is in order.
    watch: Watch,
}

impl Rooms {
    pub(crate) fn new(watch: Watch) -> Self {
        Self { hasher: RandomState::new(), shards: (0..SHARDS).map(|_| RwLock::default()).collect(), watch }
    }

    /// Who is told of rooms that open and empty.
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    fn shard(&self, room: &str) -> &RwLock<Index> {
        &self.shards[self.hasher.hash_one(room) as usize % SHARDS]
    }

    /// Whether this made the room.
    pub(crate) fn insert(&self, room: &RoomName, socket: &Socket) -> bool {
        let mut shard = self.shard(room).write();
        match shard.entry(Arc::clone(room)) {
            Entry::Vacant(vacant) => {
                vacant.insert(Members::One(socket.clone()));
                self.watch.opened(room);
                true
            }
            Entry::Occupied(mut room) => {
                room.get_mut().insert(socket);
                false
            }
        }
    }

    /// Whether this emptied the room, which then is gone.
    pub(crate) fn remove(&self, room: &str, socket: &Socket) -> bool {
        let mut shard = self.shard(room).write();
        let Some(members) = shard.get_mut(room) else { return false };
        let last = members.remove(socket);
        if last && let Some((room, _)) = shard.remove_entry(room) {
            self.watch.emptied(&room);
        }
        last
    }

    pub(crate) fn contains(&self, room: &str) -> bool {
        self.shard(room).read().contains_key(room)
    }

    pub(crate) fn members(&self, room: &str) -> usize {
        self.shard(room).read().get(room).map_or(0, Members::len)
    }

    pub(crate) fn names(&self) -> Vec<RoomName> {
        self.shards.iter().flat_map(|shard| shard.read().keys().cloned().collect::<Vec<_>>()).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Calls `f` once for each socket in the union of `rooms` that is in none of `except`, with what suits their number.
    /// `rooms` must not be empty: "everyone" is the namespace's own list.
    ///
    /// One room without exceptions, the common case, costs no allocation. `f` runs under the lock of a
    /// shard: it may enqueue, it must not join or leave.
    pub(crate) fn for_each(&self, rooms: &[RoomName], except: &[RoomName], mut f: impl FnMut(&Socket, Flush)) {
        let mut seen = self.members_of(except);
        let one = rooms.len() == 1;
        for room in rooms {
            if let Some(members) = self.shard(room).read().get(room) {
                let flush = Flush::for_recipients(members.len());
                for socket in members.iter() {
                    let wanted = if one { !seen.contains(socket) } else { seen.insert(socket) };
                    if wanted {
                        f(socket, flush);
                    }
                }
            }
        }
    }

    /// Whether a socket is in one of `rooms` and in none of `except`.
    pub(crate) fn any(&self, rooms: &[RoomName], except: &[RoomName]) -> bool {
        let left_out = self.members_of(except);
        let mut rooms = rooms.iter();
        rooms.any(|room| {
            let shard = self.shard(room).read();
            shard.get(room).is_some_and(|members| members.iter().any(|socket| !left_out.contains(socket)))
        })
    }

    /// Everyone in any of `rooms`.
    pub(crate) fn members_of(&self, rooms: &[RoomName]) -> Sockets {
        let mut sockets = Sockets::default();
        for room in rooms {
            if let Some(members) = self.shard(room).read().get(room) {
                members.iter().for_each(|socket| _ = sockets.insert(socket));
            }
        }
        sockets
    }
}
