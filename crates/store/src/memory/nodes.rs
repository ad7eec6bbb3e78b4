//! One node, alive as long as it says so.

use crate::{Lease, NodeIdentity, NodeInfo, NodeLoad, Nodes, Result, SECRETS};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::{collections::BTreeSet, time::Duration};

pub(crate) struct MemoryNodes {
    identity: NodeIdentity,
    /// The load of the last heartbeat; `None` before the first and after leaving. The lease needs no end: whoever could
    /// ask about it runs in the same process.
    load: Mutex<Option<NodeLoad>>,
    secrets: Mutex<BTreeSet<String>>,
}

impl MemoryNodes {
    pub(crate) fn new(identity: NodeIdentity) -> Self {
        Self { identity, load: Mutex::new(None), secrets: Mutex::default() }
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

    async fn shared_secrets(&self, own: &[String], in_use: bool) -> Result<Vec<String>> {
        let mut secrets = self.secrets.lock();
        if in_use || secrets.is_empty() {
            secrets.extend(own.iter().cloned());
        }
        Ok(secrets.iter().take(SECRETS).cloned().collect())
    }
}
