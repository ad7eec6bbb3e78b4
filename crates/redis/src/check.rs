//! One look at everything that can be wrong with a Redis, in words for whoever runs it.

use std::fmt;

use redis::{ErrorKind, ServerErrorKind};
use tokio::time::timeout;

use crate::{
    commands::Commands,
    dial::{self, Link},
    discover,
    error::{Error, Result, timed_out},
    limits::{DEADLINE, DISCOVERY},
    pubsub::{Limits, PubSub},
    script::Script,
    slots::{SLOTS, SlotMap},
    topology::{Address, Kind, Topology},
};

/// What the caller is going to do there.
#[derive(Debug, Clone, Copy)]
pub struct Needs<'a> {
    /// Sharded channels are used, which Redis has since 7.0.
    pub sharded: bool,
    /// Keys begin with it.
    pub key_prefix: &'a str,
    /// Channels begin with it.
    pub channel_prefix: &'a str,
}

/// How good something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It works, and may surprise later.
    Doubtful,
    /// It does not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How good it is.
    pub verdict: Verdict,
    /// What was found, where, and what to do about it. One line, without secrets.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.verdict {
            Verdict::Good => "ok  ",
            Verdict::Doubtful => "warn",
            Verdict::Bad => "FAIL",
        };
        write!(f, "{mark}  {}", self.text)
    }
}

/// Looks at every server that the topology names, and tries what `needs` says under keys and channels of its own, which it
/// leaves as they were. Takes some seconds at most, whatever hangs.
pub async fn check(topology: &Topology, needs: Needs<'_>) -> Vec<Finding> {
    let mut look = Look { topology, needs, findings: Vec::new() };
    let reached = match topology.kind() {
        Kind::Single(address) => look.single(address).await,
        Kind::Sentinel { sentinels, master } => look.sentinels(sentinels, master).await,
        Kind::Cluster { seeds } => look.cluster(seeds).await,
    };
    if reached {
        look.permissions().await;
    }
    look.findings
}

struct Look<'a> {
    topology: &'a Topology,
    needs: Needs<'a>,
    findings: Vec<Finding>,
}

