//! Memos, in memory.

use super::now_ms;
use crate::keys::Realm;
use crate::{Memos, Result};
use ahash::AHashMap;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// The memos of all realms, by scoped name, each with the time of its end.
#[derive(Default)]
pub(crate) struct Table(Mutex<Notes>);

#[derive(Default)]
struct Notes {
    by_name: AHashMap<String, (String, i64)>,
    /// Memos at which those that have ended are looked for.
    tidy_at: usize,
}

pub(crate) struct MemoryMemos {
    table: Arc<Table>,
    realm: Realm,
}

impl MemoryMemos {
    pub(crate) fn new(table: Arc<Table>, realm: Realm) -> Self {
        Self { table, realm }
    }
}

impl Notes {
    fn put(&mut self, name: String, value: &str, keep: Duration) {
        let now = now_ms();
        if self.by_name.len() >= self.tidy_at.max(64) {
            self.by_name.retain(|_, (_, end)| *end > now);
            self.tidy_at = self.by_name.len() * 2;
        }
        let end = now.saturating_add(i64::try_from(keep.as_millis()).unwrap_or(i64::MAX));
        self.by_name.insert(name, (value.to_owned(), end));
    }
}

#[async_trait]
impl Memos for MemoryMemos {
    async fn claim(&self, name: &str, value: &str, keep: Duration) -> Result<Option<String>> {
        let name = self.realm.scoped(name);
        let mut notes = self.table.0.lock();
        if let Some((known, end)) = notes.by_name.get(&name)
            && *end > now_ms()
        {
            return Ok(Some(known.clone()));
        }
        notes.put(name, value, keep);
        Ok(None)
    }

    async fn put(&self, name: &str, value: &str, keep: Duration) -> Result<()> {
        self.table.0.lock().put(self.realm.scoped(name), value, keep);
        Ok(())
    }

    async fn forget(&self, name: &str) -> Result<()> {
        self.table.0.lock().by_name.remove(&self.realm.scoped(name));
        Ok(())
    }
}
