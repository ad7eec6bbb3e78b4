//! What is known by session. The library does not say when one ends.

use std::sync::{Arc, Weak};

use ahash::AHashMap;
use socketioxide::socket::Sid;

use crate::lanes::{CloseHandle, backlog::Backlog};

/// Connections of upgrade requests, by session. Connections that are gone are swept out whenever the table has doubled.
#[derive(Default)]
pub(super) struct Upgrades {
    connections: AHashMap<Sid, CloseHandle>,
    sweep_at: usize,
}

impl Upgrades {
    pub(super) fn insert(&mut self, sid: Sid, connection: CloseHandle) {
        if self.connections.len() >= self.sweep_at {
            self.connections.retain(|_, connection| connection.is_alive());
            self.sweep_at = (self.connections.len() * 2).max(64);
        }
        self.connections.insert(sid, connection);
    }

    pub(super) fn get(&self, sid: Sid) -> Option<CloseHandle> {
        self.connections.get(&sid).filter(|connection| connection.is_alive()).cloned()
    }
}

/// What waits, by session. Sessions that are gone are swept out whenever the table has doubled.
#[derive(Default)]
pub(super) struct Backlogs {
    backlogs: AHashMap<Sid, Weak<Backlog>>,
    sweep_at: usize,
}

impl Backlogs {
    pub(super) fn get(&self, sid: Sid) -> Option<Arc<Backlog>> {
        self.backlogs.get(&sid)?.upgrade()
    }

    pub(super) fn of(&mut self, sid: Sid) -> Arc<Backlog> {
        if let Some(backlog) = self.get(sid) {
            return backlog;
        }
        if self.backlogs.len() >= self.sweep_at {
            self.backlogs.retain(|_, backlog| backlog.strong_count() > 0);
            self.sweep_at = (self.backlogs.len() * 2).max(64);
        }
        let backlog = Arc::default();
        self.backlogs.insert(sid, Arc::downgrade(&backlog));
        backlog
    }
}
