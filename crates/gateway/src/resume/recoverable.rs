//! What is kept about a socket so that its client can come back as what it is, on any node: which rooms it is in, and from
//! where on in each it was owed what is stored. Written as things happen; a crash of the node takes nothing with it.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use futures_util::future::try_join_all;
use parking_lot::Mutex;
use trunkline_hub::{Packet, RoomName, Socket};
use trunkline_protocol::ids;
use trunkline_store::{self as store, MessageLog, Sessions, Stamp, StoreError};

use super::{Position, streams::Delivery};
use crate::domain::{Returning, Session};

/// The offset of a message that proves nothing about others.
const UNPROVEN: &str = "-";

/// Messages that are held for a socket while it is put back; more than that is no longer worth it.
const EARLY: usize = 1_000;

/// No room is called so.
const NO_ROOM: &str = "";

/// From where on a socket was owed what is stored in a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// From behind this place. Also of rooms that have no log.
    At(Position),
    /// From behind this stamp.
    Since(Stamp),
    /// From behind a place that it is being told: whoever shows an offset beyond this stamp has been told.
    Joining(Stamp),
    /// That is not known, or there is more in it than stored messages.
    Unknown,
}

impl Seen {
    /// Epochs and generations are hexadecimal: what stands before them can't be part of them.
    fn to_store(&self) -> store::Position {
        let (epoch, seq) = match self {
            Self::At(at) => (at.epoch.to_string(), at.seq),
            Self::Since(stamp) => (format!("#{}", stamp.generation), stamp.number),
            Self::Joining(stamp) => (format!("!{}", stamp.generation), stamp.number),
            Self::Unknown => ("?".to_owned(), 0),
        };
        store::Position { epoch, seq }
    }

    pub(crate) fn of(written: store::Position) -> Self {
        let store::Position { epoch, seq } = written;
        let stamp = |generation: &str| Stamp { generation: generation.to_owned(), number: seq };
        let mut rest = epoch.chars();
        match (rest.next(), rest.as_str()) {
            (Some('#'), generation) => Self::Since(stamp(generation)),
            (Some('!'), generation) => Self::Joining(stamp(generation)),
            (Some('?'), _) => Self::Unknown,
            _ => Self::At(Position::new(epoch, seq)),
        }
    }
}

/// A socket whose client was told how to come back. Kept with its [`Session`].
pub(crate) struct Recoverable {
    /// What the client calls `pid`.
    id: String,
    sessions: Arc<dyn Sessions>,
    log: Arc<dyn MessageLog>,
    /// Catch-ups that are under way: while there are any, it lacks messages that came before others which it gets.
    behind: Arc<AtomicUsize>,
    /// It may lack a message of which nothing is known here.
    doubtful: AtomicBool,
    /// Of a client that came back as what it was.
    returned: bool,
    /// The number of the first stamp that it was sent; 0 while there is none.
    first: AtomicU64,
    /// Whether `early` is there.
    recovering: AtomicBool,
    early: Mutex<Option<Box<Early>>>,
    /// What is to be done until then.
    returning: Mutex<Option<Box<Returning>>>,
    notes: Mutex<Notes>,
    writing: tokio::sync::Mutex<Writing>,
}

/// A stored message that came while the socket was put back.
#[derive(Debug)]
pub(crate) struct EarlyMessage {
    pub delivery: Arc<Delivery>,
    pub conversation: Arc<str>,
    pub at: Position,
}

#[derive(Default)]
struct Early {
    messages: Vec<EarlyMessage>,
    overflowed: bool,
}

/// What is to be written.
#[derive(Default)]
struct Notes {
    /// `None`: it left. Each room once.
    rooms: Vec<(RoomName, Option<Seen>)>,
    /// From where on it was owed what its user is sent; of a session that went on, as it was.
    floor: Option<Stamp>,
    /// The socket is in.
    begun: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Writing {
    Nothing,
    Begun,
    Over,
}

impl std::fmt::Debug for Recoverable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recoverable").finish_non_exhaustive()
    }
}

impl Recoverable {
    /// Of a new socket.
    pub(crate) fn new(sessions: Arc<dyn Sessions>, log: Arc<dyn MessageLog>) -> Self {
        Self {
            id: sessions.new_id(),
            sessions,
            log,
            behind: Arc::default(),
            doubtful: AtomicBool::new(false),
            returned: false,
            first: AtomicU64::new(0),
            recovering: AtomicBool::new(false),
            early: Mutex::default(),
            returning: Mutex::default(),
            notes: Mutex::default(),
            writing: tokio::sync::Mutex::new(Writing::Nothing),
        }
    }

