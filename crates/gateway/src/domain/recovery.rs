//! A client that comes back within the window as what it was: connection state recovery, as stock clients have it built in.
//!
//! The client shows the name of its session and the offset of the last message that it got: a stamp, which proves that it
//! has everything before it. What it lacks are the later entries of the logs of its conversations, read and sent in the
//! order of their stamps, so that every one of them is such a proof again. Where anything is in doubt the client comes in
//! as a new one.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use serde::Deserialize;
use tokio::time::sleep;
use trunkline_hub::{Close, CloseReason, Handshake, Namespace, Packet, RoomName, Socket, SocketId, Targets};
use trunkline_protocol::ids;
use trunkline_store::{Entry, LogPage, MAX_CONVERSATIONS, ReadRange, Stamp, Stamped};

use super::{Chain, Domain, Session, user_room};
use crate::{
    auth::Identity,
    metrics,
    resume::{Heard, Position, Recoverable, Seen, with_head},
};

/// Messages that are given to one client in this way at the most. Who missed more comes in as new, and asks for what it shows.
const MISSED: usize = 1_000;

/// Entries in one read from the end of a log backwards.
const PAGE: usize = 100;

/// Between attempts to write what the store did not take.
const RETRY: Duration = Duration::from_secs(1);

/// Bytes that may wait for a socket before more is sent, and how often that is looked at.
const BACKLOG: usize = 256 * 1024;
const BACKLOG_CHECK: Duration = Duration::from_millis(10);

/// A client that is being put back.
#[derive(Debug)]
pub(crate) struct Returning {
    /// The last stamp that it got; `None` if it got no stored message at all.
    offset: Option<Stamp>,
    /// From where on it was owed what its user is sent.
    pub(crate) floor: Stamp,
    pub(crate) rooms: Vec<(RoomName, Seen)>,
    plan: Option<Plan>,
}

/// What is to be done for it.
#[derive(Debug)]
struct Plan {
    /// What is read reaches up to here.
    until: Stamp,
    /// In the order of their stamps.
    missed: Vec<Missed>,
    /// Where it is in each conversation once it has them.
    places: Vec<(RoomName, Arc<str>, Position)>,
    /// See [`Streams::undisturbed`](crate::resume::Streams::undisturbed).
    undisturbed: u64,
}

#[derive(Debug)]
struct Missed {
    room: RoomName,
    conversation: Arc<str>,
    number: u64,
    entry: Entry,
}

/// What a client says about itself when it comes back.
#[derive(Deserialize)]
pub(crate) struct Ask {
    pid: String,
    #[serde(default)]
    offset: Option<String>,
}

impl Ask {
    /// `None` of a client that does not say that it was here before.
    pub(crate) fn of(handshake: &Handshake) -> Option<Self> {
        serde_json::from_value(handshake.auth()).ok()
    }
}

/// What can't be proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// What it shows is not an offset of the Redis that there is now, or proves nothing.
    Offset,
    /// It was somewhere that more happens than what is stored.
    Room,
    /// A log no longer has all that it missed.
    Trimmed,
    /// It missed too much.
    TooMuch,
    /// The store, or the way to the other nodes, is not there.
    Unavailable,
}

impl Domain {
    /// Whether stock clients may come back as what they are.
    pub(crate) fn recovers(&self) -> bool {
        self.policy.recovery
    }

    /// How a new socket may come back, if it may.
    pub(crate) fn recoverable(&self, socket: &Socket) -> Option<Recoverable> {
        let store = &self.store;
        socket.recovers().then(|| Recoverable::new(Arc::clone(&store.sessions), Arc::clone(&store.log)))
    }

