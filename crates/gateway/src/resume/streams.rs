//! All streams of this node: stored messages come in, sockets begin and end to read the log.

mod reader;

use std::sync::{Arc, OnceLock};

use ahash::AHashMap;
use parking_lot::Mutex;
use tokio::sync::{
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    watch,
};
use trunkline_adapter::{LinkState, Stored, StoredMessages};
use trunkline_hub::{Encoded, Hub, Namespace, Packet, RoomName, Run, Socket, SocketId, Targets};
use trunkline_store::{Stamp, parse_message_id};

pub(crate) use self::reader::Read;
pub use self::reader::Reader;
use super::{
    Live, Position, Reset, Stream,
    order::Order,
    recoverable::{EarlyMessage, Recoverable, unproven_packet},
};

/// A message on its way, and who is to hear it.
#[derive(Debug)]
pub(crate) struct Delivery {
    packet: Packet,
    targets: Targets,
    /// Its place among the messages of all logs, if whoever gets it has everything before it.
    stamp: Option<Stamp>,
    /// The same packet with its stamp as offset, and with an offset that proves nothing; each made once for all who get it.
    proving: OnceLock<Packet>,
    unproven: OnceLock<Packet>,
}

impl Delivery {
    fn new(packet: Packet, targets: Targets, stamp: Option<Stamp>) -> Self {
        Self { packet, targets, stamp, proving: OnceLock::new(), unproven: OnceLock::new() }
    }

    /// What `socket` is sent.
    fn packet_for(&self, socket: &Socket) -> &Packet {
        match Recoverable::of(socket) {
            None => &self.packet,
            Some(recoverable) => {
                recoverable.sent(self.stamp.as_ref().map(|stamp| stamp.number));
                self.marked(recoverable.is_even())
            }
        }
    }

    fn marked(&self, is_even: bool) -> &Packet {
        match &self.stamp {
            Some(stamp) if is_even => {
                self.proving.get_or_init(|| Packet::with_offset(self.packet.event(), &stamp.to_string()))
            }
            _ => self.unproven.get_or_init(|| unproven_packet(self.packet.event())),
        }
    }
}

/// A stream that somebody must repair. Until this is dropped, no stamp proves anything.
#[derive(Debug)]
pub(crate) struct Doubt {
    pub entry: Arc<Entry>,
    order: Arc<Mutex<Order>>,
}

impl Drop for Doubt {
    fn drop(&mut self) {
        self.order.lock().end_repair();
    }
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
    stream: Stream<SocketId, Arc<Delivery>>,
    /// Out of the table: whoever waited for the lock must look again.
    dropped: bool,
}

/// The streams that have, or had a moment ago, sockets of this node. Which ones are behind is told to whoever holds the
/// receiving end of `new`; each is told once until it has been repaired.
#[derive(Debug)]
pub struct Streams {
    by_room: Mutex<AHashMap<RoomName, Vec<Arc<Entry>>>>,
    behind: UnboundedSender<Doubt>,
    /// Held while a live message is handed out. Taken before the lock of a stream.
    order: Arc<Mutex<Order>>,
    link: watch::Receiver<LinkState>,
}

/// Conversations that are followed for one room. Beyond it the least recently begun is forgotten: what it misses then is
/// noticed by nobody but its clients, who see a gap in `seq`.
const PER_ROOM: usize = 256;

/// An entry of a log as one namespace hears it.
#[derive(Debug)]
pub(crate) struct Heard {
    pub event: Encoded,
    /// The socket that knows it from the answer, and does not hear it.
    pub sender: Option<SocketId>,
}

impl Streams {
    /// None yet, and the receiving end. `link` is the one that messages come by.
    pub(crate) fn new(link: watch::Receiver<LinkState>) -> (Arc<Self>, UnboundedReceiver<Doubt>) {
        let (behind, receiver) = unbounded_channel();
        (Arc::new(Self { by_room: Mutex::default(), behind, order: Arc::default(), link }), receiver)
    }

    fn link(&self) -> LinkState {
        *self.link.borrow()
    }

