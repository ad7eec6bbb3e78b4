//! A socket that comes back: it gets what it missed of each conversation, before anything new.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Deserialize;
use tokio::time::sleep;
use trunkline_hub::{RoomName, Socket};
use trunkline_protocol::{Code, Failure, ids, limits, native};
use trunkline_store::{LogPage, ReadRange};

use super::{Continue, Heard, PageHead, Position, Read, Reader, Reason, Recoverable, follow, unproven};
use crate::domain::{Caller, Domain, Effect, Session, store_id, user_room};

/// Between attempts to read a log that can't be read.
const RETRY: Duration = Duration::from_millis(500);

/// Between looks at a log that has the socket behind although nothing new is in it.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Bytes that may wait for a socket before more is read for it.
const BACKLOG: usize = 256 * 1024;
const BACKLOG_CHECK: Duration = Duration::from_millis(10);

/// Conversations of one socket that are read at the same time.
const AT_ONCE: usize = 4;

/// A conversation that a socket catches up with.
#[derive(Debug)]
pub struct CatchUp {
    reader: Reader,
    at: Position,
    tell: Tell,
}

/// Whether the client hears how it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tell {
    /// It came with a cursor: it hears that it is synced, or must reload.
    Synced,
    /// It knows from an answer where it stands, and hears of nothing but a reset.
    Resets,
}

/// How far a catch-up got.
enum Step {
    Done,
    /// There is more, or the socket must wait.
    On(Option<Duration>),
}

impl CatchUp {
    /// A socket that was answered everything up to `at`.
    pub fn answered(reader: Reader, at: Position) -> Self {
        Self { reader, at, tell: Tell::Resets }
    }
}

impl Domain {
    /// A socket is about to hear what its user is sent. What came here while nobody heard it was not missed by this one; of direct
    /// conversations that it brought cursors of, what comes live waits for [`resume`](Self::resume).
    pub(crate) fn prepare(&self, socket: &Socket) {
        let (Some(session), Ok(caller)) = (Session::of(socket), Caller::of(socket)) else { return };
        self.streams.forget_stale(socket, &user_room(caller.id()));
        for conversation in cursors(socket).unwrap_or_default().into_keys() {
            if ids::direct_members(&conversation).is_some() && caller.may_enter(&conversation).is_ok() {
                let room = caller.heard_by(&conversation);
                session.expect(self.streams.read(socket, &room, &conversation));
            }
        }
    }

    /// Puts a socket back into the conversations that it brought cursors of, and gives it what it missed, in the background.
    pub fn resume(self: &Arc<Self>, socket: &Socket) {
        let mut expected = Session::of(socket).map(Session::take_expected).unwrap_or_default();
        let cursors = match cursors(socket) {
            Ok(cursors) if cursors.is_empty() => return,
            Ok(cursors) => cursors,
            Err(failure) => return self.failed(socket, CURSORS, &failure),
        };
        let Ok(caller) = Caller::of(socket) else { return };
        let was_put_back = Recoverable::of(socket).is_some_and(Recoverable::is_returned);
        let mut returning = Vec::with_capacity(cursors.len());
        for (conversation, cursor) in cursors {
            // Of a conversation that it was put back into, the offset says more; so it does of all direct ones.
            if socket.is_in(&conversation) || (was_put_back && ids::direct_members(&conversation).is_some()) {
                continue;
            }
            match caller.may_enter(&conversation) {
                Ok(()) => {
                    let reader = match expected.iter().position(|reader| reader.conversation() == conversation) {
                        Some(place) => expected.swap_remove(place),
                        None => self.streams.read(socket, &caller.heard_by(&conversation), &conversation),
                    };
                    socket.join(&*conversation);
                    self.note_joining(socket, &conversation);
                    let at = Position::new(cursor.epoch, cursor.seq);
                    returning.push(CatchUp { reader, at, tell: Tell::Synced });
                }
                Err(failure) => {
                    let message = format!("{conversation}: {}", failure.message);
                    self.failed(socket, CURSORS, &Failure { message, ..failure });
                }
            }
        }
        let (domain, socket) = (Arc::clone(self), socket.clone());
        self.tasks.spawn(async move {
            let mut returning = returning.into_iter();
            let mut running = tokio::task::JoinSet::new();
            loop {
                while running.len() < AT_ONCE
                    && let Some(catch_up) = returning.next()
                {
                    running.spawn(Arc::clone(&domain).come_back(socket.clone(), catch_up));
                }
                if running.join_next().await.is_none() {
                    return;
                }
            }
        });
    }