    /// Who the client was, if it was here within the window, and may be again. What it was is no longer anybody else's then.
    pub(crate) async fn recall(
        &self,
        namespace: &Namespace,
        ask: Ask,
        identity: &Identity,
    ) -> Option<(SocketId, Recoverable)> {
        let Ask { pid, offset } = ask;
        let offset = offset.map(|offset| Stamp::parse(&offset).ok_or(Doubt::Offset)).transpose();
        let session = self.store.sessions.take(&pid).await;
        let session =
            session.inspect_err(|error| tracing::debug!(error = %Chain(error), "no session is found")).ok()??;
        if session.user != identity.user || session.namespace != namespace.name() {
            return None;
        }
        let id = SocketId::new(session.socket.as_str());
        self.close_predecessor(namespace, &id).await;
        let offset = offset.inspect_err(|doubt| tracing::debug!(?doubt, "a client can't be put back")).ok()?;
        let (mut rooms, mut floor) = (Vec::with_capacity(session.rooms.len()), None);
        for (room, seen) in session.rooms {
            match Seen::of(seen) {
                Seen::Since(stamp) if room == ids::user_room(&session.user) => floor = Some(stamp),
                seen => rooms.push((RoomName::from(room), seen)),
            }
        }
        let may = |room: &RoomName| !ids::is_conversation(room) || ids::may_enter(&identity.user, room).is_ok();
        let provable = |seen: &Seen| match seen {
            Seen::Unknown => false,
            Seen::Joining(stamp) => offset
                .as_ref()
                .is_some_and(|offset| offset.generation == stamp.generation && offset.number > stamp.number),
            Seen::At(_) | Seen::Since(_) => true,
        };
        if !rooms.iter().all(|(room, seen)| may(room) && provable(seen)) {
            tracing::debug!(doubt = ?Doubt::Room, "a client can't be put back");
            return None;
        }
        let returning = Returning { offset, floor: floor?, rooms, plan: None };
        let store = &self.store;
        Some((id, Recoverable::again(pid, returning, Arc::clone(&store.sessions), Arc::clone(&store.log))))
    }

    /// The client's old connection may still be open as far as its node knows.
    async fn close_predecessor(&self, namespace: &Namespace, id: &SocketId) {
        if let Some(old) = namespace.socket(id) {
            if let Some(recoverable) = Recoverable::of(&old) {
                recoverable.taken_over().await;
            }
            old.close(CloseReason::TransportClose);
        }
        self.cluster.disconnect(namespace.name(), &Targets::room(id.room()), true).await;
    }

    /// Puts a socket back into its rooms and finds out what its client lacks. False when that can't be found out for certain.
    pub(crate) async fn put_back(&self, socket: &Socket) -> bool {
        let Some(recoverable) = Recoverable::of(socket) else { return false };
        let Some(mut returning) = recoverable.take_returning() else { return false };
        match self.plan(socket, &returning).await {
            Ok(plan) => {
                returning.plan = Some(plan);
                recoverable.set_returning(returning);
                // Before the client hears that it is back: it may be cut off again at once.
                self.session_is_written(socket).await.is_ok()
            }
            Err(doubt) => {
                tracing::debug!(?doubt, "a client can't be put back");
                false
            }
        }
    }

