//! Receipts, in Redis.

use super::log::RedisLog;
use super::scripts::MARK;
use crate::{MAX_RECEIPTS, MAX_SEEN, Marks, Receipt, Receipts, Result, Seen};
use async_trait::async_trait;

impl RedisLog {
    /// Users whose receipt is at `seq` or beyond, by id; and whether there are more.
    async fn users_at(&self, receipts: String, seq: u64) -> Result<(Vec<String>, bool)> {
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(receipts).arg(seq).arg("+inf").arg("LIMIT").arg(0).arg(MAX_SEEN + 1);
        let mut users: Vec<String> = self.link.command(&command).await?;
        let more = users.len() > MAX_SEEN;
        users.truncate(MAX_SEEN);
        users.sort_unstable();
        Ok((users, more))
    }

    async fn receipt(&self, receipts: String, user: &str) -> Result<u64> {
        let score: Option<f64> = self.link.command(redis::cmd("ZSCORE").arg(receipts).arg(user)).await?;
        // Numbers of entries are far below 2^53.
        Ok(score.unwrap_or(0.0) as u64)
    }
}

#[async_trait]
impl Receipts for RedisLog {
    async fn mark(&self, conversation: &str, user: &str, receipt: Receipt, seq: u64) -> Result<bool> {
        let mut script = MARK.key(self.realm.log_head(conversation));
        script.key(self.realm.delivered(conversation));
        if receipt == Receipt::Read {
            script.key(self.realm.read(conversation));
        }
        script.arg(user).arg(seq).arg(MAX_RECEIPTS).arg(self.numbering_kept_ms());
        self.link.script(&script).await
    }

    async fn seen(&self, conversation: &str, seq: u64) -> Result<Seen> {
        let ((delivered_to, more_delivered), (read_by, more_read)) = tokio::try_join!(
            self.users_at(self.realm.delivered(conversation), seq),
            self.users_at(self.realm.read(conversation), seq),
        )?;
        Ok(Seen { delivered_to, read_by, more: more_delivered || more_read })
    }

    async fn marks(&self, conversation: &str, user: &str) -> Result<Marks> {
        let (delivered, read) = tokio::try_join!(
            self.receipt(self.realm.delivered(conversation), user),
            self.receipt(self.realm.read(conversation), user),
        )?;
        Ok(Marks { delivered, read })
    }
}
