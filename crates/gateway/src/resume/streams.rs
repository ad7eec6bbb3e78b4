//! All streams of this node: stored messages come in, sockets begin and end to read the log.

use std::sync::Arc;

use ahash::AHashMap;
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use trunkline_adapter::StoredMessages;
use trunkline_hub::{Encoded, Hub, Namespace, Packet, RoomName, Socket, SocketId, Targets};
use trunkline_store::parse_message_id;

use super::{Ended, Live, Position, Reset, Stream};

/// A message on its way, and who is to hear it.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    packet: Arc<Packet>,
    targets: Arc<Targets>,
}

/// One conversation as one room of one namespace hears it: the room of the conversation, or for a direct one that of each
/// of its two users.
#[derive(Debug)]
pub(crate) struct Entry {
    pub namespace: Namespace,
    pub room: RoomName,
    pub conversation: Arc<str>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stream: Stream<SocketId, Delivery>,
    /// Out of the table: whoever waited for the lock must look again.
    dropped: bool,
}

/// The streams that have, or had a moment ago, sockets of this node. Which ones are behind is told to whoever holds the
/// receiving end of `new`; each is told once until it has been repaired.
#[derive(Debug)]
pub struct Streams {
    by_room: Mutex<AHashMap<RoomName, Vec<Arc<Entry>>>>,
    behind: UnboundedSender<Arc<Entry>>,
}

/// Conversations that are followed for one room. Beyond it the least recently begun is forgotten: what it misses then is
/// noticed by nobody but its clients, who see a gap in `seq`.
const PER_ROOM: usize = 256;

/// What became of a reader that came to the end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// It hears what all others hear.
    Done,
    /// There is more to read.
    On,
    /// Another reader of the same socket took over.
    Replaced,
}

impl Streams {
    /// None yet, and the receiving end.
    pub(crate) fn new() -> (Arc<Self>, UnboundedReceiver<Arc<Entry>>) {
        let (behind, receiver) = unbounded_channel();
        (Arc::new(Self { by_room: Mutex::default(), behind }), receiver)
    }

    /// `socket` is about to read a conversation's log: what comes live waits from now on. Call it before the socket joins the
    /// room.
    pub fn read(self: &Arc<Self>, socket: &Socket, room: &RoomName, conversation: &str) -> Reader {
        let (entry, number) =
            self.with(socket.namespace(), room, conversation, |_, stream| stream.begin_reading(socket.id()));
        Reader { streams: Arc::clone(self), entry, socket: socket.id().clone(), number }
    }

    /// `socket` sent the message at `position`, and is not to hear it even if it has to be read from the log.
    pub(crate) fn sent(&self, socket: &Socket, room: &RoomName, conversation: &str, position: &Position) {
        if let Some(entry) = self.find(socket.namespace(), room, conversation) {
            entry.state.lock().stream.sent(socket.id(), position);
        }
    }

    /// All streams whose position is known, with it, for a look at their logs. Those that nobody here listens to any more are
    /// dropped.
    pub(crate) fn tidy(&self, hub: &Hub) -> Vec<(Arc<Entry>, Position)> {
        let mut known = Vec::new();
        self.by_room.lock().retain(|_, entries| {
            entries.retain(|entry| {
                let mut state = entry.state.lock();
                let listening = hub.namespace(entry.namespace.name()).is_some_and(|at| at.has_room(&entry.room));
                state.dropped = !listening && !state.stream.is_read();
                if !state.dropped
                    && let Some(position) = state.stream.position()
                {
                    known.push((Arc::clone(entry), position.clone()));
                }
                !state.dropped
            });
            !entries.is_empty()
        });
        known
    }

    /// The log of a stream that was at `before` ends at `end`: it is repaired if that is further than it is, or if the log
    /// has lost what it had already.
    pub(crate) fn look(&self, entry: &Arc<Entry>, before: &Position, end: &Position) {
        let stream = &mut entry.state.lock().stream;
        let differs = stream.overtook(before, end) || stream.behind(&end.epoch, end.seq);
        self.repair_if(differs, entry);
    }

    fn repair_if(&self, behind: bool, entry: &Arc<Entry>) {
        if behind {
            // Nobody repairs any more when the node has come to its end.
            let _ = self.behind.send(Arc::clone(entry));
        }
    }

    fn find(&self, namespace: &Namespace, room: &str, conversation: &str) -> Option<Arc<Entry>> {
        let by_room = self.by_room.lock();
        by_room.get(room)?.iter().find(|entry| entry.is(namespace, conversation)).cloned()
    }

    /// Calls `f` with a stream, which is made if need be, under its lock.
    fn with<T>(
        &self,
        namespace: &Namespace,
        room: &RoomName,
        conversation: &str,
        f: impl FnOnce(&Entry, &mut Stream<SocketId, Delivery>) -> T,
    ) -> (Arc<Entry>, T) {
        loop {
            let entry = self.find(namespace, room, conversation);
            let entry = entry.unwrap_or_else(|| self.make(namespace, room, conversation));
            let mut state = entry.state.lock();
            if state.dropped {
                continue;
            }
            let value = f(&entry, &mut state.stream);
            drop(state);
            return (entry, value);
        }
    }