    /// What a socket was answered is on its way: what came meanwhile follows it.
    pub fn settle(self: &Arc<Self>, socket: &Socket) {
        let Some(session) = Session::of(socket) else { return };
        for catch_up in session.take_answered() {
            if catch_up.reader.end(socket, &catch_up.at, |_, _| {}) == Read::On {
                let (domain, socket) = (Arc::clone(self), socket.clone());
                self.tasks.spawn(domain.catch_up(socket, catch_up));
            }
        }
    }

    /// Joins for a cursor, as `conversation:join` would, and catches up.
    async fn come_back(self: Arc<Self>, socket: Socket, catch_up: CatchUp) {
        let conversation = RoomName::from(catch_up.reader.conversation());
        loop {
            if socket.is_closed() || !socket.is_in(&conversation) {
                return;
            }
            match self.enter(&socket, &conversation).await {
                Ok(()) => break,
                Err(failure) if failure.code.retryable() => {
                    sleep(RETRY).await;
                }
                Err(failure) => {
                    socket.leave(&conversation);
                    return self.failed(&socket, CURSORS, &failure);
                }
            }
        }
        self.catch_up(socket, catch_up).await;
    }

    pub(crate) async fn enter(&self, socket: &Socket, conversation: &RoomName) -> Result<(), Failure> {
        if !socket.namespace().heard(std::slice::from_ref(conversation)).await {
            return Err(Failure::new(Code::Unavailable, "the other nodes can't be heard now"));
        }
        let caller = Caller::of(socket)?;
        // Nobody was told that it left when it comes back from a node that crashed: then its coming is no news either.
        match self.store.presence.enter(conversation, caller.id(), &store_id(socket)).await {
            Ok(true) => self.announce_member(socket, caller.id(), conversation, true),
            Ok(false) => {}
            Err(error) => return Err(crate::domain::store_failure(&error)),
        }
        Ok(())
    }

    /// Reads the log from where the socket stands until it stands where all others do.
    async fn catch_up(self: Arc<Self>, socket: Socket, mut catch_up: CatchUp) {
        let mut count = 0;
        loop {
            let read = self.read_after(catch_up.reader.conversation(), catch_up.at.seq).await;
            if socket.is_closed() || !socket.is_in(catch_up.reader.conversation()) {
                return;
            }
            let pause = match read {
                Ok(page) => match self.advance(&socket, &mut catch_up, page, &mut count) {
                    Step::Done => {
                        let conversation = catch_up.reader.conversation();
                        // Perhaps nothing could be said when it began.
                        if catch_up.tell == Tell::Synced && socket.is_in(conversation) {
                            self.note_joining(&socket, conversation);
                        }
                        return;
                    }
                    Step::On(pause) => pause,
                },
                Err(failure) if failure.code.retryable() => Some(RETRY),
                Err(failure) => {
                    // Better no connection than one with a hole.
                    tracing::error!(failure = failure.message, "can't read what a socket missed, closing it");
                    return socket.close(trunkline_hub::CloseReason::Internal);
                }
            };
            // Also while the node shuts down: a socket must not stay behind without knowing, and all are closed soon.
            if let Some(pause) = pause {
                sleep(pause).await;
            }
            while socket.backlog() > BACKLOG && !socket.is_closed() {
                sleep(BACKLOG_CHECK).await;
            }
        }
    }

    pub(crate) async fn read_after(&self, conversation: &str, after: u64) -> Result<LogPage, Failure> {
        let range = ReadRange { after: Some(after), before: None, limit: limits::PAGE_MAX };
        self.store.log.read(conversation, range).await.map_err(|error| crate::domain::store_failure(&error))
    }