    /// Of one that comes back as `id`: it is being put back from now on.
    pub(crate) fn again(
        id: String,
        returning: Returning,
        sessions: Arc<dyn Sessions>,
        log: Arc<dyn MessageLog>,
    ) -> Self {
        let rooms = returning.rooms.iter().map(|(room, seen)| (Arc::clone(room), Some(seen.clone()))).collect();
        let floor = Some(returning.floor.clone());
        Self {
            id,
            returned: true,
            recovering: AtomicBool::new(true),
            early: Mutex::new(Some(Box::default())),
            notes: Mutex::new(Notes { rooms, floor, begun: false }),
            returning: Mutex::new(Some(Box::new(returning))),
            ..Self::new(sessions, log)
        }
    }

    /// That of a socket, if its client can come back.
    pub(crate) fn of(socket: &Socket) -> Option<&Self> {
        Session::of(socket).and_then(|session| session.recoverable.as_deref())
    }

    /// What the client calls `pid`.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What is to be done for it, while it is put back.
    pub(crate) fn take_returning(&self) -> Option<Box<Returning>> {
        self.returning.lock().take()
    }

    /// Keeps that for the next step.
    pub(crate) fn set_returning(&self, returning: Box<Returning>) {
        *self.returning.lock() = Some(returning);
    }

    /// A catch-up of this socket begins; it lasts as long as what is returned.
    pub(crate) fn begin_catch_up(&self) -> Behind {
        self.behind.fetch_add(1, Ordering::AcqRel);
        Behind(Arc::clone(&self.behind))
    }

    /// Whether it has everything that was published before what it gets now.
    pub(crate) fn is_even(&self) -> bool {
        self.behind.load(Ordering::Acquire) == 0 && !self.doubtful.load(Ordering::Acquire)
    }

    /// The link was lost: a direct message of a conversation that this node had never heard of may have been missed, which nothing
    /// here would show. From now on no offset proves anything.
    pub(crate) fn doubt(&self) {
        self.doubtful.store(true, Ordering::Release);
    }

    /// Whether its client came back as what it was.
    pub(crate) fn is_returned(&self) -> bool {
        self.returned
    }

