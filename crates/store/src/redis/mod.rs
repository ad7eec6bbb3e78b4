//! The store in Redis: one connection, one file a trait, one script an operation.

mod conversations;
mod documents;
mod inbox;
mod link;
mod log;
mod memos;
mod nodes;
mod presence;
mod receipts;
mod rooms;
mod scripts;
mod sessions;
mod sweep;

pub(crate) use link::Link;

use crate::keys::Realm;
use crate::{Limits, NodeIdentity, Realms, Store};
use std::sync::Arc;

/// What the stores of all realms share.
#[derive(Clone)]
pub(crate) struct Redis {
    link: Arc<Link>,
    nodes: Arc<nodes::RedisNodes>,
    sessions: Arc<sessions::RedisSessions>,
    noted: Arc<conversations::Noted>,
    limits: Limits,
}

impl Redis {
    pub(crate) fn new(link: Arc<Link>, node: NodeIdentity, limits: Limits) -> Self {
        let nodes = Arc::new(nodes::RedisNodes::new(Arc::clone(&link), node, limits.recovery_window));
        let sessions = Arc::new(sessions::RedisSessions::new(Arc::clone(&link), Arc::clone(&nodes)));
        Self { link, nodes, sessions, noted: Arc::default(), limits }
    }
}

impl Realms for Redis {
    fn realm(&self, realm: Realm) -> Store {
        let (link, nodes) = (&self.link, &self.nodes);
        let presence = presence::RedisPresence::new(Arc::clone(link), Arc::clone(nodes), realm.clone());
        let log = log::RedisLog::new(Arc::clone(link), realm.clone(), &self.limits, Arc::clone(&self.noted));
        let log = Arc::new(log);
        Store {
            nodes: Arc::clone(nodes) as _,
            presence: Arc::new(presence),
            receipts: Arc::clone(&log) as _,
            conversations: Arc::clone(&log) as _,
            log,
            inbox: Arc::new(inbox::RedisInbox::new(Arc::clone(link), realm.clone())),
            memos: Arc::new(memos::RedisMemos::new(Arc::clone(link), realm.clone())),
            documents: Arc::new(documents::RedisDocuments::new(Arc::clone(link), realm)),
            sessions: Arc::clone(&self.sessions) as _,
            realms: Arc::new(self.clone()),
        }
    }
}
