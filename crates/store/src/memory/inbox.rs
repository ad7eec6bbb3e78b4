//! Inboxes, in memory.

use super::now_ms;
use super::presence::MemoryPresence;
use crate::inbox::check;
use crate::keys::Realm;
use crate::{INBOX_KEPT, Inbox, InboxItem, InboxPage, Keep, MAX_INBOX, Pushed, Result};
use ahash::AHashMap;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// Pushes between two looks for inboxes that nobody emptied.
const PUSHES_PER_TIDYING: u64 = 10_000;

pub(crate) struct MemoryInbox {
    table: Arc<Table>,
    presence: Arc<MemoryPresence>,
    realm: Realm,
}

/// The inboxes of all realms, by scoped user. None is empty.
#[derive(Default)]
pub(crate) struct Table(Mutex<Inboxes>);

#[derive(Default)]
struct Inboxes {
    by_user: AHashMap<String, Waiting>,
    pushes: u64,
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<InboxItem>,
    added_ms: i64,
}

impl MemoryInbox {
    pub(crate) fn new(table: Arc<Table>, presence: Arc<MemoryPresence>, realm: Realm) -> Self {
        Self { table, presence, realm }
    }

    pub(super) fn put(&self, user: &str, item: &InboxItem, keep: Keep) -> Result<Pushed> {
        check(item)?;
        let (mut inboxes, now) = (self.table.0.lock(), now_ms());
        inboxes.tidy(now);
        let scoped = self.realm.scoped(user);
        let online = self.presence.is_online(user);
        let known = inboxes.by_user.get(&scoped).is_some_and(|waiting| waiting.items.iter().any(|i| i.id == item.id));
        if known || (online && keep == Keep::IfOffline) {
            return Ok(Pushed { online, kept: known, dropped: 0 });
        }
        let waiting = inboxes.by_user.entry(scoped).or_default();
        waiting.items.push_back(item.clone());
        waiting.added_ms = now;
        let dropped = waiting.items.len() > MAX_INBOX;
        if dropped {
            waiting.items.pop_front();
        }
        Ok(Pushed { online, kept: true, dropped: u32::from(dropped) })
    }
}

impl Inboxes {
    fn tidy(&mut self, now: i64) {
        self.pushes += 1;
        if self.pushes.is_multiple_of(PUSHES_PER_TIDYING) {
            let kept_ms = i64::try_from(INBOX_KEPT.as_millis()).unwrap_or(i64::MAX);
            self.by_user.retain(|_, waiting| waiting.added_ms > now.saturating_sub(kept_ms));
        }
    }
}

#[async_trait]
impl Inbox for MemoryInbox {
    async fn push(&self, user: &str, item: &InboxItem, keep: Keep) -> Result<Pushed> {
        self.put(user, item, keep)
    }

    async fn pending(&self, user: &str, limit: usize) -> Result<InboxPage> {
        let inboxes = self.table.0.lock();
        let Some(waiting) = inboxes.by_user.get(&self.realm.scoped(user)) else {
            return Ok(InboxPage { items: Vec::new(), complete: true });
        };
        let items: Vec<InboxItem> = waiting.items.iter().take(limit.min(MAX_INBOX)).cloned().collect();
        Ok(InboxPage { complete: items.len() == waiting.items.len(), items })
    }

    async fn acknowledge(&self, user: &str, ids: &[String]) -> Result<u64> {
        let mut inboxes = self.table.0.lock();
        let scoped = self.realm.scoped(user);
        let Some(waiting) = inboxes.by_user.get_mut(&scoped) else { return Ok(0) };
        let before = waiting.items.len();
        waiting.items.retain(|item| !ids.contains(&item.id));
        let removed = before - waiting.items.len();
        if waiting.items.is_empty() {
            inboxes.by_user.remove(&scoped);
        }
        Ok(removed as u64)
    }
}
