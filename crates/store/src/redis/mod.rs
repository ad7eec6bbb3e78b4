//! The store in Redis: one connection, one file a trait, one script an operation.

mod link;
mod log;
mod nodes;
mod pending;
mod presence;
mod rooms;
mod scripts;
mod sweep;

pub(crate) use link::Link;
pub(crate) use log::RedisLog;
pub(crate) use nodes::RedisNodes;
pub(crate) use presence::RedisPresence;

use crate::keys::Realm;
use crate::{Limits, NodeIdentity, Realms, Store};
use std::sync::Arc;

/// What the stores of all realms share.
#[derive(Clone)]
pub(crate) struct Redis {
    link: Arc<Link>,
    nodes: Arc<RedisNodes>,
    limits: Limits,
}

impl Redis {
    pub(crate) fn new(link: Arc<Link>, node: NodeIdentity, limits: Limits) -> Self {
        let nodes = Arc::new(RedisNodes::new(Arc::clone(&link), node));
        Self { link, nodes, limits }
    }
}

impl Realms for Redis {
    fn realm(&self, _: Realm) -> Store {
        let log = Arc::new(RedisLog::new(Arc::clone(&self.link), self.limits.log));
        Store {
            nodes: Arc::clone(&self.nodes) as _,
            presence: Arc::new(RedisPresence::new(Arc::clone(&self.link), Arc::clone(&self.nodes))),
            receipts: Arc::new(pending::Pending),
            conversations: Arc::new(pending::Pending),
            log,
            inbox: Arc::new(pending::Pending),
            documents: Arc::new(pending::Pending),
            sessions: Arc::new(pending::Pending),
            realms: Arc::new(self.clone()),
        }
    }
}
