//! Faults of many kinds under load, and the proof that nothing got lost: a cluster of real processes, clients that come back
//! with their cursors, [`schedule`]d faults, and the checker of [`history`](crate::history) in the end.

mod backing;
mod client;
mod faults;
mod harm;
mod journal;
mod judge;
mod report;
mod world;

use std::path::PathBuf;
use std::time::Duration;

pub use faults::{Fault, schedule};
pub use report::Report;
use world::World;

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
    /// Words that occur in the [kinds](Fault::kind) of the faults to do, one of them in each; all kinds if there are none.
    pub only: Vec<String>,
    /// Between two messages of one client, on average.
    pub send_every: Duration,
    /// Says on standard error how it goes.
    pub progress: bool,
    /// Where to write, line by line, what was done and what each client saw.
    pub journal: Option<PathBuf>,
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
            only: Vec::new(),
            send_every: Duration::from_secs(2),
            progress: false,
            journal: None,
        }
    }
}

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