    async fn plan(&self, socket: &Socket, returning: &Returning) -> Result<Plan, Doubt> {
        let user = socket.user().ok_or(Doubt::Unavailable)?;
        let undisturbed = self.streams.undisturbed().ok_or(Doubt::Unavailable)?;
        for (room, _) in &returning.rooms {
            socket.join(RoomName::clone(room));
        }
        for room in socket.rooms() {
            self.streams.forget_stale(socket, &room);
        }
        // First hear, then read: what is neither heard nor read is nowhere.
        if !socket.namespace().heard(&socket.rooms()).await {
            return Err(Doubt::Unavailable);
        }
        let unavailable = |_| Doubt::Unavailable;
        let until = self.store.log.newest_stamp().await.map_err(unavailable)?.unwrap_or_default();
        let offset = returning.offset.as_ref().unwrap_or(&returning.floor);
        if offset.generation != until.generation || offset.number > until.number {
            return Err(Doubt::Offset);
        }
        let directs = self.store.conversations.names(user).await.map_err(unavailable)?;
        if directs.len() >= MAX_CONVERSATIONS {
            return Err(Doubt::TooMuch);
        }
        let user_room = user_room(user);
        let directs = directs.into_iter().filter(|name| ids::direct_members(name).is_some());
        let directs = directs.map(|name| (RoomName::clone(&user_room), name, Seen::Since(returning.floor.clone())));
        // A direct conversation is heard by its users' rooms.
        let is_heard = |room: &RoomName| ids::is_conversation(room) && ids::direct_members(room).is_none();
        let joined = returning.rooms.iter().filter(|(room, _)| is_heard(room));
        let joined = joined.map(|(room, seen)| (RoomName::clone(room), room.to_string(), seen.clone()));
        let conversations: Vec<_> = joined.chain(directs).collect();
        let names: Vec<String> = conversations.iter().map(|(_, name, _)| name.clone()).collect();
        let ends = self.store.log.stamped_ends(&names).await.map_err(unavailable)?;
        let read = conversations.into_iter().zip(ends).map(async |((room, name, seen), end)| {
            let lack = self.lack(&name, &seen, &end, offset, &until).await?;
            Ok::<_, Doubt>((room, Arc::<str>::from(name), lack))
        });
        let (mut missed, mut places) = (Vec::new(), Vec::new());
        for (room, conversation, Lack { entries, place }) in try_join_all(read).await? {
            missed.extend(entries.into_iter().filter_map(|entry| {
                let number = entry.stamp.as_ref()?.number;
                Some(Missed { room: RoomName::clone(&room), conversation: Arc::clone(&conversation), number, entry })
            }));
            places.push((room, conversation, place));
        }
        if missed.len() > MISSED {
            return Err(Doubt::TooMuch);
        }
        missed.sort_by_key(|missed| missed.number);
        Ok(Plan { until, missed, places, undisturbed })
    }

    /// What a client lacks of a conversation that ends at `end`.
    async fn lack(
        &self,
        conversation: &str,
        seen: &Seen,
        end: &Stamped,
        offset: &Stamp,
        until: &Stamp,
    ) -> Result<Lack, Doubt> {
        let from = Known::of(seen, offset);
        let place = Position::new(end.end.epoch.as_str(), end.end.seq);
        if end.end.seq <= from.seq || end.stamp.as_ref().is_none_or(|stamp| from.has(stamp)) {
            let unstamped = end.stamp.is_none() && end.end.seq > from.seq;
            let lost = from.position.as_ref().is_some_and(|at| end.end.seq < at.seq);
            // Of a conversation that was joined, everything must be known; an old direct one is older than the setting.
            return if lost || (unstamped && from.position.is_some()) {
                Err(Doubt::Trimmed)
            } else {
                Ok(Lack { entries: VecDeque::new(), place })
            };
        }
        let mut lack = Lack { entries: VecDeque::new(), place };
        let mut before = None;
        loop {
            let range = ReadRange { after: None, before, limit: PAGE };
            let page = self.store.log.read(conversation, range).await.map_err(|_| Doubt::Unavailable)?;
            match lack.take(page, &from, until)? {
                None => return Ok(lack),
                Some(_) if lack.entries.len() > MISSED => return Err(Doubt::TooMuch),
                further => before = further,
            }
        }
    }

