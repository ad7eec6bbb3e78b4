//! A Redis Cluster of the test's own: three masters, a replica each.

use crate::eventually::eventually;
use crate::redis::{Data, RedisServer, free_port};
use futures_util::future::join_all;
use redis::{Cmd, FromRedisValue, RedisResult};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const MASTERS: usize = 3;
const SLOTS: usize = 16_384;
const READY_WITHIN: Duration = Duration::from_secs(60);
const FAILED_OVER_WITHIN: Duration = Duration::from_secs(60);

/// A replica that was asked to take over gives up after 5 s.
const MANUAL_FAILOVER_TIMEOUT: Duration = Duration::from_secs(6);

/// After it a silent node is taken for dead. Short, for quick tests of what happens then.
const NODE_TIMEOUT_MS: &str = "1500";

/// For tests in which nothing dies: no node of a busy machine is silent for so long.
const STEADY_NODE_TIMEOUT_MS: &str = "15000";

/// Six redis-servers (7.0 or newer) that are one cluster. All are killed when it is dropped.
#[derive(Debug)]
pub struct RedisCluster {
    servers: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts it and returns when every slot is served and every master has a replica that is in step.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start() -> Self {
        Self::start_with(NODE_TIMEOUT_MS).await
    }

    /// Like [`start`](Self::start), but no replica takes over because its master is slow: replication is asynchronous, so
    /// that would undo what the master has confirmed last.
    pub async fn start_steady() -> Self {
        Self::start_with(STEADY_NODE_TIMEOUT_MS).await
    }

    async fn start_with(node_timeout_ms: &str) -> Self {
        let servers = join_all((0..2 * MASTERS).map(|_| start_server(node_timeout_ms))).await;
        let cluster = Self { servers };
        cluster.join_together().await;
        cluster
    }

    /// The URLs of the first three nodes, which were masters at the start, with commas.
    pub fn url(&self) -> String {
        let urls: Vec<String> = self.servers.iter().take(MASTERS).map(RedisServer::url).collect();
        urls.join(",")
    }

    /// All nodes; the place of a node in this list never changes.
    pub fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    /// The node in this place, to stop or restart it.
    pub fn server_mut(&mut self, place: usize) -> &mut RedisServer {
        &mut self.servers[place]
    }

    /// Which node is master for `key`, as those that answer agree.
    ///
    /// # Panics
    /// When they don't agree in time.
    pub async fn master_of(&self, key: &str) -> usize {
        eventually(FAILED_OVER_WITHIN, "the nodes agreeing on a master", async || self.agreed_master_of(key).await)
            .await
    }

    async fn agreed_master_of(&self, key: &str) -> Option<usize> {
        let views = join_all(self.servers.iter().map(|server| master_seen_by(server, key))).await;
        let mut ports = views.into_iter().flatten();
        let port = ports.next()?;
        if !ports.all(|other| other == port) {
            return None;
        }
        let place = self.servers.iter().position(|server| server.port() == port)?;
        // It must know itself.
        (master_seen_by(&self.servers[place], key).await? == port).then_some(place)
    }

    /// Makes a replica of the master of `key` master in its place (`CLUSTER FAILOVER`), and returns when all agree.
    pub async fn fail_over(&self, key: &str) {
        let old = self.master_of(key).await;
        let replica =
            eventually(FAILED_OVER_WITHIN, "a replica that is in step", async || self.replica_of(old).await).await;
        let asked = Mutex::new(None::<Instant>);
        eventually(FAILED_OVER_WITHIN, "another master", async || {
            // A replica gives up in silence when the others don't vote in time.
            let due = asked.lock().unwrap().is_none_or(|asked| asked.elapsed() > MANUAL_FAILOVER_TIMEOUT);
            if due {
                *asked.lock().unwrap() = Some(Instant::now());
                // Refused by whoever is master already.
                let _ = ask::<()>(&self.servers[replica], redis::cmd("CLUSTER").arg("FAILOVER")).await;
            }
            self.agreed_master_of(key).await.filter(|place| *place != old)
        })
        .await;
    }

