//! What do the nodes share? Everything that must be the same whichever node one asks, behind small traits:
//!
//! - [`Nodes`]: which nodes are alive. Each holds a lease of [`LEASE`] and renews it.
//! - [`Presence`]: who is online and who is in which room. An entry belongs to a boot of a node and counts only while
//!   that node's lease runs, so a crash makes entries invalid without any clean-up; a sweep removes the rubbish.
//! - [`MessageLog`]: the messages of each conversation, numbered without gaps. Storing and publishing are one step.
//! - [`Receipts`]: how far each user has received and read a conversation.
//! - [`Conversations`]: the conversations of each user, with what is new in them.
//! - [`Inbox`]: what waits for users who have no device connected.
//! - [`Documents`]: texts that several users edit.
//! - [`Sessions`]: what is needed to take over a socket that lost its connection.
//!
//! [`Store::redis`] shares between nodes, [`Store::memory`] serves a single one; the conformance tests hold both to the
//! same promises. In reading order: a file for each trait and its types, `keys` (every key in Redis), `redis`
//! (the connection, one file a trait, one script an operation), `memory`.
//!
//! This crate neither knows what a message says nor who may read it, and it starts no tasks: the gateway calls
//! [`Nodes::heartbeat`] and [`Presence::sweep`] every few seconds.

mod conversations;
mod documents;
mod error;
mod inbox;
pub mod keys;
mod log;
mod memory;
mod memos;
mod nodes;
mod presence;
mod receipts;
mod redis;
mod sessions;

pub use conversations::{ConversationPage, Conversations, LIST_KEPT, Listed, MAX_CONVERSATIONS, MAX_LISTED};
pub use documents::{DOCUMENT_KEPT, Document, Documents, MAX_DOCUMENT_BYTES, Written};
pub use error::{Result, StoreError};
pub use inbox::{INBOX_KEPT, Inbox, InboxItem, InboxPage, Keep, MAX_INBOX, MAX_ITEM_BYTES, Pushed, Waiting};
pub use log::{
    Appended, AppendedFor, DUPLICATE_WINDOW, Entry, Fill, Kind, LogLimits, LogPage, MAX_PAGE, MessageLog, NewEntry,
    Part, Position, Publication, ReadRange, Stamp, Stamped, Standing, message_id, parse_message_id,
};
pub use memos::Memos;
pub use nodes::{LEASE, Lease, NodeIdentity, NodeInfo, NodeLoad, Nodes, SECRETS};
pub use presence::{
    Connected, Disconnected, GoneOffline, Joined, LAST_SEEN_KEPT, MAX_USERS, Member, MembersPage, Presence,
    PresencePage, UserPresence,
};
pub use receipts::{MAX_RECEIPTS, MAX_SEEN, Marks, Receipt, Receipts, Seen};
pub use sessions::{MAX_SESSION_ROOMS, Session, Sessions};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use trunkline_redis::Topology;

/// Where a store without Redis publishes: called with channel and payload.
pub type Publish = Arc<dyn Fn(&[u8], &[u8]) + Send + Sync>;

/// What a store keeps at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of each conversation.
    pub log: LogLimits,
    /// How long a socket that lost its connection can be taken over.
    pub recovery_window: Duration,
    /// Whether the entries of all logs get a [`Stamp`], which puts them into one order. A Redis Cluster has no place for
    /// that: there it has no effect.
    pub stamps: bool,
}

impl Default for Limits {
    /// The defaults of [`LogLimits`], 2 minutes, no stamps.
    fn default() -> Self {
        LogLimits::default().into()
    }
}

impl From<LogLimits> for Limits {
    fn from(log: LogLimits) -> Self {
        Self { log, recovery_window: Duration::from_secs(120), stamps: false }
    }
}

/// The shared things of one node. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    /// Which nodes are alive. The same in all realms.
    pub nodes: Arc<dyn Nodes>,
    /// Who is online, who is in which room.
    pub presence: Arc<dyn Presence>,
    /// The messages of each conversation.
    pub log: Arc<dyn MessageLog>,
    /// Who has received and read what.
    pub receipts: Arc<dyn Receipts>,
    /// The conversations of each user.
    pub conversations: Arc<dyn Conversations>,
    /// What waits for users without a device.
    pub inbox: Arc<dyn Inbox>,
    /// Texts that several users edit.
    pub documents: Arc<dyn Documents>,
    /// Small facts for a while.
    pub memos: Arc<dyn Memos>,
    /// Sockets that can be taken over. The same in all realms.
    pub sessions: Arc<dyn Sessions>,
    realms: Arc<dyn Realms>,
}

/// Makes the store of a realm.
trait Realms: Send + Sync {
    fn realm(&self, realm: keys::Realm) -> Store;
}

impl Store {
    /// A store of this process alone; it ends with it.
    ///
    /// `publish` is called under the lock of what was written, so that publications have the order of the writes. It
    /// must not block and must not call the store.
    pub fn memory(node: NodeIdentity, publish: Publish, limits: impl Into<Limits>) -> Self {
        memory::Memory::new(node, publish, limits.into()).realm(keys::Realm::common())
    }

    /// A store shared through Redis (6.2 or newer, or Valkey): one server, one that Sentinels watch, or a Cluster.
    ///
    /// Connects at the first use and again whenever a connection is lost. Every call answers within about two seconds,
    /// with [`StoreError::Unavailable`] if Redis does not.
    pub fn redis(topology: &Topology, node: NodeIdentity, limits: impl Into<Limits>) -> Self {
        let link = Arc::new(redis::Link::new(topology));
        let limits: Limits = limits.into();
        let limits = Limits { stamps: limits.stamps && !topology.is_cluster(), ..limits };
        redis::Redis::new(link, node, limits).realm(keys::Realm::common())
    }

    /// The same place, seen from a realm of its own: users, rooms, conversations and all else of two realms don't meet,
    /// whatever they are called. The realm `""` is the common one.
    ///
    /// A realm needs no making and leaves nothing behind when its sockets have gone and its data has expired. Nodes and
    /// sessions belong to no realm; [`Presence::sweep`] of any realm works for all.
    pub fn realm(&self, name: &str) -> Self {
        self.realms.realm(keys::Realm::named(name))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}