    /// Gives a socket that was put back what its client lacks, and lets it hear what all others hear.
    pub(crate) async fn make_up(self: &Arc<Self>, socket: &Socket) {
        let Some(recoverable) = Recoverable::of(socket) else { return };
        let Some(Returning { plan: Some(plan), rooms, .. }) = recoverable.take_returning().map(|returning| *returning)
        else {
            return;
        };
        let Plan { until, missed, places, undisturbed } = plan;
        let messages = missed.len();
        for Missed { room, conversation, number, entry } in missed {
            let heard = self.heard(socket.namespace().name(), &room, &conversation, entry);
            if let Some(Heard { event, sender }) = heard
                && sender.as_ref() != Some(socket.id())
            {
                let offset = Stamp { generation: until.generation.clone(), number };
                socket.send(&Packet::with_offset(&event, &offset.to_string()));
            }
            while socket.backlog() > BACKLOG && !socket.is_closed() {
                sleep(BACKLOG_CHECK).await;
            }
        }
        if !self.streams.put_back(socket, recoverable, &until, places, undisturbed) {
            // Its client comes back once more: better than with a hole.
            tracing::debug!("something may be missing of what came while a client was put back, closing it");
            socket.close(CloseReason::TransportError);
            return;
        }
        metrics::session_recovered();
        tracing::debug!(messages, "a client is put back");
        for (room, _) in rooms.into_iter().filter(|(room, _)| ids::is_conversation(room)) {
            let (domain, socket) = (Arc::clone(self), socket.clone());
            self.tasks.spawn(async move { domain.take_seat(&socket, &room).await });
        }
    }

    /// Tells the store, and the other members, that the socket is in a conversation.
    async fn take_seat(&self, socket: &Socket, room: &RoomName) {
        while !socket.is_closed() && socket.is_in(room) {
            match self.enter(socket, room).await {
                Ok(()) => return,
                Err(failure) if failure.code.retryable() => sleep(RETRY).await,
                Err(failure) => {
                    tracing::debug!(failure = failure.message, "a client can't be in a conversation any more");
                    socket.leave(room);
                    return;
                }
            }
        }
    }

    /// A socket is in, and from now on what its client needs to come back is written as it changes.
    pub(crate) fn begin_session(self: &Arc<Self>, socket: &Socket) {
        if let Some(recoverable) = Recoverable::of(socket) {
            recoverable.begin();
            self.write_session(socket);
        }
    }

    /// A socket is in `room`, or no longer. Must not block, join or leave.
    pub(crate) fn moved(self: &Arc<Self>, socket: &Socket, room: &RoomName, joined: bool) {
        let Some(recoverable) = Recoverable::of(socket).filter(|recoverable| !recoverable.is_recovering()) else {
            return;
        };
        let own = [socket.id().room(), user_room(socket.user().map_or("", |user| user))];
        if own.contains(room) {
            return;
        }
        let seen = joined.then(|| match self.streams.now() {
            // Who watches users is told of changes that are not stored: then the client asks anew, as after any cut.
            _ if ids::is_watchers_room(room) => Seen::At(Position::new("", 0)),
            Some(now) if ids::is_conversation(room) => Seen::Since(now),
            _ => Seen::Unknown,
        });
        if recoverable.note(room, seen) {
            self.write_session(socket);
        }
    }

    /// What the client has of a conversation that the socket is in.
    pub(super) fn note_seen(self: &Arc<Self>, socket: &Socket, conversation: &str, seen: Seen) {
        if let Some(recoverable) = Recoverable::of(socket)
            && recoverable.note(&conversation.into(), Some(seen))
        {
            self.write_session(socket);
        }
    }

    /// The socket is about to be told what there is in a conversation.
    pub(crate) fn note_joining(self: &Arc<Self>, socket: &Socket, conversation: &str) {
        self.note_seen(socket, conversation, self.streams.now().map_or(Seen::Unknown, Seen::Joining));
    }

    /// Writes what is noted, sooner or later.
    fn write_session(self: &Arc<Self>, socket: &Socket) {
        let (domain, socket) = (Arc::clone(self), socket.clone());
        self.tasks.spawn(async move {
            while !socket.is_closed() && domain.session_is_written(&socket).await.is_err() && domain.wait(RETRY).await {
            }
        });
    }

    /// Writes what is noted of a socket, if anything is.
    ///
    /// # Errors
    /// The store did not take it.
    pub(super) async fn session_is_written(&self, socket: &Socket) -> trunkline_store::Result<()> {
        match (Recoverable::of(socket), Session::of(socket)) {
            (Some(recoverable), Some(session)) => recoverable.write(socket, &session.identity.user).await,
            _ => Ok(()),
        }
    }

