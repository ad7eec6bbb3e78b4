//! Sessions, in memory. They end with the process, and with it all sockets: what is left to recover from is a connection
//! that was cut.

use crate::sessions::new_id;
use crate::{MAX_SESSION_ROOMS, Position, Result, Session, Sessions};
use ahash::AHashMap;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub(crate) struct MemorySessions {
    window: Duration,
    sessions: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    by_id: AHashMap<String, Held>,
    /// Those whose connection was lost, with when they end; the soonest first.
    detached: VecDeque<(Instant, String)>,
}

struct Held {
    session: Session,
    /// When it ends; `None` while the socket is connected.
    ends: Option<Instant>,
    /// It was in too many rooms: not all were remembered.
    full: bool,
}

impl MemorySessions {
    pub(crate) fn new(window: Duration) -> Self {
        Self { window, sessions: Mutex::default() }
    }
}

impl Table {
    /// One whose socket is connected: what is told of a socket that is gone changes nothing any more.
    fn attached(&mut self, id: &str) -> Option<&mut Held> {
        self.by_id.get_mut(id).filter(|held| held.ends.is_none())
    }

    fn forget_ended(&mut self) {
        while self.detached.front().is_some_and(|(end, _)| *end <= Instant::now()) {
            let Some((end, id)) = self.detached.pop_front() else { return };
            // It may have been taken and begun again since.
            if self.by_id.get(&id).is_some_and(|held| held.ends == Some(end)) {
                self.by_id.remove(&id);
            }
        }
    }
}

#[async_trait]
impl Sessions for MemorySessions {
    fn new_id(&self) -> String {
        new_id()
    }

    async fn begin(&self, id: &str, session: &Session) -> Result<()> {
        self.sessions.lock().by_id.insert(id.to_owned(), Held { session: session.clone(), ends: None, full: false });
        Ok(())
    }

    async fn enter(&self, id: &str, room: &str, seen: &Position) -> Result<()> {
        if let Some(Held { session, full, .. }) = self.sessions.lock().attached(id) {
            let known = session.rooms.len();
            match session.rooms.iter_mut().find(|(name, _)| name == room) {
                Some((_, position)) => *position = seen.clone(),
                None if known < MAX_SESSION_ROOMS => session.rooms.push((room.to_owned(), seen.clone())),
                None => *full = true,
            }
        }
        Ok(())
    }

    async fn leave(&self, id: &str, room: &str) -> Result<()> {
        if let Some(Held { session, .. }) = self.sessions.lock().attached(id) {
            session.rooms.retain(|(name, _)| name != room);
        }
        Ok(())
    }

    async fn detach(&self, id: &str) -> Result<()> {
        let mut table = self.sessions.lock();
        table.forget_ended();
        let end = Instant::now() + self.window;
        if let Some(held) = table.attached(id) {
            held.ends = Some(end);
            table.detached.push_back((end, id.to_owned()));
        }
        Ok(())
    }

    async fn end(&self, id: &str) -> Result<()> {
        self.sessions.lock().by_id.remove(id);
        Ok(())
    }

    async fn take(&self, id: &str) -> Result<Option<Session>> {
        let mut table = self.sessions.lock();
        table.forget_ended();
        Ok(table.by_id.remove(id).filter(|held| !held.full).map(|held| held.session))
    }
}
