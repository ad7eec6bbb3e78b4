//! Small facts that all nodes agree on for a while.

use crate::Result;
use async_trait::async_trait;
use std::time::Duration;

/// Notes by name, each for a limited time: whose turn it is, what was answered to a request that may be repeated.
#[async_trait]
pub trait Memos: Send + Sync {
    /// Notes `value` under `name` for `keep` and answers `None`; or answers what is noted there, which stays. Of several
    /// who claim a name at once, one gets `None`.
    async fn claim(&self, name: &str, value: &str, keep: Duration) -> Result<Option<String>>;

    /// Notes `value` under `name` for `keep`, in place of what was there.
    async fn put(&self, name: &str, value: &str, keep: Duration) -> Result<()>;

    /// Forgets what is noted under `name`.
    async fn forget(&self, name: &str) -> Result<()>;
}