    /// Kills the master of `key`, as a crash would, and returns its place at once.
    pub async fn kill_master_of(&mut self, key: &str) -> usize {
        let place = self.master_of(key).await;
        self.servers[place].kill();
        place
    }

    /// Starts the node in this place again, with what it knew of the cluster.
    pub async fn restart(&mut self, place: usize) {
        self.servers[place].restart(Data::Keep).await;
    }

    /// Waits until another node than that in place `old` is master for `key`, and returns its place.
    pub async fn another_master_than(&self, old: usize, key: &str) -> usize {
        eventually(FAILED_OVER_WITHIN, "another master", async || {
            self.agreed_master_of(key).await.filter(|place| *place != old)
        })
        .await
    }

    /// Moves all slots that the master of `key` has with it to another master, as one would to empty a node, but for the
    /// keys: there must be none in `key`'s slot. Returns the new place.
    pub async fn move_slot_of(&self, key: &str) -> usize {
        let slot = slot_of(&self.servers[0], key).await;
        let from = self.master_of(key).await;
        let mut to = from;
        for place in 0..self.servers.len() {
            if place != from && self.is_master(place).await {
                to = place;
            }
        }
        let id: String = ask(&self.servers[to], redis::cmd("CLUSTER").arg("MYID")).await.expect("a node has an id");
        for server in [&self.servers[to], &self.servers[from]] {
            let _: () = ask(server, redis::cmd("CLUSTER").arg("SETSLOT").arg(slot).arg("NODE").arg(&id))
                .await
                .expect("an empty slot can be moved");
        }
        self.another_master_than(from, key).await
    }

    async fn is_master(&self, place: usize) -> bool {
        let role: RedisResult<Vec<redis::Value>> = ask(&self.servers[place], &redis::cmd("ROLE")).await;
        role.is_ok_and(|role| role.first() == Some(&redis::Value::BulkString(b"master".to_vec())))
    }

    async fn replica_of(&self, master: usize) -> Option<usize> {
        let port = i64::from(self.servers[master].port());
        for (place, server) in self.servers.iter().enumerate() {
            let Ok(role) = ask::<Vec<redis::Value>>(server, &redis::cmd("ROLE")).await else { continue };
            let in_step = role.get(3) == Some(&redis::Value::BulkString(b"connected".to_vec()));
            if role.get(2) == Some(&redis::Value::Int(port)) && in_step {
                return Some(place);
            }
        }
        None
    }

    async fn join_together(&self) {
        for (place, server) in self.servers.iter().enumerate() {
            let mut epoch = redis::cmd("CLUSTER");
            epoch.arg("SET-CONFIG-EPOCH").arg(place + 1);
            let _: () = ask(server, &epoch).await.expect("a new node takes an epoch");
            if place < MASTERS {
                let mut slots = redis::cmd("CLUSTER");
                let (first, end) = (place * SLOTS / MASTERS, (place + 1) * SLOTS / MASTERS);
                slots.arg("ADDSLOTSRANGE").arg(first).arg(end - 1);
                let _: () = ask(server, &slots).await.expect("a new node takes slots");
            }
        }
        let first = &self.servers[0];
        for server in &self.servers[1..] {
            let bus = bus_port(server).await;
            let mut meet = redis::cmd("CLUSTER");
            meet.arg("MEET").arg("127.0.0.1").arg(server.port()).arg(bus);
            let _: () = ask(first, &meet).await.expect("nodes can meet");
        }
        eventually(READY_WITHIN, "six nodes knowing each other", async || {
            let known = join_all(self.servers.iter().map(|server| info(server, "cluster_known_nodes"))).await;
            known.into_iter().all(|known| known.as_deref() == Some("6"))
        })
        .await;
        for place in MASTERS..2 * MASTERS {
            let master: String =
                ask(&self.servers[place - MASTERS], redis::cmd("CLUSTER").arg("MYID")).await.expect("a node has an id");
            eventually(READY_WITHIN, "a replica finding its master", async || {
                let mut replicate = redis::cmd("CLUSTER");
                ask::<()>(&self.servers[place], replicate.arg("REPLICATE").arg(&master)).await.is_ok()
            })
            .await;
        }
        eventually(READY_WITHIN, "every slot being served", async || {
            let states = join_all(self.servers.iter().map(|server| info(server, "cluster_state"))).await;
            let replicas = join_all((0..MASTERS).map(|master| self.replica_of(master))).await;
            let known = join_all(self.servers.iter().map(knows_replicas)).await;
            states.into_iter().all(|state| state.as_deref() == Some("ok"))
                && replicas.iter().all(Option::is_some)
                && known.into_iter().all(|known| known)
        })
        .await;
    }
}

