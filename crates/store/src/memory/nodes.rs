//! One node, alive as long as it says so.

use crate::{Lease, NodeIdentity, NodeInfo, NodeLoad, Nodes, Result};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::time::Duration;

pub(crate) struct MemoryNodes {
    identity: NodeIdentity,
    /// The load of the last heartbeat; `None` before the first and after leaving. The lease needs no end: whoever could
    /// ask about it runs in the same process.
    load: Mutex<Option<NodeLoad>>,
    secret: Mutex<Option<String>>,
}

impl MemoryNodes {
    pub(crate) fn new(identity: NodeIdentity) -> Self {
        Self { identity, load: Mutex::new(None), secret: Mutex::new(None) }
    }
}

#[async_trait]
impl Nodes for MemoryNodes {
    async fn heartbeat(&self, load: NodeLoad) -> Result<Lease> {
        let before = self.load.lock().replace(load);
        Ok(if before.is_some() { Lease::Renewed } else { Lease::Started })
    }

    async fn alive(&self) -> Result<Vec<NodeInfo>> {
        let load = *self.load.lock();
        let NodeIdentity { id, epoch, advertise, version } = self.identity.clone();
        let info = load.map(|load| NodeInfo { id, epoch, advertise, version, sockets: load.sockets });
        Ok(info.into_iter().collect())
    }

    async fn leave(&self, _: Duration) -> Result<()> {
        *self.load.lock() = None;
        Ok(())
    }

    async fn shared_secret(&self, proposal: &str) -> Result<String> {
        Ok(self.secret.lock().get_or_insert_with(|| proposal.to_owned()).clone())
    }
}
