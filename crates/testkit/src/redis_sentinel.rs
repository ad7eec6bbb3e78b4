//! A master with a replica, watched by three Sentinels, of the test's own.

use crate::eventually::eventually;
use crate::process::Process;
use crate::redis::{Data, RedisServer, free_port};
use futures_util::future::join_all;
use redis::{Cmd, FromRedisValue, RedisResult};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const MASTER: &str = "main";
const QUORUM: usize = 2;
const SENTINELS: usize = 3;
const READY_WITHIN: Duration = Duration::from_secs(60);
const FAILED_OVER_WITHIN: Duration = Duration::from_secs(60);

/// Two redis-servers and three Sentinels that take a server for dead after a second. All are killed when it is dropped.
#[derive(Debug)]
pub struct RedisSentinel {
    servers: Vec<RedisServer>,
    sentinels: Vec<Sentinel>,
}

#[derive(Debug)]
struct Sentinel {
    port: u16,
    process: Process,
    _directory: TempDir,
}

impl RedisSentinel {
    /// Starts it and returns when the Sentinels know each other and the replica.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start() -> Self {
        let options = ["--repl-diskless-sync-delay", "0", "--appendonly", "yes"];
        let master = RedisServer::start_with(&options).await;
        let port = master.port().to_string();
        let replica = RedisServer::start_with(&[&options[..], &["--replicaof", "127.0.0.1", &port]].concat()).await;
        let mut sentinels = Vec::new();
        for _ in 0..SENTINELS {
            sentinels.push(Sentinel::start(&port).await);
        }
        let set = Self { servers: vec![master, replica], sentinels };
        set.in_step().await;
        set
    }

    /// Waits until the Sentinels know each other, and the replica follows the master.
    ///
    /// # Panics
    /// When that does not come about.
    pub async fn in_step(&self) {
        eventually(READY_WITHIN, "the sentinels knowing all there is", async || {
            join_all(self.sentinels.iter().map(Sentinel::knows_all)).await.into_iter().all(|all| all)
        })
        .await;
    }

    /// `redis+sentinel://…/main`.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        format!("redis+sentinel://{}/{MASTER}", hosts.join(","))
    }

    /// The servers; the place of one in this list never changes. The first was master at the start.
    pub fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    /// The server in this place, to stop or restart it.
    pub fn server_mut(&mut self, place: usize) -> &mut RedisServer {
        &mut self.servers[place]
    }

    /// Which server is master, as all Sentinels agree.
    ///
    /// # Panics
    /// When they don't agree in time.
    pub async fn master(&self) -> usize {
        eventually(FAILED_OVER_WITHIN, "the sentinels agreeing on a master", async || self.agreed_master().await).await
    }

    /// Waits until another server than that in place `old` is master, and returns its place.
    pub async fn another_master_than(&self, old: usize) -> usize {
        eventually(FAILED_OVER_WITHIN, "another master", async || {
            self.agreed_master().await.filter(|place| *place != old)
        })
        .await
    }

    /// Has the Sentinels make the replica master, and waits for it.
    pub async fn fail_over(&self) -> usize {
        let old = self.master().await;
        eventually(FAILED_OVER_WITHIN, "a sentinel taking the order", async || {
            let mut order = redis::cmd("SENTINEL");
            self.sentinels[0].ask::<()>(order.arg("FAILOVER").arg(MASTER)).await.is_ok()
        })
        .await;
        self.another_master_than(old).await
    }

    /// Kills the master, as a crash would, and returns its place at once.
    pub async fn kill_master(&mut self) -> usize {
        let place = self.master().await;
        self.servers[place].kill();
        place
    }

    /// Starts the server in this place again. It believes to be what it was at the start until the Sentinels tell it better.
    pub async fn restart(&mut self, place: usize) {
        self.servers[place].restart(Data::Keep).await;
    }

    /// Kills a Sentinel for good.
    pub fn kill_a_sentinel(&mut self) {
        self.sentinels[SENTINELS - 1].process.kill();
    }

    async fn agreed_master(&self) -> Option<usize> {
        let views = join_all(self.sentinels.iter().map(Sentinel::master)).await;
        let mut ports = views.into_iter().flatten();
        let port = ports.next()?;
        let place = self.servers.iter().position(|server| server.port() == port)?;
        ports.all(|other| other == port).then_some(place)
    }
}

