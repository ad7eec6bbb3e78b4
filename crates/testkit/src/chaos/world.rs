//! The cluster of a run, and its clients.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::backing::Backing;
use super::client::{self, Patience, Phase, Plan, Record, Shared};
use super::journal::Journal;
use super::{Chaos, Scenario};
use crate::proxy::Proxy;
use crate::{Node, RedisSentinel, RedisServer};

/// Before an avalanche clients come one after the other: it is their coming back that is looked at.
const BETWEEN_ARRIVALS: Duration = Duration::from_millis(2);

/// Who has connected more often will not come to rest while faults are awaited.
const RESTLESS: u64 = 3;

/// How long all clients may take to come in.
const STARTED_WITHIN: Duration = Duration::from_secs(60);

/// Between looks at whether something has come about.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A node that may be down at the moment. Locked while something is done to it.
pub(super) struct Slot {
    pub(super) flags: Vec<String>,
    pub(super) node: AsyncMutex<Option<Node>>,
}

impl Slot {
    async fn start(flags: Vec<String>) -> Self {
        let node = AsyncMutex::new(Some(start_node(&flags).await));
        Self { flags, node }
    }
}

pub(super) async fn start_node(flags: &[String]) -> Node {
    Node::start(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await
}

pub(super) struct World {
    pub(super) chaos: Chaos,
    pub(super) redis: AsyncMutex<Backing>,
    /// The servers of it.
    pub(super) redis_urls: Vec<String>,
    pub(super) nodes: Vec<Slot>,
    pub(super) proxy: Proxy,
    pub(super) clients: BTreeMap<String, Shared>,
    pub(super) leaving: BTreeSet<String>,
    pub(super) running: AsyncMutex<JoinSet<()>>,
    pub(super) phase: watch::Sender<Phase>,
    /// How often connections were cut.
    pub(super) cuts: AtomicU64,
    pub(super) began: Instant,
    pub(super) journal: Journal,
}

impl World {
    pub(super) async fn start(chaos: Chaos) -> Arc<Self> {
        let redis = match chaos.scenario {
            Scenario::Failover => Backing::Sentinel(RedisSentinel::start().await),
            _ => Backing::Single(RedisServer::start_with_aof().await),
        };
        let mut nodes = Vec::new();
        for number in 0..chaos.nodes {
            let id = format!("chaos-{number}");
            let url = redis.url();
            let log = "warn,trunkline_gateway::app=info";
            let flags =
                ["--redis-url", &url, "--auth", "insecure-query", "--node-id", &id, "--log-level", log].into_iter();
            let quick: &[&str] = match chaos.scenario {
                Scenario::Avalanche => &[],
                _ => &["--ping-interval", "2000", "--ping-timeout", "2000", "--drain-window", "1s"],
            };
            let mut flags: Vec<String> = flags.chain(quick.iter().copied()).map(str::to_owned).collect();
            let slot = Slot::start(flags.clone()).await;
            // The same address after a restart, so that clients find it.
            let address = slot.node.lock().await.as_ref().map(|node| node.address().to_owned()).unwrap_or_default();
            flags.extend(["--listen".to_owned(), address]);
            nodes.push(Slot { flags, ..slot });
        }
        let mut addresses = Vec::new();
        for slot in &nodes {
            addresses.extend(slot.node.lock().await.as_ref().map(|node| node.address().to_owned()));
        }
        let proxy = Proxy::start(addresses.clone()).await.expect("a free port");
        let (phase, _) = watch::channel(Phase::Talking);
        let mut world = Self {
            redis_urls: redis.servers(),
            redis: AsyncMutex::new(redis),
            nodes,
            proxy,
            clients: BTreeMap::new(),
            leaving: BTreeSet::new(),
            running: AsyncMutex::default(),
            phase,
            cuts: AtomicU64::new(0),
            began: Instant::now(),
            journal: Journal::open(chaos.journal.as_deref()),
            chaos,
        };
        world.start_clients(&addresses).await;
        Arc::new(world)
    }

    async fn start_clients(&mut self, nodes: &[String]) {
        let mut rng = SmallRng::seed_from_u64(self.chaos.seed ^ 0x5eed);
        let clients = u32::try_from(self.chaos.clients).unwrap_or(u32::MAX);
        for number in 0..self.chaos.clients {
            let conversation = |at: usize| format!("room-{}", at % self.chaos.conversations.max(1));
            let conversations = BTreeSet::from([conversation(number), conversation(number * 3 + 1)]);
            // Half of them are behind the bad network.
            let proxied = number % 2 == 0 || self.chaos.scenario == Scenario::BadNetwork;
            let avalanche = self.chaos.scenario == Scenario::Avalanche;
            let addresses = if proxied && !avalanche { vec![self.proxy.address().to_owned()] } else { nodes.to_vec() };
            let plan = Plan {
                name: format!("user-{number}"),
                conversations: conversations.into_iter().collect(),
                addresses,
                send_every: self.chaos.send_every,
                leaves: number % 10 == 9 && !avalanche,
                begins_with_first: avalanche,
                patience: if avalanche { Patience::STOCK } else { Patience::LITTLE },
                // Thousands of clients should not cost more than the cluster.
                tick: Duration::from_millis(50).max(Duration::from_micros(200) * clients),
                seed: rng.random(),
            };
            let record: Shared = Arc::new(Mutex::new(Record::default()));
            self.clients.insert(plan.name.clone(), Arc::clone(&record));
            if plan.leaves {
                self.leaving.insert(plan.name.clone());
            }
            self.running.lock().await.spawn(client::run(plan, record, self.phase.subscribe(), self.journal.clone()));
            if avalanche {
                sleep(BETWEEN_ARRIVALS).await;
            }
        }
        self.until(STARTED_WITHIN, |world| world.all(|record| record.joined || record.connects > RESTLESS)).await;
    }

    pub(super) fn all(&self, check: impl Fn(&Record) -> bool) -> bool {
        self.clients.values().all(|record| check(&record.lock().expect("no panic under this lock")))
    }

    pub(super) async fn until(&self, deadline: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let until = Instant::now() + deadline;
        while !done(self) {
            if Instant::now() >= until {
                return false;
            }
            sleep(LOOK_AGAIN).await;
        }
        true
    }

    pub(super) fn say(&self, faults: u64) {
        if self.chaos.progress {
            eprintln!("{}", self.progress(faults));
        }
    }

    fn progress(&self, faults: u64) -> String {
        let mut totals = (0, 0, 0, 0, 0);
        for record in self.clients.values() {
            let record = record.lock().expect("no panic under this lock");
            totals.0 += usize::from(record.connected);
            totals.1 += record.acknowledged.len();
            totals.2 += record.seen.values().map(Vec::len).sum::<usize>();
            totals.3 += record.unacknowledged.len();
            totals.4 += usize::from(record.watched_since.is_some());
        }
        let missing = if totals.4 > 0 { format!("  {} not back", totals.4) } else { String::new() };
        format!(
            "{:6.1} s  {faults} faults  {} of {} connected  {} acknowledged  {} waiting  {} deliveries{missing}",
            self.began.elapsed().as_secs_f64(),
            totals.0,
            self.clients.len(),
            totals.1,
            totals.3,
            totals.2,
        )
    }
}
