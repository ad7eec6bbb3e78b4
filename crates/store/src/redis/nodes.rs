//! Leases of nodes, in Redis.

use super::Link;
use super::scripts::{ALIVE, HEARTBEAT, LEAVE, RENEW, SHARED_SECRETS};
use crate::keys::{self, BUCKETS};
use crate::log::new_epoch;
use crate::{LEASE, Lease, NodeIdentity, NodeInfo, NodeLoad, Nodes, Result, SECRETS, StoreError};
use ahash::{AHashMap, AHashSet};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::RwLock;

pub(crate) struct RedisNodes {
    link: Arc<Link>,
    identity: NodeIdentity,
    /// How long sessions of this node's sockets outlive its lease.
    recovery_window: Duration,
    /// Some script met this node without a running lease, so the next heartbeat has to say so, even though
    /// a lease runs again by then.
    lost: AtomicBool,
    /// [`Link::connects`] at the last heartbeat. After another connect Redis may be a restarted one that forgot its last
    /// second: our lease may be there while entries are not.
    connects: AtomicU64,
    /// Name of the data in Redis at the last heartbeat: another one, and all that was there is lost.
    data: Mutex<Option<String>>,
    /// Until when the leases of nodes run, as far as known. A lease never ends early except by `leave`, so an entry
    /// that has not passed needs no question to Redis.
    known: Mutex<AHashMap<String, Instant>>,
    /// Seats that sockets gave up while Redis did not listen; at most [`MAX_OWED`].
    owed: Mutex<AHashSet<Vacated>>,
    /// Written while debts are settled: a seat that is taken again must not be freed by an old debt behind that.
    pub(super) settling: RwLock<()>,
}

/// Longer than anybody waits, and far from what Redis could overflow on.
const LONGEST_WINDOW: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Beyond, what is not told stays until this node ends: members of rooms who are not there any more.
const MAX_OWED: usize = 100_000;

/// Seats given up that one heartbeat makes up for.
const OWED_PER_HEARTBEAT: usize = 1_000;

/// A seat that is to be free: where it is noted, twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Vacated {
    pub(super) room: String,
    pub(super) seat: String,
    pub(super) node_rooms: String,
    pub(super) entry: String,
}

impl RedisNodes {
    pub(crate) fn new(link: Arc<Link>, identity: NodeIdentity, recovery_window: Duration) -> Self {
        Self {
            link,
            identity,
            recovery_window,
            lost: AtomicBool::new(false),
            connects: AtomicU64::new(0),
            data: Mutex::default(),
            known: Mutex::default(),
            owed: Mutex::default(),
            settling: RwLock::default(),
        }
    }

    /// The name under which this node's leases and entries are kept.
    pub(crate) fn instance(&self) -> &str {
        self.identity.instance()
    }

    pub(crate) fn recovery_window_ms(&self) -> u64 {
        u64::try_from(self.recovery_window.min(LONGEST_WINDOW).as_millis()).unwrap_or(0)
    }

    /// Frees a seat, now or with a heartbeat to come.
    pub(super) async fn vacate(&self, seat: Vacated) -> Result<()> {
        let outcome = self.free(&seat).await;
        if outcome.as_ref().is_err_and(StoreError::retryable) {
            self.owe(seat);
        }
        outcome
    }

    /// Frees a seat with a heartbeat to come.
    pub(super) fn owe(&self, seat: Vacated) {
        let mut owed = self.owed.lock();
        if owed.len() < MAX_OWED {
            owed.insert(seat);
        } else {
            tracing::error!(room = seat.room, "too many sockets left rooms without Redis, one stays a member");
        }
    }

    /// The seat is taken again: nothing is owed for it.
    pub(super) fn occupy(&self, seat: &Vacated) {
        self.owed.lock().remove(seat);
    }

    async fn free(&self, seat: &Vacated) -> Result<()> {
        let (mut vacate, mut forget) = (redis::cmd("ZREM"), redis::cmd("SREM"));
        vacate.arg(&seat.room).arg(&seat.seat);
        forget.arg(&seat.node_rooms).arg(&seat.entry);
        tokio::try_join!(self.link.command::<()>(&vacate), self.link.command::<()>(&forget))?;
        Ok(())
    }

    /// Makes up for what could not be told.
    async fn settle(&self) -> Result<()> {
        if self.owed.lock().is_empty() {
            return Ok(());
        }
        let _settling = self.settling.write().await;
        let owed: Vec<Vacated> = self.owed.lock().iter().take(OWED_PER_HEARTBEAT).cloned().collect();
        let freed = owed.iter().map(async |seat| {
            self.owed.lock().remove(seat);
            self.vacate(seat.clone()).await
        });
        try_join_all(freed).await.map(drop)
    }

    /// Takes a script's word on whether this node's lease was running.
    pub(crate) fn note_lease(&self, held: bool) {
        if !held {
            self.lost.store(true, Ordering::Release);
        }
    }

    /// Those of `instances` whose lease does not run.
    pub(crate) async fn dead_among(&self, instances: AHashSet<&str>) -> Result<AHashSet<String>> {
        let unsure = |instances: &AHashSet<&str>| -> AHashSet<String> {
            let (now, known) = (Instant::now(), self.known.lock());
            // This node is alive, even if its heartbeat is yet to say so.
            let runs =
                |instance: &str| instance == self.instance() || known.get(instance).is_some_and(|end| *end > now);
            instances.iter().filter(|instance| !runs(instance)).map(|instance| (*instance).to_owned()).collect()
        };
        if unsure(&instances).is_empty() {
            return Ok(AHashSet::new());
        }
        self.running().await?;
        Ok(unsure(&instances))
    }