    /// The newest stamp, when every socket that reads no log has everything up to it.
    pub(crate) fn now(&self) -> Option<Stamp> {
        self.order.lock().now(self.link()).cloned()
    }

    /// Messages up to `stamp` were read from a log and are about to be handed out.
    pub(crate) fn read_up_to(&self, stamp: Option<&Stamp>) {
        if let Some(stamp) = stamp {
            self.order.lock().read(stamp);
        }
    }

    /// All streams were compared with their logs, beginning when the link was `link`.
    pub(crate) fn looked(&self, link: LinkState) {
        self.order.lock().looked(link);
    }

    /// Names the time since the last repair began, if all that was published so far is handed out.
    pub(crate) fn undisturbed(&self) -> Option<u64> {
        let order = self.order.lock();
        order.is_whole(self.link()).then(|| order.repairs_begun())
    }

    /// A socket that is put back was sent everything up to `until`, which is the end of each conversation in `places`: hands it
    /// what came live since, and lets it hear what all others hear. False if something may be missing because
    /// what was true at `undisturbed` no longer is.
    pub(crate) fn put_back(
        &self,
        socket: &Socket,
        recoverable: &Recoverable,
        until: &Stamp,
        mut places: Vec<(RoomName, Arc<str>, Position)>,
        undisturbed: u64,
    ) -> bool {
        let order = self.order.lock();
        let early = recoverable.end_recovering();
        let whole = order.is_whole(self.link()) && order.repairs_begun() == undisturbed;
        let Some(early) = early.filter(|_| whole) else { return false };
        for EarlyMessage { delivery, conversation, at } in early {
            match &delivery.stamp {
                Some(stamp) if stamp.generation != until.generation => return false,
                Some(stamp) if stamp.number <= until.number => continue,
                Some(_) => socket.send(delivery.marked(true)),
                None => return false,
            }
            match places.iter_mut().find(|(_, known, _)| *known == conversation) {
                Some((_, _, place)) => *place = at,
                None => {
                    if let [room] = &delivery.targets.rooms[..] {
                        places.push((Arc::clone(room), conversation, at));
                    }
                }
            }
        }
        for (room, conversation, place) in places {
            // Of conversations that this node has not heard of, the first message tells where they stand.
            if *room == *conversation {
                self.with(socket.namespace(), &room, &conversation, |_, stream| stream.place(socket.id(), place));
            } else if let Some(entry) = self.find(socket.namespace(), &room, &conversation) {
                entry.state.lock().stream.place(socket.id(), place);
            }
        }
        true
    }

    /// `socket` is about to read a conversation's log: what comes live waits from now on. Call it before the socket joins the
    /// room.
    pub fn read(self: &Arc<Self>, socket: &Socket, room: &RoomName, conversation: &str) -> Reader {
        if !socket.is_in(room) {
            self.forget_stale(socket, room);
        }
        let behind = Recoverable::of(socket).map(Recoverable::begin_catch_up);
        let (entry, number) =
            self.with(socket.namespace(), room, conversation, |_, stream| stream.begin_reading(socket.id()));
        Reader { streams: Arc::clone(self), entry, socket: socket.id().clone(), number, _behind: behind }
    }

    /// `socket` is, or is about to be, the first one of this node to hear by `room`: what came while nobody did is not known to
    /// the streams, and need not be.
    pub(crate) fn forget_stale(&self, socket: &Socket, room: &RoomName) {
        let mut by_room = self.by_room.lock();
        let Some(entries) = by_room.get_mut(room) else { return };
        let others = socket.namespace().sockets(&Targets::room(Arc::clone(room)).except(socket.id().room()));
        if !others.is_empty() {
            return;
        }
        entries.retain(|entry| {
            let mut state = entry.state.lock();
            let ours = entry.namespace.is(socket.namespace());
            state.dropped |= ours && state.stream.is_idle();
            !state.dropped
        });
        if entries.is_empty() {
            by_room.remove(room);
        }
    }