impl Sentinel {
    async fn start(master_port: &str) -> Self {
        let directory = TempDir::with_prefix("sentinel-").expect("a temporary directory");
        let port = free_port();
        let config = format!(
            "port {port}\nbind 127.0.0.1\ndir {dir}\nlogfile sentinel.log\n\
             sentinel monitor {MASTER} 127.0.0.1 {master_port} {QUORUM}\n\
             sentinel down-after-milliseconds {MASTER} 1000\nsentinel failover-timeout {MASTER} 3000\n",
            dir = directory.path().display(),
        );
        let file = directory.path().join("sentinel.conf");
        std::fs::write(&file, config).expect("the temporary directory can be written to");
        let process = spawn(&file);
        let sentinel = Self { port, process, _directory: directory };
        eventually(READY_WITHIN, "a sentinel answering", async || {
            sentinel.ask::<()>(&redis::cmd("PING")).await.is_ok()
        })
        .await;
        sentinel
    }

    async fn knows_all(&self) -> bool {
        let mut about = redis::cmd("SENTINEL");
        let Ok(facts) = self.ask::<std::collections::HashMap<String, String>>(about.arg("MASTER").arg(MASTER)).await
        else {
            return false;
        };
        let count = |name: &str| facts.get(name).and_then(|count| count.parse::<usize>().ok());
        let replicas: RedisResult<Vec<std::collections::HashMap<String, String>>> =
            self.ask(redis::cmd("SENTINEL").arg("REPLICAS").arg(MASTER)).await;
        let in_step = replicas.is_ok_and(|replicas| {
            replicas.iter().any(|replica| replica.get("master-link-status").is_some_and(|status| status == "ok"))
        });
        count("num-other-sentinels") == Some(SENTINELS - 1) && in_step
    }

    async fn master(&self) -> Option<u16> {
        let mut about = redis::cmd("SENTINEL");
        let found = self.ask::<(String, u16)>(about.arg("GET-MASTER-ADDR-BY-NAME").arg(MASTER)).await;
        found.ok().map(|(_, port)| port)
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let asking = async {
            let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port))?;
            let mut connection = client.get_multiplexed_async_connection().await?;
            command.query_async(&mut connection).await
        };
        let late = || Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
        tokio::time::timeout(Duration::from_secs(1), asking).await.unwrap_or_else(|_| late())
    }
}

fn spawn(config: &Path) -> Process {
    let mut command = Command::new("redis-server");
    command.arg(config).arg("--sentinel").stdout(Stdio::null()).stderr(Stdio::null());
    Process::spawn(&mut command).expect("redis-server can be started; it is in the package redis-server of Debian")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_killed_master_is_replaced_and_comes_back_as_a_replica() {
        let mut set = RedisSentinel::start().await;
        let old = set.kill_master().await;
        assert_ne!(set.another_master_than(old).await, old);
        set.restart(old).await;
        eventually(FAILED_OVER_WITHIN, "the old master being a replica", async || {
            // Sentinel cuts all connections of a server when it gives it another role.
            let Ok(mut connection) = set.servers()[old].client().get_multiplexed_async_connection().await else {
                return false;
            };
            let role: RedisResult<Vec<redis::Value>> = redis::cmd("ROLE").query_async(&mut connection).await;
            role.is_ok_and(|role| role.first() == Some(&redis::Value::BulkString(b"slave".to_vec())))
        })
        .await;
    }
}