    fn make(&self, namespace: &Namespace, room: &RoomName, conversation: &str) -> Arc<Entry> {
        let mut by_room = self.by_room.lock();
        let entries = by_room.entry(Arc::clone(room)).or_default();
        if let Some(entry) = entries.iter().find(|entry| entry.is(namespace, conversation)) {
            return Arc::clone(entry);
        }
        if entries.len() >= PER_ROOM {
            let oldest = entries.iter().position(|entry| {
                let mut state = entry.state.lock();
                state.dropped = state.stream.is_even();
                state.dropped
            });
            oldest.map(|at| entries.remove(at));
        }
        let entry = Arc::new(Entry {
            namespace: namespace.clone(),
            room: Arc::clone(room),
            conversation: conversation.into(),
            state: Mutex::default(),
        });
        entries.push(Arc::clone(&entry));
        entry
    }
}

impl StoredMessages for Streams {
    fn deliver(&self, namespace: &Namespace, id: &str, packet: Packet, targets: &Targets) {
        let (Some((conversation, epoch, seq)), [room]) = (parse_message_id(id), &targets.rooms[..]) else {
            // Nothing of ours: whoever made it wants it delivered.
            namespace.deliver(&packet, targets, false);
            return;
        };
        let delivery = Delivery { packet: Arc::new(packet), targets: Arc::new(targets.clone()) };
        let (entry, behind) = self.with(namespace, room, conversation, |entry, stream| {
            match stream.live(epoch, seq, delivery) {
                Live::Deliver(delivery) => entry.hand_out(stream, seq, epoch, &delivery),
                Live::Held(begin) => return begin,
                Live::Repeat => {}
            }
            false
        });
        self.repair_if(behind, &entry);
    }
}

impl Entry {
    fn is(&self, namespace: &Namespace, conversation: &str) -> bool {
        *self.conversation == *conversation && self.namespace.name() == namespace.name()
    }

    /// Calls `f` with the stream, under its lock.
    pub(crate) fn repairing<T>(&self, f: impl FnOnce(&mut Repairing<'_>) -> T) -> T {
        let mut state = self.state.lock();
        f(&mut Repairing { entry: self, stream: &mut state.stream })
    }

    fn hand_out(&self, stream: &mut Stream<SocketId, Delivery>, seq: u64, written: &str, delivery: &Delivery) {
        stream.announce(seq, written);
        self.namespace.deliver_where(&delivery.packet, &delivery.targets, false, |socket| {
            stream.admit(socket.id(), seq, delivery)
        });
        stream.advance(seq);
    }
}

/// A stream while it is repaired, under its lock.
pub(crate) struct Repairing<'a> {
    entry: &'a Entry,
    pub stream: &'a mut Stream<SocketId, Delivery>,
}

impl Repairing<'_> {
    /// Delivers an entry of the log, written when the log was named `written`; without an event nobody has a word for it.
    pub(crate) fn deliver(&mut self, seq: u64, written: &str, event: Option<Encoded>) {
        if let Some(event) = event {
            let targets = Arc::new(Targets::room(Arc::clone(&self.entry.room)));
            let delivery = Delivery { packet: Arc::new(Packet::new(event)), targets };
            self.entry.hand_out(self.stream, seq, written, &delivery);
        } else {
            self.stream.announce(seq, written);
            self.stream.advance(seq);
        }
    }

    /// Delivers what was held.
    pub(crate) fn release(&mut self, held: Vec<(u64, Delivery)>) {
        let Some(epoch) = self.stream.position().map(|at| Arc::clone(&at.epoch)) else { return };
        for (seq, delivery) in held {
            self.entry.hand_out(self.stream, seq, &epoch, &delivery);
        }
    }

    /// Tells whom it concerns that messages are missing.
    pub(crate) fn tell(&mut self, reset: &Reset, event: Option<Encoded>) {
        if let Some(event) = event {
            let targets = Targets::room(Arc::clone(&self.entry.room));
            let stream = &mut self.stream;
            self.entry
                .namespace
                .deliver_where(&Packet::new(event), &targets, false, |socket| stream.admit_reset(socket.id(), reset));
        }
        self.stream.reset_told();
    }
}

/// A socket that reads a conversation's log. Dropped before its `end`, it leaves the socket without what came
/// meanwhile: then the socket must not be in the room.
#[derive(Debug)]
pub struct Reader {
    streams: Arc<Streams>,
    entry: Arc<Entry>,
    /// Not the socket itself, which may keep this.
    socket: SocketId,
    number: u64,
}

impl Reader {
    /// The conversation.
    pub(crate) fn conversation(&self) -> &str {
        &self.entry.conversation
    }

    /// The socket has everything up to `at`: hands it what came meanwhile, then calls `done` with where that ends and how
    /// many messages it was, before anything newer is sent to the socket.
    pub(crate) fn end(&self, socket: &Socket, at: &Position, done: impl FnOnce(&Position, usize)) -> Read {
        let mut state = self.entry.state.lock();
        match state.stream.end_reading(&self.socket, self.number, at) {
            Some(Ended::Whole { messages, end }) => {
                messages.iter().for_each(|(_, delivery)| socket.send(&delivery.packet));
                done(&Position { epoch: Arc::clone(&at.epoch), seq: end }, messages.len());
                Read::Done
            }
            Some(Ended::Short) => {
                let doubt = state.stream.doubt(at);
                drop(state);
                self.streams.repair_if(doubt, &self.entry);
                Read::On
            }
            None => Read::Replaced,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.entry.state.lock().stream.abandon(&self.socket, self.number);
    }
}
