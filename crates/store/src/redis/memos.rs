//! Memos, in Redis.

use super::Link;
use super::scripts::CLAIM;
use crate::keys::Realm;
use crate::{Memos, Result};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct RedisMemos {
    link: Arc<Link>,
    realm: Realm,
}

impl RedisMemos {
    pub(crate) fn new(link: Arc<Link>, realm: Realm) -> Self {
        Self { link, realm }
    }
}

#[async_trait]
impl Memos for RedisMemos {
    async fn claim(&self, name: &str, value: &str, keep: Duration) -> Result<Option<String>> {
        let mut script = CLAIM.key(self.realm.memo(name));
        script.arg(value).arg(milliseconds(keep));
        self.link.script(&script).await
    }

    async fn put(&self, name: &str, value: &str, keep: Duration) -> Result<()> {
        let mut command = redis::cmd("SET");
        command.arg(self.realm.memo(name)).arg(value).arg("PX").arg(milliseconds(keep));
        self.link.command(&command).await
    }

    async fn forget(&self, name: &str) -> Result<()> {
        let mut command = redis::cmd("DEL");
        command.arg(self.realm.memo(name));
        self.link.command::<u64>(&command).await.map(drop)
    }
}

/// At least one: Redis takes no expiry of zero.
fn milliseconds(keep: Duration) -> u64 {
    u64::try_from(keep.as_millis()).unwrap_or(u64::MAX).clamp(1, 1 << 50)
}