impl Look<'_> {
    fn good(&mut self, text: impl Into<String>) {
        self.findings.push(Finding { verdict: Verdict::Good, text: text.into() });
    }

    fn doubtful(&mut self, text: impl Into<String>) {
        self.findings.push(Finding { verdict: Verdict::Doubtful, text: text.into() });
    }

    fn bad(&mut self, text: impl Into<String>) {
        self.findings.push(Finding { verdict: Verdict::Bad, text: text.into() });
    }

    async fn single(&mut self, address: &Address) -> bool {
        let Some(link) = self.reach(address).await else { return false };
        let info = self.server(&link).await;
        if info.get("cluster_enabled") == Some("1") {
            let form = "write redis+cluster:// in place of redis://";
            self.bad(format!("{address} is a node of a Redis Cluster and has only some of the keys: {form}"));
            return false;
        }
        if info.get("role").is_some_and(|role| role != "master") {
            self.bad(format!("{address} is a replica and takes no writes: name the master, or use Sentinel"));
            return false;
        }
        true
    }

    async fn sentinels(&mut self, sentinels: &[Address], name: &str) -> bool {
        for sentinel in sentinels {
            match asked_sentinel(self.topology, sentinel, name).await {
                Ok(master) => self.good(format!("sentinel {sentinel} says that {name:?} is at {master}")),
                Err(error) => self.doubtful(format!("sentinel {sentinel}: {}", in_words(&error))),
            }
        }
        match timeout(DEADLINE, discover::dial_master(self.topology, None)).await {
            Ok(Ok(link)) => {
                self.good(format!("the master {} answers", link.address()));
                self.server(&link).await;
                true
            }
            Ok(Err(error)) => {
                self.bad(format!("the master {name:?} can't be reached: {}", in_words(&error)));
                false
            }
            Err(_) => {
                self.bad(format!("the master {name:?} can't be reached: no answer within {DEADLINE:?}"));
                false
            }
        }
    }

    async fn cluster(&mut self, seeds: &[Address]) -> bool {
        let mut map: Option<SlotMap> = None;
        for seed in seeds {
            let Some(link) = self.reach_or(seed, Verdict::Doubtful).await else { continue };
            match discover::slots_known_to(&link).await {
                Ok(found) => map = Some(found),
                Err(error) if is(&error, ServerErrorKind::ResponseError) => {
                    self.bad(format!("{seed} is no node of a Redis Cluster: {}", in_words(&error)));
                }
                Err(error) => self.doubtful(format!("{seed} does not know the slots: {}", in_words(&error))),
            }
        }
        let Some(map) = map else {
            self.bad("none of the nodes of the cluster that were named knows who has which slots");
            return false;
        };
        let covered = map.covered();
        if covered == usize::from(SLOTS) {
            self.good(format!("all {SLOTS} slots are served, by {} masters", map.masters().len()));
        } else {
            self.bad(format!("only {covered} of {SLOTS} slots are served"));
        }
        for master in map.masters_without_replica() {
            self.doubtful(format!("the master {master} has no replica: its slots are gone when it is"));
        }
        for master in map.masters() {
            if let Some(link) = self.reach(&master).await {
                self.server(&link).await;
            }
        }
        true
    }

    async fn reach(&mut self, address: &Address) -> Option<Link> {
        self.reach_or(address, Verdict::Bad).await
    }

    async fn reach_or(&mut self, address: &Address, verdict: Verdict) -> Option<Link> {
        let dialing = timeout(DEADLINE, dial::dial(self.topology, address, None)).await;
        let link = dialing.unwrap_or_else(|_| Err(Error::unreachable(address, timed_out())));
        let answer = match &link {
            Ok(link) => link.ask::<()>(&redis::cmd("PING"), DISCOVERY).await,
            Err(error) => Err(error.clone()),
        };
        match answer {
            Ok(()) => {
                self.good(format!("{address} answers"));
                link.ok()
            }
            Err(error) => {
                self.findings.push(Finding { verdict, text: format!("{address}: {}", in_words(&error)) });
                None
            }
        }
    }

    /// Version and settings of a server.
    async fn server(&mut self, link: &Link) -> Info {
        let address = link.address();
        let info = match link.ask::<String>(&redis::cmd("INFO"), DISCOVERY).await {
            Ok(text) => Info(text),
            Err(error) => {
                self.doubtful(format!("{address}: version and settings can't be seen: {}", in_words(&error)));
                return Info(String::new());
            }
        };
        match info.version() {
            None => self.doubtful(format!("{address} does not say its version")),
            Some((name, version)) => {
                let text = format!("{address} is {name} {}.{}", version.0, version.1);
                if version < (6, 2) {
                    self.bad(format!("{text}: 6.2 is needed"));
                } else if self.needs.sharded && version < (7, 0) {
                    self.bad(format!("{text}: the sharded adapter needs 7.0, the classic one does not"));
                } else {
                    self.good(text);
                }
            }
        }
        if let Some(policy) = info.get("maxmemory_policy").filter(|policy| *policy != "noeviction") {
            self.doubtful(format!(
                "{address} has maxmemory-policy {policy}: when it is full it throws away messages and presence; use noeviction"
            ));
        }
        if info.get("aof_enabled") == Some("0") {
            self.doubtful(format!("{address} has no append-only file: a crash loses messages that were acknowledged"));
        }
        info
    }

    async fn permissions(&mut self) {
        let commands = Commands::new(self.topology);
        let Needs { sharded, key_prefix, channel_prefix } = self.needs;
        let channel = format!("{channel_prefix}#check#");
        self.tried("run scripts that write keys", writes(&commands, key_prefix).await);
        self.tried("run scripts that publish", publishes(&commands, key_prefix, &channel).await);
        let publish: Result<()> = commands.command(redis::cmd("PUBLISH").arg(&channel).arg("")).await;
        self.tried("publish", publish);
        let count: Result<Vec<redis::Value>> =
            commands.every_node(redis::cmd("PUBSUB").arg("NUMSUB").arg(&channel)).await;
        self.tried("count subscribers", count);

        let (pubsub, _events) = PubSub::start(self.topology, Limits::default());
        self.tried("subscribe to channels", pubsub.subscribe(&[&channel]).await);
        if sharded {
            self.tried("subscribe to sharded channels", pubsub.ssubscribe(&[&channel]).await);
        }
    }

    fn tried<T>(&mut self, what: &str, outcome: Result<T>) {
        match outcome {
            Ok(_) => self.good(format!("may {what}")),
            Err(error) if is_denied(&error) => {
                self.bad(format!("the user may not {what}: {}", in_words(&error)));
            }
            Err(error) => self.bad(format!("could not {what}: {}", in_words(&error))),
        }
    }
}

