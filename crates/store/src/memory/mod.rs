//! The store of a single node without Redis: the same promises, kept in this process and gone with it.

mod log;
mod nodes;
mod presence;

pub(crate) use log::MemoryLog;
pub(crate) use nodes::MemoryNodes;
pub(crate) use presence::MemoryPresence;

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