    /// All streams whose position is known, with the [furthest](Stream::furthest), for a look at their logs. Those that nobody
    /// here listens to any more are dropped, but for those that are being repaired.
    pub(crate) fn tidy(&self, hub: &Hub) -> Vec<(Arc<Entry>, Position)> {
        let mut known = Vec::new();
        self.by_room.lock().retain(|_, entries| {
            entries.retain(|entry| {
                let mut state = entry.state.lock();
                let namespace = hub.namespace(entry.namespace.name()).filter(|at| at.is(&entry.namespace));
                let listening = namespace.is_some_and(|at| at.has_room(&entry.room));
                state.dropped = !listening && state.stream.is_idle();
                if !state.dropped
                    && let Some(furthest) = state.stream.furthest()
                {
                    known.push((Arc::clone(entry), furthest));
                }
                !state.dropped
            });
            !entries.is_empty()
        });
        known
    }

    /// The log of a stream whose furthest was `before` ends at `end`: it is repaired if that is further than it is, or if the log
    /// has lost what somebody had already.
    pub(crate) fn look(&self, entry: &Arc<Entry>, before: &Position, end: &Position) {
        let differs = {
            let State { stream, dropped } = &mut *entry.state.lock();
            // Out of the table, it has nobody any more who lacks anything.
            !*dropped && (stream.overtook(before, end) || stream.behind(&end.epoch, end.seq))
        };
        self.repair_if(differs, entry);
    }

    /// Not under the lock of a stream.
    fn repair_if(&self, behind: bool, entry: &Arc<Entry>) {
        if behind {
            let doubt = self.doubt(&mut self.order.lock(), entry);
            // Nobody repairs any more when the node has come to its end.
            let _ = self.behind.send(doubt);
        }
    }

