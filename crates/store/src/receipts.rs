//! How far each user has received and read each conversation.

use crate::Result;
use async_trait::async_trait;

/// Users whose receipts are kept in one conversation, of each kind; beyond, those furthest behind are forgotten.
pub const MAX_RECEIPTS: usize = 100_000;

/// The largest answer of [`Receipts::seen`], of each kind.
pub const MAX_SEEN: usize = 1_000;

/// What a receipt says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// Everything up to the number has reached a device of the user.
    Delivered,
    /// The user has read everything up to the number; so it was delivered too.
    Read,
}

/// Who has received and who has read an entry. Its sender is among them, if they wrote or read anything since.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Users that it was delivered to, by id.
    pub delivered_to: Vec<String>,
    /// Users who have read it, by id.
    pub read_by: Vec<String>,
    /// There are more of either than [`MAX_SEEN`].
    pub more: bool,
}

/// A user's positions in a conversation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// Up to where everything was delivered; 0 for nothing.
    pub delivered: u64,
    /// Up to where everything was read; 0 for nothing. What a user writes they have read, and what is before it.
    pub read: u64,
}

/// Delivered and read positions. They only ever grow, and never point beyond the end of the log: a log that begins anew
/// has none. They are kept as long as the numbering of the log (see [`LogLimits::max_age`](crate::LogLimits::max_age)).
#[async_trait]
pub trait Receipts: Send + Sync {
    /// Notes that `user` has received or read everything up to `seq`; numbers beyond the end of the log mean its end.
    /// True if that is news, and others should hear of it.
    async fn mark(&self, conversation: &str, user: &str, receipt: Receipt, seq: u64) -> Result<bool>;

    /// Who has received and read entry `seq`.
    async fn seen(&self, conversation: &str, seq: u64) -> Result<Seen>;

    /// How far `user` is.
    async fn marks(&self, conversation: &str, user: &str) -> Result<Marks>;
}
