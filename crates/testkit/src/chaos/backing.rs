//! The Redis of a run: one server that forgets nothing, or a master with a replica that takes over.

use std::time::Duration;

use tokio::time::sleep;

use crate::{Data, RedisSentinel, RedisServer};

#[derive(Debug)]
pub(super) enum Backing {
    /// It syncs every write.
    Single(RedisServer),
    /// Replication is asynchronous: what the replica has not received when it takes over is forgotten.
    Sentinel(RedisSentinel),
}

impl Backing {
    /// What nodes are told.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Single(server) => server.url(),
            Self::Sentinel(set) => set.url(),
        }
    }

    /// All servers there are.
    pub(super) fn servers(&self) -> Vec<String> {
        match self {
            Self::Single(server) => vec![server.url()],
            Self::Sentinel(set) => set.servers().iter().map(RedisServer::url).collect(),
        }
    }

    /// It goes and comes back in order; or the replica takes over as an operator would have it, while the old master still
    /// serves.
    pub(super) async fn restart(&mut self) {
        match self {
            Self::Single(server) => server.restart(Data::Keep).await,
            Self::Sentinel(set) => {
                set.fail_over().await;
                set.in_step().await;
            }
        }
    }

    /// It crashes and comes back; or the replica takes over from a dead master, which comes back as a replica.
    pub(super) async fn crash(&mut self) {
        match self {
            Self::Single(server) => {
                server.kill();
                server.restart(Data::Keep).await;
            }
            Self::Sentinel(set) => {
                let old = set.kill_master().await;
                set.another_master_than(old).await;
                set.restart(old).await;
                set.in_step().await;
            }
        }
    }

    /// It stops and goes on. A master that stops for longer than a second may find itself replaced.
    pub(super) async fn freeze(&mut self, time: Duration) {
        match self {
            Self::Single(server) => freeze(server, time).await,
            Self::Sentinel(set) => {
                let master = set.master().await;
                freeze(&set.servers()[master], time).await;
                set.in_step().await;
            }
        }
    }
}

async fn freeze(server: &RedisServer, time: Duration) {
    server.pause();
    sleep(time).await;
    server.resume();
}
