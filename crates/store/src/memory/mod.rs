//! The store of a single node without Redis: the same promises, kept in this process and gone with it.
//!
//! Each part keeps the things of all realms in one table, under [`Realm::scoped`](crate::keys::Realm::scoped) names.

mod conversation;
mod documents;
mod inbox;
mod lists;
mod log;
mod memos;
mod nodes;
mod presence;
mod receipts;
mod sessions;

use crate::keys::Realm;
use crate::{Fill, Limits, NodeIdentity, Part, Publication, Publish, Realms, Result, Store, StoreError};
use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the stores of all realms share.
#[derive(Clone)]
pub(crate) struct Memory {
    nodes: Arc<nodes::MemoryNodes>,
    presence: Arc<presence::Table>,
    conversations: Arc<log::Table>,
    inboxes: Arc<inbox::Table>,
    documents: Arc<documents::Table>,
    memos: Arc<memos::Table>,
    sessions: Arc<sessions::MemorySessions>,
}

impl Memory {
    pub(crate) fn new(node: NodeIdentity, publish: Publish, limits: Limits) -> Self {
        let documents = Arc::new(documents::Table::new(Arc::clone(&publish)));
        Self {
            nodes: Arc::new(nodes::MemoryNodes::new(node)),
            presence: Arc::default(),
            conversations: Arc::new(log::Table::new(publish, &limits)),
            inboxes: Arc::default(),
            documents,
            memos: Arc::default(),
            sessions: Arc::new(sessions::MemorySessions::new(limits.recovery_window)),
        }
    }
}

impl Realms for Memory {
    fn realm(&self, realm: Realm) -> Store {
        let presence = Arc::new(presence::MemoryPresence::new(Arc::clone(&self.presence), realm.clone()));
        let inbox = inbox::MemoryInbox::new(Arc::clone(&self.inboxes), Arc::clone(&presence), realm.clone());
        let inbox = Arc::new(inbox);
        let log = log::MemoryLog::new(Arc::clone(&self.conversations), realm.clone(), Arc::clone(&inbox));
        let log = Arc::new(log);
        Store {
            nodes: Arc::clone(&self.nodes) as _,
            presence,
            receipts: Arc::clone(&log) as _,
            conversations: Arc::clone(&log) as _,
            log,
            inbox,
            memos: Arc::new(memos::MemoryMemos::new(Arc::clone(&self.memos), realm.clone())),
            documents: Arc::new(documents::MemoryDocuments::new(Arc::clone(&self.documents), realm)),
            sessions: Arc::clone(&self.sessions) as _,
            realms: Arc::new(self.clone()),
        }
    }
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What the holes of publications are filled with.
#[derive(Clone, Copy, Default)]
struct Filled<'a> {
    seq: u64,
    epoch: &'a str,
    message_id: &'a str,
    stamp: &'a str,
}

/// The bytes of a publication, its holes filled as `publish.lua` fills them.
fn payload(publication: &Publication, filled: Filled<'_>) -> Result<Vec<u8>> {
    let mut payload = Vec::new();
    for part in &publication.parts {
        match part {
            Part::Literal(bytes) => {
                payload.extend_from_slice(bytes);
                Ok(())
            }
            Part::Fill(Fill::Seq) => rmp::encode::write_uint(&mut payload, filled.seq).map(drop),
            Part::Fill(Fill::Epoch) => rmp::encode::write_str(&mut payload, filled.epoch),
            Part::Fill(Fill::MessageId) => rmp::encode::write_str(&mut payload, filled.message_id),
            Part::Fill(Fill::Stamp) => rmp::encode::write_str(&mut payload, filled.stamp),
        }
        .map_err(|e| StoreError::unavailable(io::Error::from(e)))?;
    }
    Ok(payload)
}