    fn doubt(&self, order: &mut Order, entry: &Arc<Entry>) -> Doubt {
        order.begin_repair();
        Doubt { entry: Arc::clone(entry), order: Arc::clone(&self.order) }
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
        f: impl FnOnce(&Arc<Entry>, &mut Stream<SocketId, Arc<Delivery>>) -> T,
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

    /// Live messages of one conversation, in the order in which they came.
    fn live(&self, namespace: &Namespace, room: &RoomName, conversation: &str, messages: Vec<Stored>) {
        // Before the order is taken, so that it ends behind that also if delivery panics: its end takes the order.
        let mut doubt = None;
        let mut order = self.order.lock();
        let link = self.link();
        self.with(namespace, room, conversation, |entry, stream| {
            // Then all members hear the same, and can be handed all of it at once.
            let same_for_all = stream.is_even() && !namespace.recovers();
            let mut together = Vec::<Arc<Delivery>>::new();
            for Stored { id, stamp, packet, except } in messages {
                let Some((_, epoch, seq)) = parse_message_id(&id) else { continue };
                let stamp = stamp.as_deref().and_then(Stamp::parse);
                let proves = order.live(stamp.as_ref(), link);
                let targets = Targets { rooms: vec![Arc::clone(room)], except };
                let delivery = Arc::new(Delivery::new(packet, targets, stamp.filter(|_| proves)));
                match stream.live(epoch, seq, delivery) {
                    Live::Deliver(delivery) if same_for_all => {
                        stream.announce(seq, None);
                        stream.advance(seq);
                        together.push(delivery);
                    }
                    Live::Deliver(delivery) => entry.hand_out(stream, seq, None, &delivery),
                    Live::Held(true) => doubt = Some(self.doubt(&mut order, entry)),
                    Live::Held(false) | Live::Repeat => {}
                }
            }
            let run: Run<'_> = together.iter().map(|one| (&one.packet, &one.targets.except[..])).collect();
            namespace.deliver_run(&run, std::slice::from_ref(room));
        });
        drop(order);
        if let Some(doubt) = doubt {
            // As in `repair_if`.
            let _ = self.behind.send(doubt);
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
                state.dropped = state.stream.is_even() && state.stream.is_idle();
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
    fn deliver(&self, namespace: &Namespace, rooms: &[RoomName], messages: Vec<Stored>) {
        let mut messages = messages.into_iter().peekable();
        while let Some(first) = messages.next() {
            let id = first.id.clone();
            let (Some((conversation, ..)), [room]) = (parse_message_id(&id), rooms) else {
                // Nothing of ours: whoever made it wants it delivered.
                let targets = Targets { rooms: rooms.to_vec(), except: first.except };
                namespace.deliver(&first.packet, &targets, false);
                continue;
            };
            // What comes by a conversation's room is all of one; what comes by a user's may be of several.
            let of_it = |other: &Stored| parse_message_id(&other.id).is_some_and(|(other, ..)| other == conversation);
            let mut together = vec![first];
            while let Some(next) = messages.next_if(of_it) {
                together.push(next);
            }
            self.live(namespace, room, conversation, together);
        }
    }

    fn pass(&self, namespace: &Namespace, targets: &Targets, id: &str, stamp: Option<&str>) -> bool {
        let (Some((conversation, epoch, seq)), [room]) = (parse_message_id(id), &targets.rooms[..]) else {
            return false;
        };
        let mut order = self.order.lock();
        let Some(entry) = self.find(namespace, room, conversation) else { return false };
        let mut state = entry.state.lock();
        // Asked again under the lock: whoever is in the room by now may count on it.
        if state.dropped || namespace.is_heard(targets) || !state.stream.pass(epoch, seq) {
            return false;
        }
        order.live(stamp.and_then(Stamp::parse).as_ref(), self.link());
        true
    }
}

impl Entry {
    fn is(&self, namespace: &Namespace, conversation: &str) -> bool {
        // Not another one of the same name, which it may have been before: what is delivered goes to this one.
        *self.conversation == *conversation && self.namespace.is(namespace)
    }

    /// Calls `f` with the stream, under its lock.
    pub(crate) fn repairing<T>(&self, f: impl FnOnce(&mut Repairing<'_>) -> T) -> T {
        let mut state = self.state.lock();
        f(&mut Repairing { entry: self, stream: &mut state.stream })
    }

    fn hand_out(
        &self,
        stream: &mut Stream<SocketId, Arc<Delivery>>,
        seq: u64,
        sender: Option<SocketId>,
        delivery: &Arc<Delivery>,
    ) {
        stream.announce(seq, sender);
        let epoch = stream.position().map(|at| Arc::clone(&at.epoch)).unwrap_or_default();
        self.namespace.deliver_each(&delivery.targets, false, |socket| {
            let early = || EarlyMessage {
                delivery: Arc::clone(delivery),
                conversation: Arc::clone(&self.conversation),
                at: Position::new(Arc::clone(&epoch), seq),
            };
            if Recoverable::of(socket).is_some_and(|recoverable| recoverable.hold(early)) {
                return None;
            }
            stream.admit(socket.id(), seq, delivery).then(|| delivery.packet_for(socket))
        });
        stream.advance(seq);
    }
}

/// A stream while it is repaired, under its lock.
pub(crate) struct Repairing<'a> {
    entry: &'a Entry,
    pub stream: &'a mut Stream<SocketId, Arc<Delivery>>,
}

impl Repairing<'_> {
    /// Delivers an entry of the log, but not to the socket that it came from; without an event nobody has a word for it.
    pub(crate) fn deliver(&mut self, seq: u64, heard: Option<Heard>) {
        if let Some(Heard { event, sender }) = heard {
            let targets = Targets::room(Arc::clone(&self.entry.room));
            let delivery = Arc::new(Delivery::new(Packet::new(event), targets, None));
            self.entry.hand_out(self.stream, seq, sender, &delivery);
        } else {
            self.stream.announce(seq, None);
            self.stream.advance(seq);
        }
    }

    /// Delivers what was held.
    pub(crate) fn release(&mut self, held: Vec<(u64, Arc<Delivery>)>) {
        for (seq, delivery) in held {
            self.entry.hand_out(self.stream, seq, None, &delivery);
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

#[cfg(test)]
mod tests;
