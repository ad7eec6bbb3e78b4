//! A namespace on this node: its sockets, its rooms, and what to do with their events.

use std::{any::Any, sync::Arc};

use ahash::AHashMap;
use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio_util::task::TaskTracker;

use crate::{
    gather::{Gather, Gathering},
    handshake::Handshake,
    interest::Watch,
    lanes::{Flush, Outbox, SendError},
    metrics,
    packet::{Encoded, Packet, Run},
    reason::CloseReason,
    rooms::{RoomName, Rooms, Sockets, Targets},
    socket::{Event, Socket, SocketId},
};

/// Why a connection is refused: becomes the client's `connect_error`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What the client reads.
    pub message: String,
    /// A code of the vocabulary, for lanes that can carry data, and for metrics.
    pub code: &'static str,
}

/// A socket that comes back as what it was.
pub struct Recovery {
    /// The id that it had.
    pub id: SocketId,
    /// What the handler keeps about it, see [`Socket::state`].
    pub state: Box<dyn Any + Send + Sync>,
}

impl std::fmt::Debug for Recovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recovery").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What an application does with the sockets of a namespace.
///
/// For one socket the calls come in order and never overlap: `connecting`, `opened`, `connected`, `event`…, `disconnected`.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Decides whether the client may come in. Runs before CONNECT is answered; rooms joined here are left
    /// again on refusal.
    async fn connecting(&self, socket: &Socket) -> Result<(), Refusal>;

    /// Whether clients are told how to come back as what they are, on lanes that can. Always the same.
    fn recovers(&self) -> bool {
        false
    }

    /// Whether the client says that it was here before, and we know what it was. Asked before `connecting`, if
    /// it [may](Self::recovers).
    async fn recover(&self, _namespace: &Namespace, _handshake: &Handshake) -> Option<Recovery> {
        None
    }

    /// Puts a socket that [`recover`](Self::recover) knows back to where it was, in place of `connecting`. False when it
    /// can't be: then it leaves the rooms that it has joined here, and the client comes in as a new one.
    async fn recovering(&self, _socket: &Socket) -> bool {
        false
    }

    /// The name by which the client may come back as what it is, for the answer to CONNECT.
    fn recovery_id(&self, _socket: &Socket) -> Option<String> {
        None
    }

    /// A socket is in `room` from now on, or no longer; not told of the rooms that it leaves by closing. Called under a
    /// lock, so that what is told of one socket is in order: must not block, join or leave.
    fn moved(&self, _socket: &Socket, _room: &RoomName, _joined: bool) {}

    /// Which events are gathered for a client that said this when it connected.
    fn gathers(&self, _: &Handshake) -> Option<Gather> {
        None
    }

    /// The client is let in: what is sent now may leave together with the answer to CONNECT. Must not block.
    fn opened(&self, _socket: &Socket) {}

    /// The client is in: CONNECT is out, and it hears what is sent from now on.
    async fn connected(&self, socket: &Socket);

    /// The client sent an event.
    async fn event(&self, socket: &Socket, event: Event);

    /// The client's inbox is full and this event will not be handled. Must not block.
    fn refused(&self, socket: &Socket, event: Event);

    /// The last event for a socket that this node closes for `reason`. Must not block.
    fn farewell(&self, socket: &Socket, reason: CloseReason) -> Option<Encoded>;

    /// The client is gone. Its rooms can still be read, and are left after this returns.
    async fn disconnected(&self, socket: &Socket, reason: CloseReason);
}

/// A namespace on this node. Cheap to clone.
#[derive(Clone)]
pub struct Namespace(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    handler: Arc<dyn Handler>,
    sockets: RwLock<AHashMap<SocketId, Socket>>,
    door: Mutex<Door>,
    rooms: Rooms,
    tasks: TaskTracker,
}

/// Who is neither outside nor in.
#[derive(Default)]
struct Door {
    /// Clients that are being asked who they are.
    entering: usize,
    /// Nobody comes in any more: the namespace is gone from the hub.
    closed: bool,
}

impl Namespace {
    pub(crate) fn new(handler: Arc<dyn Handler>, tasks: TaskTracker, watch: Watch) -> Self {
        let name = watch.namespace();
        Self(Arc::new(Inner {
            name,
            handler,
            sockets: RwLock::default(),
            door: Mutex::default(),
            rooms: Rooms::new(watch),
            tasks,
        }))
    }