    /// Instances whose lease runs, the longest first; remembers them.
    async fn running(&self) -> Result<Vec<String>> {
        let now = Instant::now();
        let leases: Vec<(String, u64)> = self.link.script(&ALIVE.key(keys::leases())).await?;
        let end = |left: &u64| now + Duration::from_millis(*left).min(LEASE);
        *self.known.lock() = leases.iter().map(|(instance, left)| (instance.clone(), end(left))).collect();
        Ok(leases.into_iter().map(|(instance, _)| instance).collect())
    }

    async fn renew_in_bucket(&self, bucket: u16) -> Result<bool> {
        let mut script = RENEW.key(keys::bucket_leases(bucket));
        script.key(keys::session_nodes(bucket)).key(keys::sessions(bucket, self.instance()));
        script.arg(self.instance()).arg(lease_ms()).arg(self.recovery_window_ms());
        self.link.script(&script).await
    }

    /// Whether the main lease ran, and the name of the data.
    async fn describe(&self, load: NodeLoad) -> Result<(bool, String)> {
        let NodeIdentity { id, epoch, advertise, version } = self.identity.clone();
        let info = NodeInfo { id, epoch, advertise, version, sockets: load.sockets };
        let info = serde_json::to_string(&info).map_err(|e| StoreError::corrupt(e.to_string()))?;
        let mut script = HEARTBEAT.key(keys::leases());
        script.key(keys::node_infos()).key(keys::data_name());
        self.link.script(script.arg(self.instance()).arg(lease_ms()).arg(info).arg(new_epoch())).await
    }
}

#[async_trait]
impl Nodes for RedisNodes {
    async fn heartbeat(&self, load: NodeLoad) -> Result<Lease> {
        let in_buckets = try_join_all((0..BUCKETS).map(|bucket| self.renew_in_bucket(bucket)));
        let outcome = tokio::try_join!(self.describe(load), in_buckets);
        let Ok(((held, data), held_in_buckets)) = outcome else {
            // Some leases may have begun anew without this call hearing of it.
            self.note_lease(false);
            return outcome.map(|_| Lease::Started);
        };
        if let Err(error) = self.settle().await {
            tracing::debug!(%error, "could not make up for all sockets that left rooms");
        }
        let all_held = held && held_in_buckets.into_iter().all(|held| held);
        let lost = self.lost.swap(false, Ordering::AcqRel);
        let connects = self.link.connects();
        let same_connection = self.connects.swap(connects, Ordering::AcqRel) == connects;
        let same_data = self.data.lock().replace(data.clone()) == Some(data);
        Ok(match (all_held && !lost, same_data) {
            (false, true) => Lease::Lapsed,
            (true, true) if same_connection => Lease::Renewed,
            _ => Lease::Started,
        })
    }

    async fn alive(&self) -> Result<Vec<NodeInfo>> {
        let running = self.running().await?;
        if running.is_empty() {
            return Ok(Vec::new());
        }
        let infos: Vec<Option<String>> =
            self.link.command(redis::cmd("HMGET").arg(keys::node_infos()).arg(&running)).await?;
        let mut nodes: Vec<NodeInfo> = Vec::with_capacity(infos.len());
        // A node that has a lease only because a socket connected before its first heartbeat has no description yet.
        for info in infos.into_iter().flatten() {
            let info: NodeInfo =
                serde_json::from_str(&info).map_err(|e| StoreError::corrupt(format!("description of a node: {e}")))?;
            // The longest lease comes first, so that the newer boot of a name is the one that stays.
            if nodes.iter().all(|node| node.id != info.id) {
                nodes.push(info);
            }
        }
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(nodes)
    }

    async fn leave(&self, grace: Duration) -> Result<()> {
        let grace = u64::try_from(grace.min(LEASE).as_millis()).unwrap_or(u64::MAX);
        let in_buckets = (0..BUCKETS).map(async |bucket| {
            let mut script = LEAVE.key(keys::bucket_leases(bucket));
            script.key(keys::node_sockets(bucket, self.instance())).key(keys::node_rooms(bucket, self.instance()));
            self.link.script::<()>(script.arg(self.instance()).arg(grace)).await
        });
        let mut script = LEAVE.key(keys::leases());
        let script = script.key(keys::node_infos()).arg(self.instance()).arg(grace);
        tokio::try_join!(self.link.script::<()>(script), try_join_all(in_buckets))?;
        // Whoever left begins anew: nothing lapsed.
        *self.data.lock() = None;
        Ok(())
    }

    async fn shared_secrets(&self, own: &[String], in_use: bool) -> Result<Vec<String>> {
        let mut script = SHARED_SECRETS.key(keys::shared_secrets());
        self.link.script(script.arg(SECRETS).arg(u8::from(in_use)).arg(own)).await
    }
}

/// [`LEASE`] as scripts take it.
pub(crate) fn lease_ms() -> u64 {
    LEASE.as_secs() * 1_000
}
