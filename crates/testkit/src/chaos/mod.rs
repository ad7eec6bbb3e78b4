//! Faults of many kinds under load, and the proof that nothing got lost: a cluster of real processes, clients that come back
//! with their cursors, [`schedule`]d faults, and the checker of [`history`] in the end.

mod backing;
mod client;
mod faults;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::history::{self, History, Log, Logs, Seen, Violation};
use crate::proxy::Proxy;
use crate::{Node, RedisSentinel, RedisServer, connect};

use backing::Backing;
use client::{Patience, Phase, Plan, Record, Shared};
pub use faults::{Fault, schedule};
pub use report::Report;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Faults of all kinds, by chance.
    Everything,
    /// The same with a Redis that has a replica, which takes over; it may forget what was acknowledged, but not in silence.
    Failover,
    /// Every 5 s a tenth of the connections between clients and nodes is cut.
    BadNetwork,
    /// All clients are on one node, and it is killed, in the middle of the time. It does not come back.
    Avalanche,
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Chaos {
    /// What goes wrong.
    pub scenario: Scenario,
    /// Decides which faults come when.
    pub seed: u64,
    /// How long faults happen at the most.
    pub time: Duration,
    /// How many faults at the most.
    pub faults: usize,
    /// Nodes of the cluster.
    pub nodes: usize,
    /// Clients, all of them senders and receivers.
    pub clients: usize,
    /// Conversations; each client is in two of them.
    pub conversations: usize,
    /// Between two faults, on average.
    pub fault_every: Duration,
    /// Between two messages of one client, on average.
    pub send_every: Duration,
    /// Says on standard error how it goes.
    pub progress: bool,
}

impl Default for Chaos {
    fn default() -> Self {
        Self {
            scenario: Scenario::Everything,
            seed: 1,
            time: Duration::from_secs(60),
            faults: usize::MAX,
            nodes: 3,
            clients: 60,
            conversations: 8,
            fault_every: Duration::from_millis(500),
            send_every: Duration::from_secs(2),
            progress: false,
        }
    }
}

/// How long everything may take to come right once the faults have ended: longer than a lease and all time-outs.
const HEALED_WITHIN: Duration = Duration::from_secs(90);

/// Before an avalanche clients come one after the other: it is their coming back that is looked at.
const BETWEEN_ARRIVALS: Duration = Duration::from_millis(2);

/// Who has connected more often will not come to rest while faults are awaited.
const RESTLESS: u64 = 3;

/// How long all clients may take to come in.
const STARTED_WITHIN: Duration = Duration::from_secs(60);

/// How long a node may take to end by SIGTERM.
const TERMINATED_WITHIN: Duration = Duration::from_secs(40);

/// Between two cuts of a bad network.
const CUT_EVERY: Duration = Duration::from_secs(5);

/// Users whose presence is asked for in one question.
const ASKED_AT_ONCE: usize = 500;

const LOOK_AGAIN: Duration = Duration::from_millis(500);

impl Chaos {
    /// An avalanche of so many clients, in conversations of twenty, who say fifty things a second between them.
    pub fn avalanche(clients: usize) -> Self {
        let send_every = Duration::from_millis(20).saturating_mul(u32::try_from(clients).unwrap_or(u32::MAX));
        let time = Duration::from_secs(20);
        let conversations = (clients / 10).max(1);
        Self { scenario: Scenario::Avalanche, clients, conversations, send_every, time, ..Self::default() }
    }

    /// Runs it.
    ///
    /// # Panics
    /// When the cluster can't be set up.
    pub async fn run(self) -> Report {
        let world = World::start(self).await;
        let faults = match world.chaos.scenario {
            Scenario::Avalanche => world.avalanche().await,
            _ => world.do_harm().await,
        };
        world.heal().await;
        world.judge(faults).await
    }
}

/// A node that may be down at the moment. Locked while something is done to it.
struct Slot {
    flags: Vec<String>,
    node: AsyncMutex<Option<Node>>,
}

