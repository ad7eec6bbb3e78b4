//! What is done to a cluster.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::judge::HEALED_WITHIN;
use super::world::{World, start_node};
use super::{Fault, Scenario, schedule};
use crate::RedisServer;

/// How long a node may take to end by SIGTERM.
const TERMINATED_WITHIN: Duration = Duration::from_secs(40);

/// Between two cuts of a bad network.
const CUT_EVERY: Duration = Duration::from_secs(5);

impl World {
    /// Does harm until the time is over or there were enough faults. What was done, by kind.
    pub(super) async fn do_harm(self: &Arc<Self>) -> BTreeMap<&'static str, u64> {
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
        let only = &self.chaos.only;
        let wanted = |fault: &Fault| only.is_empty() || only.iter().any(|word| fault.kind().contains(word.as_str()));
        for (pause, fault) in faults.filter(|(_, fault)| wanted(fault)).take(self.chaos.faults) {
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
                world.journal.line(|| format!("begins: {fault:?}"));
                let done = world.inject(fault).await;
                world.journal.line(|| format!("{}: {kind}", if done { "over" } else { "not done" }));
                done.then_some(kind)
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
    pub(super) async fn avalanche(&self) -> BTreeMap<&'static str, u64> {
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
}