    /// Hands a page to the socket.
    fn advance(&self, socket: &Socket, catch_up: &mut CatchUp, page: LogPage, count: &mut u64) -> Step {
        let CatchUp { reader, at, tell } = catch_up;
        let epoch: Arc<str> = page.epoch.as_str().into();
        let before = at.clone();
        match with_head(&page, |head| follow(at, head)) {
            Continue::Whole => at.epoch = epoch,
            // A cursor that can't be honoured says little about what the client has: it starts anew, from the end.
            Continue::Trimmed(_) if *tell == Tell::Synced => {
                return self.reload(socket, catch_up, &page, Reason::Trimmed);
            }
            Continue::Lost(_) if *tell == Tell::Synced => return self.reload(socket, catch_up, &page, Reason::Lost),
            Continue::Trimmed(seq) => {
                *at = Position { epoch, seq };
                self.tell(socket, reset(reader.conversation(), at, Reason::Trimmed));
            }
            Continue::Lost(seq) => {
                *at = Position { epoch, seq };
                self.tell(socket, reset(reader.conversation(), at, Reason::Lost));
                return Step::On(None);
            }
        }
        self.streams.read_up_to(page.entries.last().and_then(|entry| entry.stamp.as_ref()));
        for entry in page.entries {
            if entry.seq <= at.seq {
                continue;
            }
            at.seq = entry.seq;
            let heard = self.heard(socket.namespace().name(), reader.room(), reader.conversation(), entry);
            if let Some(Heard { event, sender }) = heard
                && sender.as_ref() != Some(socket.id())
            {
                *count += 1;
                socket.send(&unproven(socket, event));
            }
        }
        if at.seq < page.seq {
            return Step::On(None);
        }
        let stuck = *at == before;
        let synced = |end: &Position, waited: usize| {
            let count = *count + waited as u64;
            if *tell == Tell::Synced {
                let conversation = reader.conversation();
                self.tell(socket, Effect::Synced { conversation, epoch: &end.epoch, seq: end.seq, count });
            }
        };
        match reader.end(socket, at, synced) {
            Read::Done | Read::Replaced => Step::Done,
            Read::On => Step::On(stuck.then_some(LOOK_AGAIN)),
        }
    }

    fn reload(&self, socket: &Socket, catch_up: &mut CatchUp, page: &LogPage, reason: Reason) -> Step {
        catch_up.at = Position::new(page.epoch.as_str(), page.seq);
        catch_up.tell = Tell::Resets;
        self.tell(socket, reset(catch_up.reader.conversation(), &catch_up.at, reason));
        Step::On(None)
    }
}

/// What failed, when a cursor does.
const CURSORS: &str = "cursors";

/// The cursors that a client brought along.
fn cursors(socket: &Socket) -> Result<BTreeMap<String, native::Position>, Failure> {
    #[derive(Default, Deserialize)]
    struct Auth {
        #[serde(default)]
        cursors: Option<BTreeMap<String, native::Position>>,
    }
    let auth = socket.handshake().auth();
    if auth.get(CURSORS).is_none() {
        return Ok(BTreeMap::new());
    }
    let auth: Auth =
        serde_json::from_value(auth).map_err(|error| Failure::invalid(format!("auth.cursors: {error}")))?;
    let cursors = auth.cursors.unwrap_or_default();
    if cursors.len() > limits::CURSORS {
        let text = format!("auth.cursors has more than {} entries", limits::CURSORS);
        return Err(Failure::new(Code::TooLarge, text));
    }
    Ok(cursors)
}

/// Calls `f` with what a page says about its log.
pub(crate) fn with_head<T>(page: &LogPage, f: impl FnOnce(&PageHead<'_>) -> T) -> T {
    let ancestors: Vec<_> = page.ancestors.iter().map(|at| Position::new(at.epoch.as_str(), at.seq)).collect();
    let first = page.entries.first().map(|entry| entry.seq);
    f(&PageHead { epoch: &page.epoch, newest: page.seq, first, ancestors: &ancestors })
}

pub(crate) fn reset<'a>(conversation: &'a str, at: &'a Position, reason: Reason) -> Effect<'a> {
    let reason = match reason {
        Reason::Trimmed => native::ResetReason::Trimmed,
        Reason::Lost => native::ResetReason::Epoch,
    };
    Effect::Reset { conversation, epoch: &at.epoch, seq: at.seq, reason }
}
