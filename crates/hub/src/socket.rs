//! A client in one namespace: who it is, which rooms it is in, one ordered inbox, one bounded outbox.

use std::{
    any::Any,
    borrow::Borrow,
    collections::VecDeque,
    fmt,
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::FutureExt;
use parking_lot::Mutex;

use crate::{
    acks::{AckError, Acks},
    handshake::Handshake,
    lanes::{Flush, Outbox, SendError},
    metrics,
    namespace::Namespace,
    packet::{Encoded, Packet, Run},
    reason::CloseReason,
    rooms::RoomName,
};

/// Events of one socket that may wait for their turn. A well-behaved burst fits (the default rate limit
/// allows 4,000 at once); what comes on top is refused, see [`crate::Handler::refused`].
pub const INBOX_EVENTS: usize = 4096;

/// Bytes of one socket's events that may wait for their turn: four of the largest allowed.
pub const INBOX_BYTES: usize = 4_000_000;

/// A socket's public id, which also names the room that it alone is in. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(Arc<str>);

impl SocketId {
    /// Takes the id that a lane gave the socket.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// Whether a lane may have given a socket this id: Engine.IO's 16 characters, or the 20 of Node's and our own.
    pub fn is_possible(id: &str) -> bool {
        let of_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        matches!(id.len(), 16 | 20) && id.bytes().all(of_base64)
    }

    /// The room that only this socket is in.
    pub fn room(&self) -> RoomName {
        Arc::clone(&self.0)
    }
}

impl Deref for SocketId {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for SocketId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An event from a client, waiting in its socket's inbox.
#[derive(Debug)]
pub struct Event {
    /// The first element of `args`.
    pub name: String,
    /// Name and arguments, as they came.
    pub args: Encoded,
    /// Present when the client wants an answer. Dropping it answers nothing.
    pub ack: Option<AckReply>,
}

/// The way to answer one event, once.
#[derive(Debug)]
pub struct AckReply {
    /// The number the client gave the event.
    pub id: i64,
}

impl AckReply {
    /// Answers on `socket`, which the event came from. A socket that can't take the answer is closed as a slow consumer.
    pub fn send(self, socket: &Socket, args: &Encoded) {
        match socket.0.outbox.send_ack(self.id, args) {
            Ok(()) => metrics::packets_out(1),
            Err(SendError::Full) => socket.close(CloseReason::SlowConsumer),
            Err(SendError::Closed) => {}
        }
    }
}

/// A client in one namespace. Cheap to clone; lives until its lane says it is closed and its inbox is empty.
#[derive(Clone)]
pub struct Socket(Arc<Inner>);

struct Inner {
    id: SocketId,
    namespace: Namespace,
    handshake: Handshake,
    user: OnceLock<Arc<str>>,
    state: OnceLock<Box<dyn Any + Send + Sync>>,
    /// The mirror of the namespace's room index for this socket. `Socket::leave_all` empties both.
    rooms: Mutex<Membership>,
    inbox: Mutex<Inbox>,
    acks: Acks,
    outbox: Arc<dyn Outbox>,
    /// Why this node is closing it. Set once: the first reason wins.
    closing: OnceLock<CloseReason>,
}

#[derive(Default)]
struct Membership {
    rooms: Vec<RoomName>,
    /// Set when the socket is gone, so that a late join leaves no ghost behind.
    gone: bool,
}

#[derive(Default)]
struct Inbox {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// Whether a task is working through `jobs`. At most one is, which is what keeps the order;
    /// an idle socket has none.
    draining: bool,
    /// Set by the lane's `closed`: nothing is accepted after it.
    closed: bool,
    /// Set by `finish`: the last job closes the socket, and no event is accepted after it.
    finishing: bool,
}

enum Job {
    Connected,
    Event(Event),
    Close(CloseReason),
    Disconnected(CloseReason),
}

impl Socket {
    pub(crate) fn new(id: SocketId, namespace: Namespace, handshake: Handshake, outbox: Arc<dyn Outbox>) -> Self {
        Self(Arc::new(Inner {
            id,
            namespace,
            handshake,
            user: OnceLock::new(),
            state: OnceLock::new(),
            rooms: Mutex::default(),
            inbox: Mutex::default(),
            acks: Acks::default(),
            outbox,
            closing: OnceLock::new(),
        }))
    }

    /// One that the handler knew.
    pub(crate) fn recovered(
        id: SocketId,
        namespace: Namespace,
        handshake: Handshake,
        outbox: Arc<dyn Outbox>,
        state: Box<dyn Any + Send + Sync>,
    ) -> Self {
        let socket = Self::new(id, namespace, handshake, outbox);
        let _ = socket.0.state.set(state);
        socket
    }

    /// Whether this is the very same socket. One that was recovered has its predecessor's id, and may be here while that is
    /// still being closed.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What no other socket has while this one is there.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Whether the client could come back as what it is, see [`crate::Handler::recover`].
    pub fn recovers(&self) -> bool {
        self.0.outbox.recovers()
    }

    /// Its public id.
    pub fn id(&self) -> &SocketId {
        &self.0.id
    }

    /// The namespace it is connected to.
    pub fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    /// What it brought along when it connected.
    pub fn handshake(&self) -> &Handshake {
        &self.0.handshake
    }

    /// Whose it is, once the handler has let it in.
    pub fn user(&self) -> Option<&Arc<str>> {
        self.0.user.get()
    }

    /// Says whose it is. The first call counts.
    pub fn set_user(&self, user: impl Into<Arc<str>>) {
        let _ = self.0.user.set(user.into());
    }

    /// What the handler keeps about it.
    pub fn state<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.0.state.get().and_then(|state| state.downcast_ref())
    }

    /// Keeps something about it. The first call counts.
    pub fn set_state<T: Any + Send + Sync>(&self, state: T) {
        let _ = self.0.state.set(Box::new(state));
    }

    /// How it is connected now: `websocket` or `polling`.
    pub fn transport(&self) -> &'static str {
        self.0.outbox.transport()
    }

    /// Sends an event to this socket alone. A socket that can't take it is closed as a slow consumer.
    pub fn emit(&self, event: Encoded) {
        self.send(&Packet::new(event));
    }

    /// [`emit`](Self::emit) of what others get too.
    pub fn send(&self, packet: &Packet) {
        match self.deliver(packet, false, Flush::Now) {
            Ok(()) => metrics::packets_out(1),
            Err(SendError::Full) => self.close(CloseReason::SlowConsumer),
            Err(SendError::Closed) => {}
        }
    }

    /// Sends an event that the client is to answer, and waits for the answer no longer than `timeout`.
    ///
    /// # Errors
    /// There is no answer in time, or the socket is closed or can't take the event; then it is closed as a slow consumer.
    pub async fn emit_with_ack(&self, event: Encoded, timeout: Duration) -> Result<Encoded, AckError> {
        if self.0.closing.get().is_some() {
            return Err(AckError::Closed);
        }
        let waiting = self.0.acks.expect();
        match self.0.outbox.send_with_id(self, &Packet::new(event), waiting.id()) {
            Ok(()) => metrics::packets_out(1),
            Err(SendError::Full) => {
                self.close(CloseReason::SlowConsumer);
                return Err(AckError::Closed);
            }
            Err(SendError::Closed) => return Err(AckError::Closed),
        }
        waiting.answer(timeout).await
    }

    /// Called by the lane when the client answers event number `id`. An answer that nobody waits for is dropped.
    pub fn acked(&self, id: i64, args: Encoded) {
        self.0.acks.resolve(id, args);
    }

    /// Hands a packet to the lane, without a consequence when it does not fit.
    pub(crate) fn deliver(&self, packet: &Packet, volatile: bool, flush: Flush) -> Result<(), SendError> {
        if self.0.closing.get().is_some() {
            return Err(SendError::Closed);
        }
        self.0.outbox.send(packet, volatile, flush)
    }

    pub(crate) fn deliver_run(&self, run: &Run<'_>, flush: Flush) -> Result<(), SendError> {
        if self.0.closing.get().is_some() {
            return Err(SendError::Closed);
        }
        self.0.outbox.send_run(run, flush)
    }

    /// Bytes that its connection has not taken yet. Whoever has much to send waits until they are few.
    pub fn backlog(&self) -> usize {
        self.0.outbox.backlog()
    }

    /// Whether it is gone, or being closed.
    pub fn is_closed(&self) -> bool {
        self.0.closing.get().is_some()
    }

    /// The rooms it is in, its own id's among them.
    pub fn rooms(&self) -> Vec<RoomName> {
        self.0.rooms.lock().rooms.clone()
    }

    /// Whether it is in `room`.
    pub fn is_in(&self, room: &str) -> bool {
        self.0.rooms.lock().rooms.iter().any(|joined| &**joined == room)
    }

    /// Puts it into `room` on this node. Whether it was not in it before.
    pub fn join(&self, room: impl Into<RoomName>) -> bool {
        let room = room.into();
        // Index and mirror change under the mirror's lock, so that they agree whoever comes in between.
        let mut membership = self.0.rooms.lock();
        if membership.gone || membership.rooms.contains(&room) {
            return false;
        }
        self.0.namespace.index().insert(&room, self);
        self.0.namespace.handler().moved(self, &room, true);
        membership.rooms.push(room);
        true
    }

    /// Takes it out of `room` on this node. Whether it was in it.
    pub fn leave(&self, room: &str) -> bool {
        let mut membership = self.0.rooms.lock();
        let Some(at) = membership.rooms.iter().position(|joined| &**joined == room) else { return false };
        let room = membership.rooms.swap_remove(at);
        self.0.namespace.index().remove(&room, self);
        self.0.namespace.handler().moved(self, &room, false);
        true
    }

    fn leave_all(&self) {
        let mut membership = self.0.rooms.lock();
        membership.gone = true;
        for room in std::mem::take(&mut membership.rooms) {
            self.0.namespace.index().remove(&room, self);
        }
    }

    /// Closes it from this side: a last word from the handler, then the lane's way of closing that fits the reason.
    /// The disconnect handler runs once the lane confirms.
    pub fn close(&self, reason: CloseReason) {
        if self.0.closing.set(reason).is_err() {
            return;
        }
        if reason == CloseReason::SlowConsumer {
            metrics::slow_consumer();
        }
        let last = self.0.namespace.handler().farewell(self, reason).map(Packet::new);
        self.0.outbox.close(reason.how(), last.as_ref());
    }

    /// Closes it as [`Socket::close`] does, but after everything in its inbox is handled and answered. Events that arrive
    /// from now on are dropped: a client that gets no answer knows that it has to ask again.
    pub fn finish(&self, reason: CloseReason) {
        let mut inbox = self.0.inbox.lock();
        if !inbox.closed && !inbox.finishing {
            inbox.finishing = true;
            self.enqueue(&mut inbox, Job::Close(reason));
        }
    }

    /// Called by the lane when CONNECT has been answered, or its answer is queued: from here on the client hears us.
    pub fn opened(&self) {
        let greeted = catch_unwind(AssertUnwindSafe(|| self.0.namespace.handler().opened(self)));
        if greeted.is_err() {
            self.panicked();
        }
        self.push(Job::Connected);
    }

    /// Called by the lane for each event, in the order in which they arrived.
    pub fn receive(&self, event: Event) {
        metrics::event_in();
        let refused = {
            let mut inbox = self.0.inbox.lock();
            if inbox.closed || inbox.finishing {
                return;
            }
            let bytes = event.args.len();
            if inbox.jobs.len() >= INBOX_EVENTS || inbox.bytes + bytes > INBOX_BYTES.max(bytes) {
                Some(event)
            } else {
                inbox.bytes += bytes;
                self.enqueue(&mut inbox, Job::Event(event));
                None
            }
        };
        if let Some(event) = refused {
            metrics::event_refused();
            self.0.namespace.handler().refused(self, event);
        }
    }

    /// Called by the lane, any number of times, when the client is gone. The first call counts.
    pub fn closed(&self, reason: CloseReason) {
        let reason = *self.0.closing.get_or_init(|| reason);
        let mut inbox = self.0.inbox.lock();
        if inbox.closed {
            return;
        }
        inbox.closed = true;
        self.0.acks.close();
        self.0.namespace.forget(self);
        self.enqueue(&mut inbox, Job::Disconnected(reason));
    }

    fn push(&self, job: Job) {
        let mut inbox = self.0.inbox.lock();
        if !inbox.closed {
            self.enqueue(&mut inbox, job);
        }
    }

    fn enqueue(&self, inbox: &mut Inbox, job: Job) {
        inbox.jobs.push_back(job);
        if !inbox.draining {
            inbox.draining = true;
            let socket = self.clone();
            self.0.namespace.tasks().spawn(async move { socket.drain().await });
        }
    }

    /// Works through the inbox, one job at a time, until it is empty.
    async fn drain(self) {
        loop {
            let job = {
                let mut inbox = self.0.inbox.lock();
                let Some(job) = inbox.jobs.pop_front() else {
                    inbox.draining = false;
                    // An idle socket keeps no room for the burst it once had.
                    inbox.jobs = VecDeque::new();
                    return;
                };
                if let Job::Event(event) = &job {
                    inbox.bytes -= event.args.len();
                }
                job
            };
            // A panic in a handler costs this socket, not the task that keeps its order.
            if AssertUnwindSafe(self.perform(job)).catch_unwind().await.is_err() {
                self.panicked();
            }
        }
    }

    fn panicked(&self) {
        metrics::handler_panicked();
        tracing::error!(socket = %self.0.id, "an event handler panicked, closing the socket");
        self.close(CloseReason::Internal);
    }

    async fn perform(&self, job: Job) {
        let handler = self.0.namespace.handler();
        match job {
            Job::Connected => handler.connected(self).await,
            Job::Event(event) => handler.event(self, event).await,
            Job::Close(reason) => self.close(reason),
            Job::Disconnected(reason) => {
                metrics::closed(reason);
                // The handler sees the rooms the socket was in; they go whatever it does.
                let _leave = Leave(self);
                handler.disconnected(self, reason).await;
            }
        }
    }
}

struct Leave<'a>(&'a Socket);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.leave_all();
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("id", &self.0.id)
            .field("namespace", &self.0.namespace.name())
            .field("user", &self.0.user.get())
            .finish_non_exhaustive()
    }
}