    /// A socket is gone: its client may come back within the window, unless one of the two said farewell.
    pub(crate) fn end_session(self: &Arc<Self>, socket: &Socket, reason: CloseReason) {
        if Recoverable::of(socket).is_none() {
            return;
        }
        // Who came back on this node has its name now.
        let came_back = |socket: &Socket| socket.namespace().socket(socket.id()).is_some_and(|other| !other.is(socket));
        let may_come_back = reason.how() == Close::Transport && reason != CloseReason::ParseError;
        let (domain, socket) = (Arc::clone(self), socket.clone());
        self.tasks.spawn(async move {
            let Some(recoverable) = Recoverable::of(&socket) else { return };
            while !came_back(&socket) && recoverable.over(may_come_back).await.is_err() && domain.wait(RETRY).await {}
        });
    }
}

/// What a client has of a conversation for certain.
#[derive(Debug)]
struct Known {
    /// Everything up to this number, and up to this stamp.
    seq: u64,
    stamp: Stamp,
    /// Where it joined.
    position: Option<Position>,
}

impl Known {
    fn of(seen: &Seen, offset: &Stamp) -> Self {
        match seen {
            Seen::At(at) => Self { seq: at.seq, stamp: offset.clone(), position: Some(at.clone()) },
            Seen::Since(since) if since.generation == offset.generation && since.number > offset.number => {
                Self { seq: 0, stamp: since.clone(), position: None }
            }
            Seen::Since(_) | Seen::Joining(_) | Seen::Unknown => Self { seq: 0, stamp: offset.clone(), position: None },
        }
    }

    /// Whether it has what bears this stamp. Stamps of other generations are older: the offset is of the latest.
    fn has(&self, stamp: &Stamp) -> bool {
        stamp.generation != self.stamp.generation || stamp.number <= self.stamp.number
    }
}

/// What a client lacks of a conversation, and where it is once it has it.
#[derive(Debug)]
struct Lack {
    entries: VecDeque<Entry>,
    place: Position,
}

impl Lack {
    /// Takes what it lacks from a page that ends where the last began. Before which number to read on, if that is needed.
    fn take(&mut self, page: LogPage, from: &Known, until: &Stamp) -> Result<Option<u64>, Doubt> {
        if from.position.as_ref().is_some_and(|at| !with_head(&page, |head| head.honours(at))) {
            return Err(Doubt::Trimmed);
        }
        let epoch: Arc<str> = page.epoch.as_str().into();
        let first = page.entries.first().map(|entry| entry.seq);
        for entry in page.entries.into_iter().rev() {
            let has = entry.seq <= from.seq || entry.stamp.as_ref().is_some_and(|stamp| from.has(stamp));
            let Some(stamp) = entry.stamp.as_ref().filter(|_| !has) else {
                // One without a stamp was written by a node that gives none.
                let known = has || from.position.is_none();
                self.end_at(&epoch, entry.seq);
                return if known { Ok(None) } else { Err(Doubt::Trimmed) };
            };
            // What is newer comes live.
            if stamp.number <= until.number {
                self.entries.push_front(entry);
            }
        }
        match first {
            Some(1) => {
                self.end_at(&epoch, 0);
                Ok(None)
            }
            Some(first) if first == from.seq + 1 && from.position.is_some() => {
                self.end_at(&epoch, from.seq);
                Ok(None)
            }
            Some(first) => Ok(Some(first)),
            None => Err(Doubt::Trimmed),
        }
    }

    /// It has everything up to `seq` but for the entries.
    fn end_at(&mut self, epoch: &Arc<str>, seq: u64) {
        let last = self.entries.back().map_or(seq, |entry| entry.seq);
        self.place = Position::new(Arc::clone(epoch), last);
    }
}

#[cfg(test)]
mod tests;
