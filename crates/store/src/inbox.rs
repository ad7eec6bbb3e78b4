//! What waits for a user who has no device connected.

use crate::{NewEntry, Result, StoreError};
use async_trait::async_trait;
use std::time::Duration;

/// Items of one user; beyond, the oldest are dropped and [`Pushed::dropped`] says so.
pub const MAX_INBOX: usize = 1_000;

/// Bytes of one item: its id and body.
pub const MAX_ITEM_BYTES: usize = 64 * 1024;

/// How long an inbox is kept that nothing was added to.
pub const INBOX_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Something that waits for a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxItem {
    /// By which a repetition is recognised, here and by the client: of a direct message its message id.
    pub id: String,
    /// JSON text; the store does not look into it.
    pub body: String,
}

/// What waits for a user with an entry of a log: an item that is named after it. See
/// [`MessageLog::append_for`](crate::MessageLog::append_for).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting<'a> {
    /// For whom.
    pub user: &'a str,
    /// The item's body. One that is too large for an inbox ([`MAX_ITEM_BYTES`]) does not get there.
    pub body: &'a str,
}

/// Whether an item is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// In any case.
    Always,
    /// Only while the user has no open socket on a node that is alive, decided in the same step.
    IfOffline,
}

/// The outcome of [`Inbox::push`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// The user has an open socket: whatever is sent to them now may reach it.
    pub online: bool,
    /// The item is in the inbox, from now or from before.
    pub kept: bool,
    /// How many older items were dropped for it.
    pub dropped: u32,
}

/// A page of an inbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InboxPage {
    /// The oldest first.
    pub items: Vec<InboxItem>,
    /// Nothing is behind the last of them.
    pub complete: bool,
}

/// Direct messages and notifications that reached no device yet: at least once, since only an acknowledgement removes them.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// Puts an item at the end. One with an id that is there already changes nothing.
    ///
    /// # Errors
    /// [`TooLarge`](crate::StoreError::TooLarge) beyond [`MAX_ITEM_BYTES`].
    async fn push(&self, user: &str, item: &InboxItem, keep: Keep) -> Result<Pushed>;

    /// The oldest `limit` items (at most [`MAX_INBOX`]). They stay until they are acknowledged.
    async fn pending(&self, user: &str, limit: usize) -> Result<InboxPage>;

    /// These items have reached a device: removes them. How many there were.
    async fn acknowledge(&self, user: &str, ids: &[String]) -> Result<u64>;
}

impl Waiting<'_> {
    /// Whether it may be kept at all, with whatever number `entry` gets.
    pub(crate) fn fits(&self, entry: &NewEntry) -> bool {
        const EPOCH_AND_NUMBER: usize = 64;
        self.body.len() + entry.conversation.len() + EPOCH_AND_NUMBER <= MAX_ITEM_BYTES
    }
}

/// Whether an item may be kept at all.
pub(crate) fn check(item: &InboxItem) -> Result<()> {
    if item.body.len() + item.id.len() > MAX_ITEM_BYTES {
        return Err(StoreError::TooLarge { what: "the inbox item", limit: MAX_ITEM_BYTES });
    }
    Ok(())
}
