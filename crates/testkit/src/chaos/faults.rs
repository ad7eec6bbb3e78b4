//! Which faults, when: all of it follows from the seed.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// A node is killed with SIGKILL and comes back after a while.
    KillNode {
        /// Which.
        node: usize,
        /// After how long it comes back.
        down: Duration,
    },
    /// A node is told to go with SIGTERM and comes back.
    TerminateNode {
        /// Which.
        node: usize,
    },
    /// A node is stopped with SIGSTOP and goes on with SIGCONT.
    FreezeNode {
        /// Which.
        node: usize,
        /// For how long.
        time: Duration,
    },
    /// Redis cuts all connections that listen.
    CutSubscriptions,
    /// Redis cuts all connections for commands.
    CutCommands,
    /// Redis is shut down in order and comes back with its data.
    RestartRedis,
    /// Redis is killed with SIGKILL and comes back with what it has written.
    KillRedis,
    /// The replica is made master, while the old master still serves.
    FailOver,
    /// The master is killed with SIGKILL, and the replica takes over.
    KillMaster,
    /// Redis is stopped with SIGSTOP and goes on with SIGCONT.
    FreezeRedis {
        /// For how long.
        time: Duration,
    },
    /// Some clients read nothing.
    SlowClients {
        /// How many of a hundred.
        percent: u32,
        /// For how long.
        time: Duration,
    },
    /// Some connections between clients and nodes are cut.
    CutClients {
        /// How many of a hundred.
        percent: u32,
    },
    /// The network between clients and nodes is slow for a while.
    Latency {
        /// One way.
        latency: Duration,
        /// For how long.
        time: Duration,
    },
    /// The network between clients and nodes lets nothing through for a while, then some of the connections break.
    Loss {
        /// For how long.
        time: Duration,
        /// How many of a hundred break.
        percent: u32,
    },
}

impl Fault {
    /// Its kind, for a table.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::KillNode { .. } => "kill -9 of a node",
            Self::TerminateNode { .. } => "SIGTERM of a node",
            Self::FreezeNode { .. } => "SIGSTOP/SIGCONT of a node",
            Self::CutSubscriptions => "pub/sub links cut",
            Self::CutCommands => "command links cut",
            Self::RestartRedis => "Redis restarted",
            Self::KillRedis => "kill -9 of Redis",
            Self::FailOver => "failover of Redis, ordered",
            Self::KillMaster => "kill -9 of the master of Redis",
            Self::FreezeRedis { .. } => "SIGSTOP/SIGCONT of Redis",
            Self::SlowClients { .. } => "slow clients",
            Self::CutClients { .. } => "client connections cut",
            Self::Latency { .. } => "latency",
            Self::Loss { .. } => "loss",
        }
    }
}

/// The pauses before faults, and the faults: without end, the same for the same seed and number of nodes. With a `replica` of
/// Redis it takes over where one server would be started again.
pub fn schedule(seed: u64, nodes: usize, mean: Duration, replica: bool) -> impl Iterator<Item = (Duration, Fault)> {
    let mut rng = SmallRng::seed_from_u64(seed);
    std::iter::from_fn(move || {
        let pause = mean.mul_f64(rng.random_range(0.2..1.8));
        Some(match fault(&mut rng, nodes) {
            Fault::RestartRedis if replica => (pause, Fault::FailOver),
            Fault::KillRedis if replica => (pause, Fault::KillMaster),
            fault => (pause, fault),
        })
    })
}

fn fault(rng: &mut SmallRng, nodes: usize) -> Fault {
    let node = rng.random_range(0..nodes);
    let mut ms = |from: u64, to: u64| Duration::from_millis(rng.random_range(from..to));
    match ms(0, 100).as_millis() {
        0..11 => Fault::KillNode { node, down: ms(100, 3_000) },
        11..16 => Fault::TerminateNode { node },
        16..25 => Fault::FreezeNode { node, time: ms(200, 13_000) },
        25..43 => Fault::CutSubscriptions,
        43..56 => Fault::CutCommands,
        56..61 => Fault::RestartRedis,
        61..65 => Fault::KillRedis,
        65..71 => Fault::FreezeRedis { time: ms(100, 3_000) },
        71..78 => Fault::SlowClients { percent: 20, time: ms(500, 5_000) },
        78..90 => Fault::CutClients { percent: 20 },
        90..95 => Fault::Latency { latency: ms(20, 200), time: ms(500, 3_000) },
        _ => Fault::Loss { time: ms(200, 2_000), percent: 30 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_faults_again_and_another_seed_others() {
        let some = |seed| schedule(seed, 3, Duration::from_millis(500), false).take(200).collect::<Vec<_>>();
        assert_eq!(some(7), some(7));
        assert_ne!(some(7), some(8));
        let kinds: std::collections::BTreeSet<_> = some(7).iter().map(|(_, fault)| fault.kind()).collect();
        assert_eq!(kinds.len(), 12, "every kind comes up: {kinds:?}");
    }
}
