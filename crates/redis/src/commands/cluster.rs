//! The nodes of a cluster, as far as they are known.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use ahash::AHashMap;
use parking_lot::Mutex;
use redis::ErrorKind;

use crate::{
    discover,
    error::{Error, Result},
    node::{Node, Target},
    slots::{SLOTS, SlotMap},
    topology::{Address, Topology},
};

pub(super) struct Cluster {
    topology: Topology,
    seeds: Vec<Address>,
    /// Those that the map names, and those that redirections named since.
    nodes: Mutex<AHashMap<Address, Arc<Node>>>,
    map: Mutex<Arc<SlotMap>>,
    /// The map may be out of date: the next call asks first.
    stale: AtomicBool,
    /// Held while asking, so that callers share one answer.
    asking: tokio::sync::Mutex<()>,
    /// Its node gets what has no key. By chance, so that the nodes of the gateway don't all burden the same one.
    home: u16,
    connects: Arc<AtomicU64>,
}

impl Cluster {
    pub(super) fn new(topology: &Topology, seeds: &[Address], connects: Arc<AtomicU64>) -> Self {
        Self {
            topology: topology.clone(),
            seeds: seeds.to_vec(),
            nodes: Mutex::default(),
            map: Mutex::default(),
            stale: AtomicBool::new(true),
            asking: tokio::sync::Mutex::new(()),
            home: rand::random::<u16>() % SLOTS,
            connects,
        }
    }

    pub(super) fn doubt(&self) {
        self.stale.store(true, Ordering::Release);
    }

    /// The node that has `slot`, or the one for what has no slot.
    pub(super) async fn node_of(&self, slot: Option<u16>) -> Result<Arc<Node>> {
        let map = self.current().await?;
        let slot = slot.unwrap_or(self.home);
        let Some(address) = map.master(slot) else {
            self.doubt();
            let source = (ErrorKind::ClusterConnectionNotFound, "no node serves this slot").into();
            return Err(Error::Unreachable { what: format!("slot {slot}"), source });
        };
        Ok(self.node_at(address))
    }

    /// Everyone, replicas too.
    pub(super) async fn nodes(&self) -> Result<Vec<Arc<Node>>> {
        Ok(self.current().await?.nodes().iter().map(|address| self.node_at(address)).collect())
    }

    pub(super) fn node_at(&self, address: &Address) -> Arc<Node> {
        let mut nodes = self.nodes.lock();
        if let Some(node) = nodes.get(address) {
            return Arc::clone(node);
        }
        let target = Target::Server(address.clone());
        let node = Arc::new(Node::new(self.topology.clone(), target, Arc::clone(&self.connects)));
        nodes.insert(address.clone(), Arc::clone(&node));
        node
    }

    /// The map; asked for anew if there is doubt. If nobody answers, the old one is better than none.
    async fn current(&self) -> Result<Arc<SlotMap>> {
        if self.stale.load(Ordering::Acquire) {
            // Boxed, because every command has a future with room for this, and few need it.
            Box::pin(self.look_again()).await?;
        }
        Ok(Arc::clone(&self.map.lock()))
    }

    async fn look_again(&self) -> Result<()> {
        let _one_at_a_time = self.asking.lock().await;
        // Whoever waited finds it done.
        if self.stale.swap(false, Ordering::AcqRel)
            && let Err(error) = self.ask().await
        {
            self.doubt();
            if self.map.lock().is_empty() {
                return Err(error);
            }
        }
        Ok(())
    }

    async fn ask(&self) -> Result<()> {
        let mut known = self.map.lock().nodes();
        known.extend(self.seeds.iter().filter(|seed| !known.contains(seed)).cloned().collect::<Vec<_>>());
        let map = Arc::new(discover::slot_map(&self.topology, &known).await?);
        let nodes = map.nodes();
        self.nodes.lock().retain(|address, _| nodes.contains(address));
        *self.map.lock() = map;
        Ok(())
    }
}
