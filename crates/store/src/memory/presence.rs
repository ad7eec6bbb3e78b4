//! Who is online and who is in which room, on this node alone.

use super::now_ms;
use crate::keys::Realm;
use crate::{
    Connected, Disconnected, GoneOffline, Joined, LAST_SEEN_KEPT, MAX_USERS, Member, MembersPage, Presence,
    PresencePage, Result, StoreError, UserPresence,
};
use ahash::{AHashMap, AHashSet};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// Users whose last-seen time is remembered. Beyond, the longest gone are forgotten.
const MAX_LAST_SEEN: usize = 100_000;

/// What cursors start with, so that those of other stores are recognised.
const CURSOR_PREFIX: &str = "m:";

pub(crate) struct MemoryPresence {
    table: Arc<Table>,
    realm: Realm,
}

/// The presence of all realms.
#[derive(Default)]
pub(crate) struct Table(Mutex<State>);

#[derive(Default)]
struct State {
    /// By name; none is empty.
    realms: AHashMap<String, Present>,
    /// By scoped user.
    last_seen: LastSeen,
}

/// Who is in one realm.
#[derive(Default)]
struct Present {
    /// Sockets of each user who has any; sorted, for paging.
    online: BTreeMap<String, AHashSet<String>>,
    /// How many users have a socket of that name.
    sockets: AHashMap<String, usize>,
    /// Room → user → sockets. Nothing in it is empty.
    rooms: AHashMap<String, BTreeMap<String, AHashSet<String>>>,
}

impl Present {
    /// Takes a socket out of a room.
    fn leave(&mut self, room: &str, user: &str, socket: &str) {
        let Some(users) = self.rooms.get_mut(room) else { return };
        if let Some(sockets) = users.get_mut(user) {
            sockets.remove(socket);
            if sockets.is_empty() {
                users.remove(user);
            }
        }
        if users.is_empty() {
            self.rooms.remove(room);
        }
    }

    /// True if that was the user's last.
    fn close(&mut self, user: &str, socket: &str) -> bool {
        let Some(sockets) = self.online.get_mut(user) else { return false };
        if sockets.remove(socket)
            && let Some(users) = self.sockets.get_mut(socket)
        {
            *users -= 1;
            if *users == 0 {
                self.sockets.remove(socket);
            }
        }
        let last = self.online.get(user).is_some_and(|sockets| sockets.is_empty());
        if last {
            self.online.remove(user);
        }
        last
    }

    fn members(&self, room: &str, limit: usize, after: Option<&str>) -> MembersPage {
        let Some(users) = self.rooms.get(room) else { return MembersPage::default() };
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let limit = limit.clamp(1, MAX_USERS);
        let page = users.range::<str, _>((start, Bound::Unbounded)).take(limit);
        let member = |(user, sockets): (&String, &AHashSet<String>)| Member {
            user_id: user.clone(),
            sockets: u32::try_from(sockets.len()).unwrap_or(u32::MAX),
        };
        let members: Vec<Member> = page.map(member).collect();
        let is_full = members.len() == limit;
        let cursor = members.last().filter(|_| is_full).map(|last| format!("{CURSOR_PREFIX}{}", last.user_id));
        MembersPage { members, cursor }
    }

    fn is_empty(&self) -> bool {
        self.online.is_empty() && self.rooms.is_empty()
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

impl MemoryPresence {
    pub(crate) fn new(table: Arc<Table>, realm: Realm) -> Self {
        Self { table, realm }
    }

    pub(super) fn is_online(&self, user: &str) -> bool {
        self.look(|present| present.online.contains_key(user)).unwrap_or(false)
    }

    /// `None` if nobody is in this realm.
    fn look<T>(&self, look: impl FnOnce(&Present) -> T) -> Option<T> {
        self.table.0.lock().realms.get(self.realm.name()).map(look)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Present, &mut LastSeen) -> T) -> T {
        let mut state = self.table.0.lock();
        let State { realms, last_seen } = &mut *state;
        let present = realms.entry(self.realm.name().to_owned()).or_default();
        let changed = change(present, last_seen);
        if present.is_empty() {
            realms.remove(self.realm.name());
        }
        changed
    }

    fn presence(&self, users: impl IntoIterator<Item = String>) -> Vec<UserPresence> {
        let state = self.table.0.lock();
        let present = state.realms.get(self.realm.name());
        let presence = |user: String| {
            let sockets = present.and_then(|present| present.online.get(&user)).map_or(0, |sockets| sockets.len());
            UserPresence {
                online: sockets > 0,
                last_seen_ms: state.last_seen.times.get(&self.realm.scoped(&user)).copied(),
                sockets: u32::try_from(sockets).unwrap_or(u32::MAX),
                user_id: user,
            }
        };
        users.into_iter().map(presence).collect()
    }
}

#[async_trait]
impl Presence for MemoryPresence {
    async fn connect(&self, user: &str, socket: &str) -> Result<Connected> {
        Ok(self.change(|present, _| {
            let sockets = present.online.entry(user.to_owned()).or_default();
            let first = sockets.is_empty();
            if sockets.insert(socket.to_owned()) {
                *present.sockets.entry(socket.to_owned()).or_default() += 1;
            }
            Connected { first, online_users: present.online.len() as u64 }
        }))
    }

