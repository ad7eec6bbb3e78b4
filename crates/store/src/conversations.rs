//! Which conversations a user takes part in, with what is new in each.

use crate::{Entry, Result, StoreError};
use async_trait::async_trait;
use std::ops::Range;
use std::time::Duration;

/// Conversations in a user's list; beyond, those the user was last active in longest ago are dropped from it.
pub const MAX_CONVERSATIONS: usize = 1_000;

/// The largest page of [`Conversations::list`].
pub const MAX_LISTED: usize = 100;

/// A list that nothing was added to for that long is forgotten.
pub const LIST_KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// A conversation in a user's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which one.
    pub conversation: String,
    /// The newest message, as it stands now; `None` if there was none or it was trimmed.
    pub last_message: Option<Entry>,
    /// Messages that the user has neither read nor written, since they first took part. Changes of messages don't count.
    pub unread: u64,
    /// The newest number of its log; 0 while nothing was written.
    pub seq: u64,
    /// Time of the newest message, in milliseconds since 1970; 0 while nothing was written. Changes of messages don't count.
    pub active_ms: i64,
}

/// A page of a user's conversations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConversationPage {
    /// By last activity, the newest first.
    pub conversations: Vec<Listed>,
    /// Where the next page starts; `None` after the last.
    pub cursor: Option<String>,
}

/// Lists of conversations. What is new in them is derived from the logs when a list is read, so that sending costs the
/// same however many users take part.
#[async_trait]
pub trait Conversations: Send + Sync {
    /// `user` takes part in `conversation`: it is in their list from now on, and what was written before counts as read.
    /// Idempotent: the first time decides. For who joins; who sends takes part by
    /// [`NewEntry::participants`](crate::NewEntry::participants).
    async fn take_part(&self, conversation: &str, user: &str) -> Result<()>;

    /// The names of all conversations in the user's list, in no particular order. Fewer than [`MAX_CONVERSATIONS`] are all
    /// there are.
    async fn names(&self, user: &str) -> Result<Vec<String>>;

    /// A page of at most `limit` (1 to [`MAX_LISTED`]) of the user's conversations, from `cursor` on. One that becomes
    /// active between two pages moves to the front and may be on neither of them or on both.
    ///
    /// # Errors
    /// [`InvalidCursor`](crate::StoreError::InvalidCursor) for a cursor that this store did not give out.
    async fn list(&self, user: &str, limit: usize, cursor: Option<&str>) -> Result<ConversationPage>;
}

/// A conversation's place in a list: last activity, then name; greater comes first.
pub(crate) type Place = (i64, String);

/// Where the page that begins at `cursor` lies in `places`, which are sorted, the greatest first; and the cursor of the
/// page behind it.
pub(crate) fn page(places: &[Place], limit: usize, cursor: Option<&str>) -> Result<(Range<usize>, Option<String>)> {
    let start = match cursor {
        None => 0,
        Some(cursor) => {
            let (active, name) = cursor.split_once(':').ok_or(StoreError::InvalidCursor)?;
            let active: i64 = active.parse().map_err(|_| StoreError::InvalidCursor)?;
            places.partition_point(|place| (place.0, place.1.as_str()) >= (active, name))
        }
    };
    let end = places.len().min(start + limit.clamp(1, MAX_LISTED));
    let last = places.get(start..end).and_then(<[Place]>::last).filter(|_| end < places.len());
    Ok((start..end, last.map(|(active, name)| format!("{active}:{name}"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pages_have_every_place_once_and_in_order(
            places in btree_set((0..3_i64, ".{0,3}"), 0..20), limit in 0..7_usize, text in ".{0,9}",
        ) {
            let places: Vec<Place> = places.into_iter().rev().collect();
            let (mut seen, mut cursor) = (Vec::new(), None);
            loop {
                let (range, next) = page(&places, limit, cursor.as_deref()).unwrap();
                prop_assert!(range.len() <= limit.max(1));
                seen.extend_from_slice(&places[range]);
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
            prop_assert_eq!(seen, &places[..]);
            let _ = page(&places, limit, Some(&text));
        }
    }
}
