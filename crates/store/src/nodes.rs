//! Which nodes are alive.

use crate::Result;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a node counts as alive after a heartbeat. Heartbeats should come at a third of it.
pub const LEASE: Duration = Duration::from_secs(10);

/// How many secrets a cluster has at most. It has more than one only after Redis lost its data while nodes ran.
pub const SECRETS: usize = 4;

/// Who this node is. `id` and `epoch` together name one boot of it: what a former boot left behind is not this one's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The configured name.
    pub id: String,
    /// Random at every start: no two boots of any nodes share one.
    pub epoch: String,
    /// `host:port` at which other nodes reach this one.
    pub advertise: Option<String>,
    /// Version of the program.
    pub version: String,
}

impl NodeIdentity {
    /// The name under which leases and entries of this boot are kept.
    pub(crate) fn instance(&self) -> &str {
        &self.epoch
    }
}

/// How busy the node is, told with each heartbeat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeLoad {
    /// Open sockets.
    pub sockets: u64,
}

/// A node as the others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// The configured name.
    pub id: String,
    /// Which boot of it.
    pub epoch: String,
    /// `host:port` at which it is reached.
    pub advertise: Option<String>,
    /// Version of the program.
    pub version: String,
    /// Open sockets at its last heartbeat.
    pub sockets: u64,
}

/// What a heartbeat found. The greater, the more there is to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lease {
    /// The lease ran and runs on.
    Renewed,
    /// There was none, and nobody was told that this node's users went offline: the first heartbeat of this boot, or Redis
    /// lost its data or may have. Entries of this node may be gone: every open socket must be reported again with
    /// [`connect`](crate::Presence::connect) and [`enter`](crate::Presence::enter), which are idempotent, and nobody hears of it.
    Started,
    /// It lapsed (a long pause, a partition), so that the others may have announced this node's users as offline. As
    /// [`Started`](Self::Started), but whoever [comes online](crate::Connected::first) by being reported again is to be
    /// announced.
    Lapsed,
}

/// Which nodes are alive. Each implementation speaks for one node, the one it was made with.
#[async_trait]
pub trait Nodes: Send + Sync {
    /// Renews this node's lease for [`LEASE`] and tells its load. The answer says whether the node must report its
    /// sockets again.
    async fn heartbeat(&self, load: NodeLoad) -> Result<Lease>;

    /// The nodes whose lease runs, by id. Of a node that restarted within a lease only the newer boot is listed.
    async fn alive(&self) -> Result<Vec<NodeInfo>>;

    /// Gives the lease back, at the end of an orderly shutdown. Sockets that were not disconnected count for `grace`
    /// longer, so that users who turn up on another node by then never went offline; the sweep after that removes them.
    async fn leave(&self, grace: Duration) -> Result<()>;

    /// The secrets by which the nodes of a cluster recognise each other's session ids and requests, in the order of their
    /// bytes, at most [`SECRETS`]: the first is the one to sign with. `own` are this node's; while they are not `in_use` yet
    /// they are only taken when there are none, so that nodes that start together agree. Called again and again, it puts
    /// them back after Redis lost its data, beside those of a younger node that was quicker.
    async fn shared_secrets(&self, own: &[String], in_use: bool) -> Result<Vec<String>>;
}
