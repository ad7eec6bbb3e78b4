//! Receipts, in memory.

use super::log::MemoryLog;
use crate::{MAX_SEEN, Marks, Receipt, Receipts, Result, Seen};
use async_trait::async_trait;

#[async_trait]
impl Receipts for MemoryLog {
    async fn mark(&self, conversation: &str, user: &str, receipt: Receipt, seq: u64) -> Result<bool> {
        let marked = self.table.look(&self.realm.scoped(conversation), |log| log.mark(user, receipt, seq));
        Ok(marked.unwrap_or(false))
    }

    async fn seen(&self, conversation: &str, seq: u64) -> Result<Seen> {
        let seen = self.table.look(&self.realm.scoped(conversation), |log| {
            let mut delivered_to = log.users_at(seq, |marks| marks.delivered);
            let mut read_by = log.users_at(seq, |marks| marks.read);
            let more = delivered_to.len() > MAX_SEEN || read_by.len() > MAX_SEEN;
            delivered_to.truncate(MAX_SEEN);
            read_by.truncate(MAX_SEEN);
            Seen { delivered_to, read_by, more }
        });
        Ok(seen.unwrap_or_default())
    }

    async fn marks(&self, conversation: &str, user: &str) -> Result<Marks> {
        Ok(self.table.look(&self.realm.scoped(conversation), |log| log.marks(user)).unwrap_or_default())
    }
}
