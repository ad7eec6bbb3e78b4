//! Parts that are not in Redis yet: they answer that they are unavailable.

use crate::*;
use async_trait::async_trait;

pub(crate) struct Pending;

fn not_yet<T>() -> Result<T> {
    Err(StoreError::unavailable("not in Redis yet"))
}

#[async_trait]
impl Receipts for Pending {
    async fn mark(&self, _: &str, _: &str, _: Receipt, _: u64) -> Result<bool> {
        not_yet()
    }
    async fn seen(&self, _: &str, _: u64) -> Result<Seen> {
        not_yet()
    }
    async fn marks(&self, _: &str, _: &str) -> Result<Marks> {
        not_yet()
    }
}

#[async_trait]
impl Conversations for Pending {
    async fn take_part(&self, _: &str, _: &str) -> Result<()> {
        Ok(())
    }
    async fn list(&self, _: &str, _: usize, _: Option<&str>) -> Result<ConversationPage> {
        not_yet()
    }
}

#[async_trait]
impl Inbox for Pending {
    async fn push(&self, _: &str, _: &InboxItem, _: Keep) -> Result<Pushed> {
        not_yet()
    }
    async fn pending(&self, _: &str, _: usize) -> Result<InboxPage> {
        not_yet()
    }
    async fn acknowledge(&self, _: &str, _: &[String]) -> Result<u64> {
        not_yet()
    }
}

#[async_trait]
impl Documents for Pending {
    async fn get(&self, _: &str) -> Result<Document> {
        not_yet()
    }
    async fn write(&self, _: &str, _: &str, _: Option<u64>, _: &[Publication]) -> Result<Written> {
        not_yet()
    }
}

#[async_trait]
impl Sessions for Pending {
    fn new_id(&self) -> String {
        sessions::new_id()
    }
    async fn begin(&self, _: &str, _: &Session) -> Result<()> {
        not_yet()
    }
    async fn enter(&self, _: &str, _: &str, _: &Position) -> Result<()> {
        not_yet()
    }
    async fn leave(&self, _: &str, _: &str) -> Result<()> {
        not_yet()
    }
    async fn detach(&self, _: &str) -> Result<()> {
        not_yet()
    }
    async fn end(&self, _: &str) -> Result<()> {
        not_yet()
    }
    async fn take(&self, _: &str) -> Result<Option<Session>> {
        not_yet()
    }
}
