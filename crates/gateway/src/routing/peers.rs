//! Which node has which tag, and where it is reached: the store's table of nodes, remembered.

use std::{sync::Arc, time::Instant};

use ahash::AHashMap;
use http::uri::Authority;
use parking_lot::RwLock;
use tokio::sync::Mutex;
use trunkline_store::{NodeInfo, Nodes};

use super::session_id::Tag;
use crate::domain::Chain;

/// Another node, as far as it is needed to talk to it.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) tag: Tag,
    /// Its configured name.
    pub(super) id: String,
    /// Where it is reached.
    pub(super) address: Authority,
}

/// The table. While the store is away the last one known is used.
pub(super) struct Peers {
    nodes: Arc<dyn Nodes>,
    known: RwLock<AHashMap<Tag, Peer>>,
    /// When the store was last asked because of an unknown tag. Held while asking, so that those who wait meanwhile share
    /// the next answer. Only ids that a node of this cluster has signed come this far.
    asked: Mutex<Option<Instant>>,
}

impl Peers {
    pub(super) fn new(nodes: Arc<dyn Nodes>) -> Self {
        Self { nodes, known: RwLock::default(), asked: Mutex::default() }
    }

    /// Takes the table of nodes that are alive.
    pub(super) fn replace(&self, alive: &[NodeInfo]) {
        let peers = alive.iter().filter_map(|node| {
            let address = node.advertise.as_deref()?.parse().ok()?;
            let tag = Tag::of(&node.id, &node.epoch);
            Some((tag, Peer { tag, id: node.id.clone(), address }))
        });
        *self.known.write() = peers.collect();
    }

    /// The node with this tag, when it is alive as far as is known. One that is not known may have started just now: the
    /// store is asked.
    pub(super) async fn find(&self, tag: Tag) -> Option<Peer> {
        self.look_up(|known| known.get(&tag).cloned()).await
    }

    /// The node with this name.
    pub(super) async fn named(&self, id: &str) -> Option<Peer> {
        self.look_up(|known| known.values().find(|peer| peer.id == id).cloned()).await
    }

    async fn look_up(&self, find: impl Fn(&AHashMap<Tag, Peer>) -> Option<Peer>) -> Option<Peer> {
        if let Some(peer) = find(&self.known.read()) {
            return Some(peer);
        }
        let wondered = Instant::now();
        let mut asked = self.asked.lock().await;
        if asked.is_none_or(|at| at < wondered) {
            *asked = Some(Instant::now());
            match self.nodes.alive().await {
                Ok(alive) => self.replace(&alive),
                Err(error) => tracing::debug!(error = %Chain(&error), "could not ask which nodes are alive"),
            }
        }
        drop(asked);
        find(&self.known.read())
    }
}