    /// It is sent the message `number`, or one without a number.
    pub(crate) fn sent(&self, number: Option<u64>) {
        if self.first.load(Ordering::Relaxed) == 0 {
            let _ = self.first.compare_exchange(0, number.unwrap_or(1), Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Keeps a message for later, if the socket is being put back.
    pub(crate) fn hold(&self, message: impl FnOnce() -> EarlyMessage) -> bool {
        if !self.recovering.load(Ordering::Acquire) {
            return false;
        }
        let mut early = self.early.lock();
        let Some(early) = &mut *early else { return false };
        if early.messages.len() < EARLY {
            early.messages.push(message());
        } else {
            early.overflowed = true;
        }
        true
    }

    /// The socket is put back. Returns what was held, or `None` if that is not all. Only while nothing is delivered.
    pub(crate) fn end_recovering(&self) -> Option<Vec<EarlyMessage>> {
        self.recovering.store(false, Ordering::Release);
        let early = self.early.lock().take()?;
        (!early.overflowed).then_some(early.messages)
    }

    /// Whether the socket is not put back yet.
    pub(crate) fn is_recovering(&self) -> bool {
        self.recovering.load(Ordering::Acquire)
    }

    /// Notes that the socket is in `room`, or that it left. Whether somebody should write that now.
    pub(crate) fn note(&self, room: &RoomName, seen: Option<Seen>) -> bool {
        let mut notes = self.notes.lock();
        match notes.rooms.iter_mut().find(|(known, _)| known == room) {
            Some((_, known)) => *known = seen,
            None => notes.rooms.push((Arc::clone(room), seen)),
        }
        notes.begun
    }

    /// There is more to the socket than can be put back: its client comes in as a new one. Written with the next change.
    pub(crate) fn not_again(&self) {
        self.note(&NO_ROOM.into(), Some(Seen::Unknown));
    }

    /// The socket is in: from now on it counts.
    pub(crate) fn begin(&self) {
        self.notes.lock().begun = true;
    }

    /// Writes what is noted, all that was noted before this was called.
    ///
    /// # Errors
    /// The store did not take it; it stays noted.
    pub(crate) async fn write(&self, socket: &Socket, user: &str) -> Result<(), StoreError> {
        let mut writing = self.writing.lock().await;
        if *writing == Writing::Over {
            return Ok(());
        }
        let floor = match *writing {
            Writing::Nothing => Some(self.floor().await?),
            _ => None,
        };
        let rooms = mem::take(&mut self.notes.lock().rooms);
        let written = match floor {
            Some(floor) => self.write_all(socket, user, floor, &rooms).await,
            None => self.write_changes(&rooms).await,
        };
        match written {
            Ok(()) => *writing = Writing::Begun,
            Err(_) => {
                let mut notes = self.notes.lock();
                let newer = mem::replace(&mut notes.rooms, rooms);
                drop(notes);
                for (room, seen) in newer {
                    self.note(&room, seen);
                }
            }
        }
        written
    }

    /// From where on it is owed what its user is sent.
    async fn floor(&self) -> Result<Stamp, StoreError> {
        let known = self.notes.lock().floor.clone();
        if let Some(floor) = known {
            return Ok(floor);
        }
        let mut floor = self.log.newest_stamp().await?.unwrap_or_default();
        // What it was sent already need not have arrived.
        let first = self.first.load(Ordering::Relaxed);
        if first > 0 {
            floor.number = floor.number.min(first - 1);
        }
        self.notes.lock().floor = Some(floor.clone());
        Ok(floor)
    }

    async fn write_all(
        &self,
        socket: &Socket,
        user: &str,
        floor: Stamp,
        rooms: &[(RoomName, Option<Seen>)],
    ) -> Result<(), StoreError> {
        let joined = rooms.iter().filter_map(|(room, seen)| Some((room.to_string(), seen.as_ref()?.to_store())));
        let session = store::Session {
            socket: socket.id().to_string(),
            user: user.to_owned(),
            namespace: socket.namespace().name().to_owned(),
            rooms: joined.chain([(ids::user_room(user), Seen::Since(floor).to_store())]).collect(),
        };
        self.sessions.begin(&self.id, &session).await
    }

    async fn write_changes(&self, rooms: &[(RoomName, Option<Seen>)]) -> Result<(), StoreError> {
        let changes = rooms.iter().map(async |(room, seen)| match seen {
            Some(seen) => self.sessions.enter(&self.id, room, &seen.to_store()).await,
            None => self.sessions.leave(&self.id, room).await,
        });
        try_join_all(changes).await.map(drop)
    }

    /// The socket is gone: its client may come back within the window, or not at all.
    ///
    /// # Errors
    /// The store did not take it.
    pub(crate) async fn over(&self, may_come_back: bool) -> Result<(), StoreError> {
        let mut writing = self.writing.lock().await;
        if *writing == Writing::Begun {
            match may_come_back {
                true => self.sessions.detach(&self.id).await?,
                false => self.sessions.end(&self.id).await?,
            }
        }
        *writing = Writing::Over;
        Ok(())
    }

    /// The client came back elsewhere: this is no longer its session.
    pub(crate) async fn taken_over(&self) {
        *self.writing.lock().await = Writing::Over;
    }
}

/// A catch-up that is under way.
#[derive(Debug)]
pub(crate) struct Behind(Arc<AtomicUsize>);

impl Drop for Behind {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What one socket alone is sent of a log: it says nothing about other conversations.
pub(crate) fn unproven(socket: &Socket, event: trunkline_hub::Encoded) -> Packet {
    match Recoverable::of(socket) {
        Some(recoverable) => {
            recoverable.sent(None);
            unproven_packet(&event)
        }
        None => Packet::new(event),
    }
}

pub(super) fn unproven_packet(event: &trunkline_hub::Encoded) -> Packet {
    Packet::with_offset(event, UNPROVEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_socket_stood_is_read_back() {
        let stamp = Stamp { generation: "0af3".into(), number: 7 };
        for seen in [
            Seen::At(Position::new("", 0)),
            Seen::At(Position::new("0af3", 5)),
            Seen::Since(stamp.clone()),
            Seen::Joining(stamp),
            Seen::Since(Stamp::default()),
            Seen::Unknown,
        ] {
            assert_eq!(Seen::of(seen.to_store()), seen);
        }
    }
}