    /// Its path, with the leading slash.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn name_shared(&self) -> Arc<str> {
        Arc::clone(&self.0.name)
    }

    pub(crate) fn handler(&self) -> &dyn Handler {
        &*self.0.handler
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    pub(crate) fn index(&self) -> &Rooms {
        &self.0.rooms
    }

    /// Lets a client in, or not: for lanes, before they answer CONNECT. On success the lane answers and then
    /// calls [`Socket::opened`]. From the answer on, what other nodes send to the socket's rooms arrives too, unless the
    /// way to them is down.
    ///
    /// # Errors
    /// The handler refused it, or the namespace was removed a moment ago.
    pub async fn connect(
        &self,
        id: SocketId,
        handshake: Handshake,
        outbox: Arc<dyn Outbox>,
    ) -> Result<Socket, Refusal> {
        let outbox: Arc<dyn Outbox> = match self.0.handler.gathers(&handshake) {
            Some(rule) => Gathering::around(outbox, rule, &self.0.tasks),
            None => outbox,
        };
        if outbox.recovers()
            && let Some(socket) = self.recover(&handshake, &outbox).await
        {
            return Ok(socket);
        }
        let socket = Socket::new(id.clone(), self.clone(), handshake, outbox);
        let entering = Entering::through(&self.0.door, &socket)?;
        self.0.handler.connecting(&socket).await.inspect_err(|refusal| metrics::refused(refusal.code))?;
        socket.join(id.room());
        // A node that is cut off from the others still serves its own clients.
        let _ = self.heard(&socket.rooms()).await;
        self.insert(&socket);
        entering.done();
        metrics::accepted(socket.transport());
        Ok(socket)
    }

    async fn recover(&self, handshake: &Handshake, outbox: &Arc<dyn Outbox>) -> Option<Socket> {
        let Recovery { id, state } = self.0.handler.recover(self, handshake).await?;
        let socket = Socket::recovered(id, self.clone(), handshake.clone(), Arc::clone(outbox), state);
        let entering = Entering::through(&self.0.door, &socket).ok()?;
        // From here on the one whose connection was lost finds that it has a successor.
        self.insert(&socket);
        socket.join(socket.id().room());
        if !self.0.handler.recovering(&socket).await {
            return None;
        }
        entering.done();
        metrics::accepted(socket.transport());
        Some(socket)
    }

    fn insert(&self, socket: &Socket) {
        self.0.sockets.write().insert(socket.id().clone(), socket.clone());
    }

    /// Waits until what other nodes send to `rooms` arrives on this one, if it has members in them. Whether it does: not
    /// while the way to the other nodes is down. At once without other nodes.
    pub async fn heard(&self, rooms: &[RoomName]) -> bool {
        self.0.rooms.watch().heard(rooms).await
    }

    /// Closes the door for good, unless somebody is in or entering. Whether it is closed.
    pub(crate) fn retire(&self) -> bool {
        let mut door = self.0.door.lock();
        door.closed |= door.entering == 0 && self.is_empty();
        door.closed
    }

    /// Forgets this very socket, not one that took its place.
    pub(crate) fn forget(&self, socket: &Socket) {
        let mut sockets = self.0.sockets.write();
        if sockets.get(socket.id()).is_some_and(|known| known.is(socket)) {
            sockets.remove(socket.id());
        }
    }

    /// Whether this is the very same namespace, not one of the same name that took its place.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The socket with this id, when it is on this node.
    pub fn socket(&self, id: &str) -> Option<Socket> {
        self.0.sockets.read().get(id).cloned()
    }

    /// The sockets of this node that `targets` names.
    pub fn sockets(&self, targets: &Targets) -> Vec<Socket> {
        let mut sockets = Vec::new();
        self.for_each(targets, |socket, _| sockets.push(socket.clone()));
        sockets
    }

    /// How many sockets are on this node.
    pub fn len(&self) -> usize {
        self.0.sockets.read().len()
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rooms that have members on this node, the sockets' own among them.
    pub fn rooms(&self) -> Vec<RoomName> {
        self.0.rooms.names()
    }

    /// How many rooms have members on this node.
    pub fn room_count(&self) -> usize {
        self.0.rooms.count()
    }

    /// Whether `room` has members on this node.
    pub fn has_room(&self, room: &str) -> bool {
        self.0.rooms.contains(room)
    }

    /// How many sockets of this node are in `room`.
    pub fn members(&self, room: &str) -> usize {
        self.0.rooms.members(room)
    }

    /// Whether `targets` names any socket of this node.
    pub fn is_heard(&self, targets: &Targets) -> bool {
        if !targets.rooms.is_empty() {
            return self.0.rooms.any(&targets.rooms, &targets.except);
        }
        let left_out = self.0.rooms.members_of(&targets.except);
        self.0.sockets.read().values().any(|socket| !left_out.contains(socket))
    }

    /// Hands `packet` to every socket of this node that `targets` names, and says how many took it.
    ///
    /// A socket whose outbox is full is closed as a slow consumer; with `volatile` the packet is dropped for it instead.
    pub fn deliver(&self, packet: &Packet, targets: &Targets, volatile: bool) -> usize {
        self.deliver_where(packet, targets, volatile, |_| true)
    }

    /// [`deliver`](Self::deliver) to those of the sockets that are `wanted`. It is asked under a lock: it must not join or leave.
    pub fn deliver_where(
        &self,
        packet: &Packet,
        targets: &Targets,
        volatile: bool,
        mut wanted: impl FnMut(&Socket) -> bool,
    ) -> usize {
        self.deliver_each(targets, volatile, |socket| wanted(socket).then_some(packet))
    }

    /// [`deliver`](Self::deliver) where not all sockets hear the same: `choose` says what each does. It is asked under a
    /// lock: it must not join or leave.
    pub fn deliver_each<'a>(
        &self,
        targets: &Targets,
        volatile: bool,
        mut choose: impl FnMut(&Socket) -> Option<&'a Packet>,
    ) -> usize {
        let (taken, full) = self
            .hand_out(targets, |socket, flush| choose(socket).map(|packet| socket.deliver(packet, volatile, flush)));
        metrics::packets_out(taken);
        if volatile {
            metrics::volatile_dropped(full.len());
        } else {
            full.iter().for_each(|socket| socket.close(CloseReason::SlowConsumer));
        }
        taken
    }

    /// Hands the packets of `run` to the members of `rooms` on this node (everyone when empty), as
    /// [`deliver`](Self::deliver) does with each, and says how many sockets took all that is for them.
    pub fn deliver_run(&self, run: &Run<'_>, rooms: &[RoomName]) -> usize {
        match (run.packets(), run.excepts()) {
            ([], _) => return 0,
            ([packet], [except]) => {
                let targets = Targets { rooms: rooms.to_vec(), except: except.to_vec() };
                return self.deliver(packet, &targets, false);
            }
            _ => {}
        }
        let targets = Targets { rooms: rooms.to_vec(), except: Vec::new() };
        let left_out: Vec<_> = run.excepts().iter().map(|except| self.0.rooms.members_of(except)).collect();
        // Mostly the senders: they don't hear everything.
        let mut partial = Sockets::default();
        left_out.iter().for_each(|sockets| partial.extend(sockets));
        let mut packets = 0;
        let (taken, full) = self.hand_out(&targets, |socket, flush| {
            if !partial.contains(socket) {
                let handed = socket.deliver_run(run, flush);
                packets += handed.map_or(0, |()| run.packets().len());
                return Some(handed);
            }
            let theirs = run.packets().iter().zip(&left_out).filter(|(_, sockets)| !sockets.contains(socket));
            let mut theirs = theirs.map(|(packet, _)| packet).peekable();
            theirs.peek()?;
            // Nothing after what did not fit: whoever comes back goes on from the last that came.
            Some(theirs.try_for_each(|packet| socket.deliver(packet, false, flush).inspect(|()| packets += 1)))
        });
        metrics::packets_out(packets);
        full.iter().for_each(|socket| socket.close(CloseReason::SlowConsumer));
        taken
    }

    /// How many sockets took what `hand` offers to those whom `targets` names, and which had no room for it.
    ///
    /// Closing those takes locks of its own: not under the index's.
    fn hand_out(
        &self,
        targets: &Targets,
        mut hand: impl FnMut(&Socket, Flush) -> Option<Result<(), SendError>>,
    ) -> (usize, Vec<Socket>) {
        let (mut taken, mut full) = (0, Vec::new());
        self.for_each(targets, |socket, flush| match hand(socket, flush) {
            Some(Ok(())) => taken += 1,
            Some(Err(SendError::Full)) => full.push(socket.clone()),
            Some(Err(SendError::Closed)) | None => {}
        });
        (taken, full)
    }

    /// About how many sockets of this node are in `rooms` (all when empty): one that is in several counts several times.
    pub fn reach(&self, rooms: &[RoomName]) -> usize {
        if rooms.is_empty() { self.len() } else { rooms.iter().map(|room| self.members(room)).sum() }
    }

    /// Whether clients are told how to come back as what they are, on lanes that can.
    pub fn recovers(&self) -> bool {
        self.0.handler.recovers()
    }

    fn for_each(&self, targets: &Targets, mut f: impl FnMut(&Socket, Flush)) {
        if !targets.rooms.is_empty() {
            self.0.rooms.for_each(&targets.rooms, &targets.except, f);
            return;
        }
        let left_out = self.0.rooms.members_of(&targets.except);
        let sockets = self.0.sockets.read();
        let flush = Flush::for_recipients(sockets.len());
        sockets.values().filter(|socket| !left_out.contains(socket)).for_each(|socket| f(socket, flush));
    }
}

/// A socket that is not in yet. It leaves the rooms it has joined when it is refused, or its lane gives up on it.
struct Entering<'a> {
    door: &'a Mutex<Door>,
    socket: &'a Socket,
    is_in: bool,
}

impl<'a> Entering<'a> {
    fn through(door: &'a Mutex<Door>, socket: &'a Socket) -> Result<Self, Refusal> {
        let mut open = door.lock();
        if open.closed {
            return Err(Refusal { message: "Invalid namespace".to_owned(), code: "not_found" });
        }
        open.entering += 1;
        Ok(Self { door, socket, is_in: false })
    }

    fn done(mut self) {
        self.is_in = true;
    }
}

impl Drop for Entering<'_> {
    fn drop(&mut self) {
        if !self.is_in {
            self.socket.namespace().forget(self.socket);
            for room in self.socket.rooms() {
                self.socket.leave(&room);
            }
        }
        self.door.lock().entering -= 1;
    }
}

impl std::fmt::Debug for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Namespace").field("name", &self.0.name).field("sockets", &self.len()).finish_non_exhaustive()
    }
}