/// Every kind of write, under one key that is deleted in the end.
async fn writes(commands: &Commands, key_prefix: &str) -> Result<()> {
    let script = Script::new(
        "local k = KEYS[1] redis.call('DEL', k) \
         redis.call('SET', k, '1', 'PX', 1000) redis.call('DEL', k) redis.call('HSET', k, 'f', '1') redis.call('DEL', k) \
         redis.call('SADD', k, '1') redis.call('DEL', k) redis.call('ZADD', k, 1, '1') redis.call('DEL', k) \
         redis.call('XADD', k, '1-1', 'f', '1') redis.call('XRANGE', k, '-', '+') redis.call('PEXPIRE', k, 1000) \
         redis.call('TIME') return redis.call('DEL', k)",
    );
    commands.script::<i64>(&script.key(format!("{key_prefix}{{check}}"))).await.map(drop)
}

async fn publishes(commands: &Commands, key_prefix: &str, channel: &str) -> Result<()> {
    let script = Script::new("redis.call('PUBLISH', ARGV[1], '') return cmsgpack.pack(1)");
    commands.script::<Vec<u8>>(script.key(format!("{key_prefix}{{check}}")).arg(channel)).await.map(drop)
}

async fn asked_sentinel(topology: &Topology, sentinel: &Address, name: &str) -> Result<Address> {
    let dialing = timeout(DEADLINE, dial::connect(sentinel, topology.sentinel_access(), 0, None)).await;
    let link = dialing.unwrap_or_else(|_| Err(Error::unreachable(sentinel, timed_out())))?;
    let mut about = redis::cmd("SENTINEL");
    let found: Option<(String, u16)> = link.ask(about.arg("GET-MASTER-ADDR-BY-NAME").arg(name), DISCOVERY).await?;
    let (host, port) = found.ok_or_else(|| Error::Refused {
        what: sentinel.to_string(),
        source: (ErrorKind::MasterNameNotFoundBySentinel, "it knows no master of this name").into(),
    })?;
    Ok(Address::tcp(&host, port))
}

fn is(error: &Error, kind: ServerErrorKind) -> bool {
    error.cause().kind() == ErrorKind::Server(kind)
}

/// Within a script the server has no code for it.
fn is_denied(error: &Error) -> bool {
    is(error, ServerErrorKind::NoPerm)
        || error.cause().detail().is_some_and(|text| text.contains("user executing the script"))
}

/// The cause, and what to do about it where that can be told.
fn in_words(error: &Error) -> String {
    let cause = error.cause();
    let hint = match (cause.code(), cause.kind()) {
        (Some("NOAUTH"), _) => ": a password is needed, write user:password@ before the host",
        (Some("WRONGPASS"), _) | (_, ErrorKind::AuthenticationFailed) => ": check user and password",
        _ if cause.is_timeout() => ": no answer in time",
        _ if cause.is_connection_refusal() => ": nobody listens there",
        _ => "",
    };
    format!("{cause}{hint}")
}

/// The answer of `INFO`: lines of `name:value`.
struct Info(String);

impl Info {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    }

    /// Name, major and minor version. Valkey says for which Redis it can stand in, and its own version beside.
    fn version(&self) -> Option<(&'static str, (u32, u32))> {
        let parse = |text: &str| {
            let mut parts = text.split('.').map(str::parse);
            Some((parts.next()?.ok()?, parts.next()?.ok()?))
        };
        match self.get("valkey_version") {
            Some(version) => Some(("Valkey", parse(version)?)),
            None => Some(("Redis", parse(self.get("redis_version")?)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_a_server_says_of_itself() {
        let info = |text: &str| Info(text.to_owned());
        assert_eq!(info("# Server\r\nredis_version:6.2.14\r\nx:y\r\n").version(), Some(("Redis", (6, 2))));
        let valkey = info("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n");
        assert_eq!(valkey.version(), Some(("Valkey", (9, 1))));
        assert_eq!(info("redis_version:unstable").version(), None);
        assert_eq!(info("").version(), None);
    }
}