impl Slot {
    async fn start(flags: Vec<String>) -> Self {
        let node = AsyncMutex::new(Some(start_node(&flags).await));
        Self { flags, node }
    }
}

async fn start_node(flags: &[String]) -> Node {
    Node::start(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await
}

struct World {
    chaos: Chaos,
    redis: AsyncMutex<Backing>,
    /// The servers of it.
    redis_urls: Vec<String>,
    nodes: Vec<Slot>,
    proxy: Proxy,
    clients: BTreeMap<String, Shared>,
    leaving: BTreeSet<String>,
    running: AsyncMutex<JoinSet<()>>,
    phase: watch::Sender<Phase>,
    /// How often connections were cut.
    cuts: AtomicU64,
    began: Instant,
}

impl World {
    async fn start(chaos: Chaos) -> Arc<Self> {
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
            self.running.lock().await.spawn(client::run(plan, record, self.phase.subscribe()));
            if avalanche {
                sleep(BETWEEN_ARRIVALS).await;
            }
        }
        self.until(STARTED_WITHIN, |world| world.all(|record| record.joined || record.connects > RESTLESS)).await;
    }

    fn all(&self, check: impl Fn(&Record) -> bool) -> bool {
        self.clients.values().all(|record| check(&record.lock().expect("no panic under this lock")))
    }

    async fn until(&self, deadline: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let until = Instant::now() + deadline;
        while !done(self) {
            if Instant::now() >= until {
                return false;
            }
            sleep(LOOK_AGAIN).await;
        }
        true
    }

    /// Does harm until the time is over or there were enough faults. What was done, by kind.
    async fn do_harm(self: &Arc<Self>) -> BTreeMap<&'static str, u64> {
        let end = Instant::now() + self.chaos.time;
        let mut done = BTreeMap::new();
        let mut running: JoinSet<Option<&'static str>> = JoinSet::new();
        let mut said = Instant::now();
        let faults: Box<dyn Iterator<Item = (Duration, Fault)> + Send> = match self.chaos.scenario {
            Scenario::BadNetwork => Box::new(std::iter::repeat_with(|| (CUT_EVERY, Fault::CutClients { percent: 10 }))),
            scenario => {
                let replica = scenario == Scenario::Failover;
                Box::new(schedule(self.chaos.seed, self.chaos.nodes, self.chaos.fault_every, replica))
            }
        };
        for (pause, fault) in faults.take(self.chaos.faults) {
            sleep(pause).await;
            while let Some(ended) = running.try_join_next() {
                if let Ok(Some(kind)) = ended {
                    *done.entry(kind).or_default() += 1;
                }
            }
            if Instant::now() >= end {
                break;
            }
            let world = Arc::clone(self);
            running.spawn(async move {
                let kind = fault.kind();
                world.inject(fault).await.then_some(kind)
            });
            if said.elapsed() > Duration::from_secs(10) {
                said = Instant::now();
                self.say(done.values().sum());
            }
        }
        while let Some(ended) = running.join_next().await {
            if let Ok(Some(kind)) = ended {
                *done.entry(kind).or_default() += 1;
            }
        }
        done
    }

    /// Kills the node that everyone is on, and waits until everyone has all that was missed on another.
    async fn avalanche(&self) -> BTreeMap<&'static str, u64> {
        sleep(self.chaos.time / 2).await;
        self.say(0);
        let Some(mut node) = self.nodes[0].node.lock().await.take() else { return BTreeMap::new() };
        let killed = Instant::now();
        for record in self.clients.values() {
            record.lock().expect("no panic under this lock").watched_since = Some(killed);
        }
        node.kill();
        let said = Mutex::new(Instant::now());
        let resumed = |world: &Self| {
            let mut said = said.lock().expect("no panic under this lock");
            if said.elapsed() > Duration::from_secs(1) {
                *said = Instant::now();
                world.say(1);
            }
            world.all(|record| record.watched_since.is_none())
        };
        self.until(HEALED_WITHIN, resumed).await;
        sleep(self.chaos.time / 2).await;
        BTreeMap::from([("kill -9 of the node that everyone is on", 1)])
    }

    /// Whether it was done: not when the node it is meant for has trouble already.
    async fn inject(&self, fault: Fault) -> bool {
        match fault {
            Fault::KillNode { node, down } => {
                let Ok(mut slot) = self.nodes[node].node.try_lock() else { return false };
                drop(slot.take());
                sleep(down).await;
                *slot = Some(start_node(&self.nodes[node].flags).await);
            }
            Fault::TerminateNode { node } => {
                let Ok(mut slot) = self.nodes[node].node.try_lock() else { return false };
                if let Some(mut node) = slot.take() {
                    let _ = node.terminate(TERMINATED_WITHIN).await;
                }
                *slot = Some(start_node(&self.nodes[node].flags).await);
            }
            Fault::FreezeNode { node, time } => {
                let Ok(slot) = self.nodes[node].node.try_lock() else { return false };
                let Some(node) = slot.as_ref() else { return false };
                node.pause();
                sleep(time).await;
                node.resume();
            }
            Fault::CutSubscriptions => return self.cut_links("pubsub").await,
            Fault::CutCommands => return self.cut_links("normal").await,
            Fault::RestartRedis | Fault::FailOver => {
                let Ok(mut redis) = self.redis.try_lock() else { return false };
                redis.restart().await;
            }
            Fault::KillRedis | Fault::KillMaster => {
                let Ok(mut redis) = self.redis.try_lock() else { return false };
                redis.crash().await;
            }
            Fault::FreezeRedis { time } => {
                let Ok(mut redis) = self.redis.try_lock() else { return false };
                redis.freeze(time).await;
            }
            Fault::SlowClients { percent, time } => {
                let mut rng = SmallRng::seed_from_u64(u64::from(percent) ^ self.chaos.seed);
                for record in self.clients.values() {
                    if rng.random_range(0..100) < percent {
                        record.lock().expect("no panic under this lock").slow_until = Some(Instant::now() + time);
                    }
                }
                sleep(time).await;
            }
            Fault::CutClients { percent } => drop(self.cut(percent)),
            Fault::Latency { latency, time } => {
                self.proxy.set_latency(latency);
                sleep(time).await;
                self.proxy.set_latency(Duration::ZERO);
            }
            Fault::Loss { time, percent } => {
                self.proxy.stall(time);
                sleep(time).await;
                self.cut(percent);
            }
        }
        true
    }

    async fn cut_links(&self, kind: &str) -> bool {
        let mut done = false;
        for url in &self.redis_urls {
            done |= RedisServer::cut(url, kind).await.is_some();
        }
        done
    }

    fn cut(&self, percent: u32) -> usize {
        // Others each time, and the same in a run with the same seed.
        let turn = self.cuts.fetch_add(1, Ordering::Relaxed);
        let mut rng = SmallRng::seed_from_u64(self.chaos.seed ^ turn.rotate_left(32));
        self.proxy.cut(f64::from(percent) / 100.0, || rng.random())
    }

    /// The faults are over; what is not acknowledged is sent until it is.
    async fn heal(&self) {
        for slot in &self.nodes {
            let mut node = slot.node.lock().await;
            if node.is_none() && self.chaos.scenario != Scenario::Avalanche {
                *node = Some(start_node(&slot.flags).await);
            }
        }
        self.phase.send_replace(Phase::Listening);
        let until = Instant::now() + HEALED_WITHIN;
        while Instant::now() < until {
            if self.all(|record| record.unacknowledged == 0) && self.broken().await.0.is_empty() {
                return;
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// The promises that are broken, and how many acknowledged messages are forgotten where that may happen.
    async fn broken(&self) -> (Vec<Violation>, Option<usize>) {
        if self.chaos.scenario != Scenario::Failover {
            return (history::check(&self.history()), None);
        }
        let history = self.history();
        let logs = self.logs().await.unwrap_or_default();
        (history::check_against(&history, &logs), Some(history::forgotten(&history, &logs)))
    }

    async fn judge(&self, faults: BTreeMap<&'static str, u64>) -> Report {
        let (mut violations, forgotten) = self.broken().await;
        violations.extend(self.check_presence().await);
        let report = Report { forgotten, ..self.report(&self.history(), faults, violations) };
        self.phase.send_replace(Phase::Over);
        let mut running = self.running.lock().await;
        while running.join_next().await.is_some() {}
        report
    }

    /// All conversations, as any node has them. `None` while none answers.
    async fn logs(&self) -> Option<Logs> {
        let url = self.nodes.first()?.node.lock().await.as_ref().map(Node::url)?;
        let asking = connect(&format!("{url}?userId=checker"), "/", serde_json::Value::Null).await.ok()?;
        let conversations: BTreeSet<String> =
            self.clients.values().flat_map(|client| seen_by(client).into_keys()).collect();
        let mut logs = Logs::new();
        for conversation in conversations {
            let log: &mut BTreeMap<u64, String> = logs.entry(conversation.clone()).or_default();
            loop {
                let after = log.keys().next_back().copied().unwrap_or(0);
                let ask = json!({ "conversationId": conversation, "after": after, "limit": 500 });
                let page = asking.emit_with_ack("message:history", ask, Duration::from_secs(10)).await;
                let messages = page["messages"].as_array()?;
                log.extend(
                    messages.iter().filter_map(|message| {
                        Some((message["seq"].as_u64()?, message["content"].as_str()?.to_owned()))
                    }),
                );
                if messages.is_empty() {
                    break;
                }
            }
        }
        asking.close().await;
        Some(logs)
    }

    fn history(&self) -> History {
        let mut history = History::default();
        for (client, record) in &self.clients {
            let acknowledged = record.lock().expect("no panic under this lock").acknowledged.clone();
            history.acknowledged.extend(acknowledged);
            // Who left has no claim on what came later.
            if !self.leaving.contains(client) || *self.phase.borrow() == Phase::Talking {
                history.seen.extend(seen_by(record).into_iter().map(|(conversation, events)| Log {
                    client: client.clone(),
                    conversation,
                    events,
                }));
            }
        }
        history
    }

    /// What the cluster says of who is online, until it is right or the time is over.
    async fn check_presence(&self) -> Vec<Violation> {
        let users: Vec<&String> = self.clients.keys().collect();
        let until = Instant::now() + HEALED_WITHIN;
        loop {
            let connected = self.clients.keys().filter(|user| !self.leaving.contains(*user)).cloned().collect();
            let mut violations = Vec::new();
            for slot in &self.nodes {
                let Some(url) = slot.node.lock().await.as_ref().map(Node::url) else { continue };
                let Ok(asking) = connect(&format!("{url}?userId=checker"), "/", serde_json::Value::Null).await else {
                    continue;
                };
                let mut online = BTreeMap::new();
                for users in users.chunks(ASKED_AT_ONCE) {
                    let ask = json!({ "userIds": users });
                    let answer = asking.emit_with_ack("presence:get", ask, Duration::from_secs(10)).await;
                    let users = answer["users"].as_array().into_iter().flatten();
                    online.extend(
                        users.filter_map(|user| Some((user["userId"].as_str()?.to_owned(), user["online"].as_bool()?))),
                    );
                }
                violations.extend(history::check_presence(&connected, &online));
                asking.close().await;
            }
            if violations.is_empty() || Instant::now() >= until {
                return violations;
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    fn say(&self, faults: u64) {
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
            totals.3 += record.unacknowledged;
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

fn seen_by(client: &Shared) -> BTreeMap<String, Vec<Seen>> {
    client.lock().expect("no panic under this lock").seen.clone()
}