async fn start_server(node_timeout_ms: &str) -> RedisServer {
    RedisServer::start_program(Path::new("redis-server"), |_, _| {
        let bus = free_port().to_string();
        let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", node_timeout_ms, "--cluster-port", &bus];
        let quick =
            ["--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0", "--appendonly", "yes"];
        options.iter().chain(&quick).map(ToString::to_string).collect()
    })
    .await
}

/// One command over a connection of its own, with a deadline: nodes are stopped and frozen in these tests.
async fn ask<T: FromRedisValue>(server: &RedisServer, command: &Cmd) -> RedisResult<T> {
    let asking = async {
        let mut connection = server.client().get_multiplexed_async_connection().await?;
        command.query_async(&mut connection).await
    };
    let late = || Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
    tokio::time::timeout(Duration::from_secs(1), asking).await.unwrap_or_else(|_| late())
}

async fn info(server: &RedisServer, field: &str) -> Option<String> {
    let info: String = ask(server, redis::cmd("CLUSTER").arg("INFO")).await.ok()?;
    info.lines().find_map(|line| Some(line.strip_prefix(field)?.strip_prefix(':')?.trim().to_owned()))
}

/// Whether every range of slots has a master and a replica in the eyes of this node.
async fn knows_replicas(server: &RedisServer) -> bool {
    let rows: RedisResult<Vec<Vec<redis::Value>>> = ask(server, redis::cmd("CLUSTER").arg("SLOTS")).await;
    rows.is_ok_and(|rows| rows.len() == MASTERS && rows.iter().all(|row| row.len() == 4))
}

async fn bus_port(server: &RedisServer) -> u16 {
    let option: Vec<String> =
        ask(server, redis::cmd("CONFIG").arg("GET").arg("cluster-port")).await.expect("redis-server is 7.0 or newer");
    option.get(1).and_then(|port| port.parse().ok()).expect("a cluster node has a bus port")
}

async fn slot_of(server: &RedisServer, key: &str) -> u16 {
    ask(server, redis::cmd("CLUSTER").arg("KEYSLOT").arg(key)).await.expect("a node knows slots")
}

async fn master_seen_by(server: &RedisServer, key: &str) -> Option<u16> {
    let slot = ask::<u16>(server, redis::cmd("CLUSTER").arg("KEYSLOT").arg(key)).await.ok()?;
    let rows: Vec<Vec<redis::Value>> = ask(server, redis::cmd("CLUSTER").arg("SLOTS")).await.ok()?;
    rows.into_iter()
        .filter_map(first_last_and_master)
        .find(|(first, last, _)| (*first..=*last).contains(&slot))
        .map(|row| row.2)
}

/// The port of the master; what follows in a row is left out.
fn first_last_and_master(row: Vec<redis::Value>) -> Option<(u16, u16, u16)> {
    let mut row = row.into_iter();
    let (first, last) = (redis::from_redis_value(row.next()?).ok()?, redis::from_redis_value(row.next()?).ok()?);
    let node: Vec<redis::Value> = redis::from_redis_value(row.next()?).ok()?;
    Some((first, last, redis::from_redis_value(node.into_iter().nth(1)?).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_killed_master_is_replaced_and_comes_back() {
        let mut cluster = RedisCluster::start().await;
        let old = cluster.kill_master_of("key").await;
        let new = cluster.another_master_than(old, "key").await;
        assert_ne!(old, new);
        cluster.restart(old).await;
        cluster.fail_over("key").await;
        assert_eq!(cluster.master_of("key").await, old);
        let moved = cluster.move_slot_of("key").await;
        assert_eq!(cluster.master_of("key").await, moved);
    }
}
