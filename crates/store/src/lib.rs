//! What do the nodes share? Everything that must be the same whichever node one asks, behind three small traits:
//!
//! - [`Nodes`]: which nodes are alive. Each holds a lease of [`LEASE`] and renews it.
//! - [`Presence`]: who is online and who is in which room. An entry belongs to a boot of a node and counts only while
//!   that node's lease runs, so a crash makes entries invalid without any clean-up; a sweep removes the rubbish.
//! - [`MessageLog`]: the messages of each conversation, numbered without gaps. Storing and publishing are one step.
//!
//! [`Store::redis`] shares between nodes, [`Store::memory`] serves a single one; the conformance tests hold both to the
//! same promises. In reading order: `nodes`, `presence`, `log` (traits and types), `keys` (every key in Redis), `redis`
//! (the connection, one file a trait, one script an operation), `memory`.
//!
//! This crate neither knows what a message says nor who may read it, and it starts no tasks: the gateway calls
//! [`Nodes::heartbeat`] and [`Presence::sweep`] every few seconds.

mod error;
pub mod keys;
mod log;
mod memory;
mod nodes;
mod presence;
mod redis;

pub use error::{Result, StoreError};
pub use log::{
    Appended, DUPLICATE_WINDOW, Entry, Fill, LogLimits, LogPage, MAX_PAGE, MessageLog, NewEntry, Part, Publication,
    ReadRange, message_id, parse_message_id,
};
pub use nodes::{LEASE, Lease, NodeIdentity, NodeInfo, NodeLoad, Nodes};
pub use presence::{
    Connected, Disconnected, GoneOffline, LAST_SEEN_KEPT, MAX_USERS, Member, Presence, PresencePage, UserPresence,
};

use std::fmt;
use std::sync::Arc;

/// Where a store without Redis publishes: called with channel and payload.
pub type Publish = Arc<dyn Fn(&[u8], &[u8]) + Send + Sync>;

/// The three shared things of one node. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    /// Which nodes are alive.
    pub nodes: Arc<dyn Nodes>,
    /// Who is online, who is in which room.
    pub presence: Arc<dyn Presence>,
    /// The messages of each conversation.
    pub log: Arc<dyn MessageLog>,
}

impl Store {
    /// A store of this process alone; it ends with it.
    ///
    /// `publish` is called under the lock of the conversation that was appended to, so that publications have the
    /// log's order. It must not block and must not call the store.
    pub fn memory(node: NodeIdentity, publish: Publish, limits: LogLimits) -> Self {
        Self {
            nodes: Arc::new(memory::MemoryNodes::new(node)),
            presence: Arc::new(memory::MemoryPresence::default()),
            log: Arc::new(memory::MemoryLog::new(publish, limits)),
        }
    }

    /// A store shared through one Redis (6.2 or newer, or Valkey).
    ///
    /// Connects at the first use and again whenever the connection is lost, over RESP3. Every call answers within about
    /// two seconds, with [`StoreError::Unavailable`] if Redis does not.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when `client` can't be used at all.
    #[expect(clippy::needless_pass_by_value, reason = "a client is made for the store")]
    pub fn redis(client: ::redis::Client, node: NodeIdentity, limits: LogLimits) -> Result<Self> {
        let link = Arc::new(redis::Link::new(&client)?);
        let nodes = Arc::new(redis::RedisNodes::new(Arc::clone(&link), node));
        Ok(Self {
            presence: Arc::new(redis::RedisPresence::new(Arc::clone(&link), Arc::clone(&nodes))),
            log: Arc::new(redis::RedisLog::new(link, limits)),
            nodes,
        })
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}
