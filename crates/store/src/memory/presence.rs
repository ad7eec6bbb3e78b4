//! Who is online and who is in which room, on this node alone.

use super::now_ms;
use crate::{
    Connected, Disconnected, GoneOffline, LAST_SEEN_KEPT, MAX_USERS, Member, Presence, PresencePage, Result,
    StoreError, UserPresence,
};
use ahash::{AHashMap, AHashSet};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Users whose last-seen time is remembered. Beyond, the longest gone are forgotten.
const MAX_LAST_SEEN: usize = 100_000;

/// What cursors start with, so that those of other stores are recognised.
const CURSOR_PREFIX: &str = "m:";

#[derive(Default)]
pub(crate) struct MemoryPresence(Mutex<State>);

#[derive(Default)]
struct State {
    /// Sockets of each user who has any; sorted, for paging.
    online: BTreeMap<String, AHashSet<String>>,
    last_seen: LastSeen,
    /// Room → socket → user. No room is empty.
    rooms: AHashMap<String, AHashMap<String, String>>,
}

impl State {
    fn presence(&self, user: &str) -> UserPresence {
        let sockets = self.online.get(user).map_or(0, |sockets| sockets.len());
        UserPresence {
            user_id: user.to_owned(),
            online: sockets > 0,
            last_seen_ms: self.last_seen.times.get(user).copied(),
            sockets: u32::try_from(sockets).unwrap_or(u32::MAX),
        }
    }

    fn count(&self) -> u64 {
        self.online.len() as u64
    }
}

/// When users went offline, bounded in number and age.
#[derive(Default)]
struct LastSeen {
    times: AHashMap<String, i64>,
    /// The same, the longest gone first.
    order: BTreeSet<(i64, String)>,
}

impl LastSeen {
    fn note(&mut self, user: &str, now: i64) {
        if let Some(before) = self.times.insert(user.to_owned(), now) {
            self.order.remove(&(before, user.to_owned()));
        }
        self.order.insert((now, user.to_owned()));
        let kept_ms = i64::try_from(LAST_SEEN_KEPT.as_millis()).unwrap_or(i64::MAX);
        while let Some((time, _)) = self.order.first() {
            if self.order.len() <= MAX_LAST_SEEN && *time > now.saturating_sub(kept_ms) {
                break;
            }
            if let Some((_, user)) = self.order.pop_first() {
                self.times.remove(&user);
            }
        }
    }
}

#[async_trait]
impl Presence for MemoryPresence {
    async fn connect(&self, user: &str, socket: &str) -> Result<Connected> {
        let mut state = self.0.lock();
        let sockets = state.online.entry(user.to_owned()).or_default();
        let first = sockets.is_empty();
        sockets.insert(socket.to_owned());
        Ok(Connected { first, online_users: state.count() })
    }

    async fn disconnect(&self, user: &str, socket: &str) -> Result<Disconnected> {
        let (mut state, now) = (self.0.lock(), now_ms());
        let last = state.online.get_mut(user).is_some_and(|sockets| {
            sockets.remove(socket);
            sockets.is_empty()
        });
        if last {
            state.online.remove(user);
            state.last_seen.note(user, now);
        }
        Ok(Disconnected { last, last_seen_ms: now })
    }

    async fn count(&self) -> Result<u64> {
        Ok(self.0.lock().count())
    }

    async fn get(&self, users: &[String]) -> Result<Vec<UserPresence>> {
        let state = self.0.lock();
        Ok(users.iter().map(|user| state.presence(user)).collect())
    }

    async fn list(&self, limit: usize, cursor: Option<&str>) -> Result<PresencePage> {
        let after = cursor.map(|cursor| cursor.strip_prefix(CURSOR_PREFIX).ok_or(StoreError::InvalidCursor));
        let start = after.transpose()?.map_or(Bound::Unbounded, Bound::Excluded);
        let limit = limit.clamp(1, MAX_USERS);
        let state = self.0.lock();
        let names = state.online.range::<str, _>((start, Bound::Unbounded)).map(|(user, _)| user).take(limit);
        let users: Vec<UserPresence> = names.map(|user| state.presence(user)).collect();
        let is_full = users.len() == limit;
        let cursor = users.last().filter(|_| is_full).map(|last| format!("{CURSOR_PREFIX}{}", last.user_id));
        Ok(PresencePage { users, count: state.count(), cursor })
    }

    async fn enter(&self, room: &str, user: &str, socket: &str) -> Result<()> {
        let mut state = self.0.lock();
        state.rooms.entry(room.to_owned()).or_default().insert(socket.to_owned(), user.to_owned());
        Ok(())
    }

    async fn leave(&self, room: &str, socket: &str) -> Result<()> {
        let mut state = self.0.lock();
        if let Some(sockets) = state.rooms.get_mut(room) {
            sockets.remove(socket);
            if sockets.is_empty() {
                state.rooms.remove(room);
            }
        }
        Ok(())
    }

    async fn members(&self, room: &str) -> Result<Vec<Member>> {
        let state = self.0.lock();
        let mut members: BTreeMap<&str, u32> = BTreeMap::new();
        for user in state.rooms.get(room).into_iter().flat_map(|sockets| sockets.values()) {
            *members.entry(user).or_default() += 1;
        }
        Ok(members.into_iter().map(|(user, sockets)| Member { user_id: user.to_owned(), sockets }).collect())
    }

    /// There is no other node that could have died.
    async fn sweep(&self) -> Result<Vec<GoneOffline>> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gone_are_forgotten_first() {
        let mut last_seen = LastSeen::default();
        for n in 0..=MAX_LAST_SEEN {
            last_seen.note(&n.to_string(), i64::try_from(n).unwrap());
        }
        assert_eq!(last_seen.times.len(), MAX_LAST_SEEN);
        assert!(!last_seen.times.contains_key("0") && last_seen.times.contains_key("1"));

        let month_later = i64::try_from(LAST_SEEN_KEPT.as_millis()).unwrap() + 200_000;
        last_seen.note("late", month_later);
        assert_eq!(last_seen.times.len(), 1);
        assert_eq!(last_seen.order.len(), 1);
    }
}