    async fn disconnect(&self, user: &str, socket: &str) -> Result<Disconnected> {
        Ok(self.change(|present, last_seen| {
            let (last, now) = (present.close(user, socket), now_ms());
            if last {
                last_seen.note(&self.realm.scoped(user), now);
            }
            Disconnected { last, last_seen_ms: now }
        }))
    }

    async fn count(&self) -> Result<u64> {
        Ok(self.look(|present| present.online.len() as u64).unwrap_or(0))
    }

    async fn recent_count(&self) -> Result<u64> {
        self.count().await
    }

    async fn get(&self, users: &[String]) -> Result<Vec<UserPresence>> {
        Ok(self.presence(users.iter().cloned()))
    }

    async fn list(&self, limit: usize, cursor: Option<&str>) -> Result<PresencePage> {
        let start = parse_cursor(cursor)?.map_or(Bound::Unbounded, Bound::Excluded);
        let limit = limit.clamp(1, MAX_USERS);
        let page = self.look(|present| {
            let names = present.online.range::<str, _>((start, Bound::Unbounded)).map(|(user, _)| user.clone());
            (names.take(limit).collect::<Vec<String>>(), present.online.len() as u64)
        });
        let (names, count) = page.unwrap_or_default();
        let is_full = names.len() == limit;
        let cursor = names.last().filter(|_| is_full).map(|last| format!("{CURSOR_PREFIX}{last}"));
        Ok(PresencePage { users: self.presence(names), count, cursor })
    }

    async fn enter(&self, room: &str, user: &str, socket: &str) -> Result<bool> {
        Ok(self.change(|present, _| {
            let users = present.rooms.entry(room.to_owned()).or_default();
            let first = !users.contains_key(user);
            users.entry(user.to_owned()).or_default().insert(socket.to_owned());
            first
        }))
    }

    async fn join(&self, room: &str, user: &str, socket: &str, guard: &[String]) -> Result<Joined> {
        let taken = |present: &Present| guard.iter().any(|name| name != socket && present.sockets.contains_key(name));
        if self.look(taken).unwrap_or(false) {
            // Who is refused is not in, whatever was before.
            self.leave(room, user, socket).await?;
            return Ok(Joined::NameTaken);
        }
        self.enter(room, user, socket).await?;
        self.members(room, MAX_USERS, None).await.map(Joined::In)
    }

    async fn any_socket(&self, names: &[String]) -> Result<bool> {
        Ok(self.look(|present| names.iter().any(|name| present.sockets.contains_key(name))).unwrap_or(false))
    }

    async fn leave(&self, room: &str, user: &str, socket: &str) -> Result<()> {
        self.change(|present, _| present.leave(room, user, socket));
        Ok(())
    }

    async fn members(&self, room: &str, limit: usize, cursor: Option<&str>) -> Result<MembersPage> {
        let after = parse_cursor(cursor)?;
        Ok(self.look(|present| present.members(room, limit, after)).unwrap_or_default())
    }

    /// There is no other node that could have died.
    async fn sweep(&self) -> Result<Vec<GoneOffline>> {
        Ok(Vec::new())
    }
}

/// The user that the page before ended with.
fn parse_cursor(cursor: Option<&str>) -> Result<Option<&str>> {
    cursor.map(|cursor| cursor.strip_prefix(CURSOR_PREFIX).ok_or(StoreError::InvalidCursor)).transpose()
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
