//! Commands to whoever is responsible, over connections that are made when needed and replaced when lost.

mod batch;
mod cluster;
mod script;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::future::try_join_all;
use redis::{Cmd, FromRedisValue, RedisResult, Value, from_redis_value};
use tokio::time::{Instant, sleep, timeout_at};

use self::cluster::Cluster;
use crate::{
    dial::Link,
    error::{Error, Meaning, Result, timed_out},
    limits::{DEADLINE, REDIRECTS, RETRY_PAUSE},
    node::{Node, Target},
    script::Call,
    slots::slot_of,
    topology::{Address, Kind, Topology},
};

/// Pipelined connections for commands, shared by all clones: one to a single server or to the master that Sentinels name,
/// one to each node of a cluster that is needed. Nothing runs while nobody calls.
///
/// Every call is answered within [`DEADLINE`]. What was not carried out for certain is offered again within it: after a
/// redirection, while a cluster or Sentinels elect a new master, while a server loads its data. What was sent and
/// not confirmed is *not* sent again, because it may have been carried out, unless it is called
/// [`idempotent`](Self::idempotent).
#[derive(Clone)]
pub struct Commands(Arc<Shared>);

struct Shared {
    route: Route,
    connects: Arc<AtomicU64>,
}

enum Route {
    /// A single server.
    Server(Node),
    /// A master that may become another one.
    Master(Node),
    Cluster(Cluster),
}

/// May a command be sent that may have been carried out already?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Never,
    Harmless,
}

impl Commands {
    /// Connects at the first call.
    pub fn new(topology: &Topology) -> Self {
        let connects = Arc::new(AtomicU64::new(0));
        let node = |target| Node::new(topology.clone(), target, Arc::clone(&connects));
        let route = match topology.kind() {
            Kind::Single(address) => Route::Server(node(Target::Server(address.clone()))),
            Kind::Sentinel { .. } => Route::Master(node(Target::Master)),
            Kind::Cluster { seeds } => Route::Cluster(Cluster::new(topology, seeds, Arc::clone(&connects))),
        };
        Self(Arc::new(Shared { route, connects }))
    }

    /// How often a connection was made. If it has grown, a server may have restarted or another one become master in
    /// between, with less data than before.
    pub fn connects(&self) -> u64 {
        self.0.connects.load(Ordering::Acquire)
    }

    /// Sends a command to the node that has its first key; one without a key goes to always the same node, so that what one
    /// caller publishes keeps its order.
    ///
    /// # Errors
    /// [`Error::Unconfirmed`] says that it may have been carried out; after any other, it has not been.
    pub async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        converted(self.dispatch(command, self.slot_of(command), Again::Never, deadline()).await?)
    }

    /// Like [`command`](Self::command), for one that may be carried out twice: it is sent again after a lost
    /// connection, if there is time left.
    ///
    /// # Errors
    /// As of [`command`](Self::command).
    pub async fn idempotent<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        converted(self.dispatch(command, self.slot_of(command), Again::Harmless, deadline()).await?)
    }

    /// Runs a script on the node that has its first key (all its keys must be of one slot), loading it where it is not known.
    ///
    /// # Errors
    /// As of [`command`](Self::command).
    pub async fn script<T: FromRedisValue>(&self, call: &Call<'_>) -> Result<T> {
        converted(script::run(self, call, deadline()).await?)
    }

    /// Sends many commands in one round trip per node, and returns their answers in the order of the commands. Those of
    /// one slot are carried out in their order, and so are those without a key.
    pub async fn batch(&self, commands: &[Cmd]) -> Vec<Result<Value>> {
        batch::run(self, commands, deadline()).await
    }

    /// Sends a command to every server there is, replicas too, and returns all answers: for what each knows for itself
    /// alone, as `PUBSUB NUMSUB`. Without a cluster that is one server.
    ///
    /// # Errors
    /// That of any server; a node that is down makes it fail until the cluster has noticed.
    pub async fn every_node<T: FromRedisValue>(&self, command: &Cmd) -> Result<Vec<T>> {
        match &self.0.route {
            Route::Server(_) | Route::Master(_) => Ok(vec![self.command(command).await?]),
            Route::Cluster(cluster) => {
                let deadline = deadline();
                // Nothing tells of a replica that has joined.
                cluster.doubt();
                let everywhere = async {
                    let nodes = cluster.nodes().await?;
                    try_join_all(nodes.iter().map(async |node| {
                        let link = node.link().await?;
                        link.ask(command, deadline.saturating_duration_since(Instant::now())).await
                    }))
                    .await
                };
                let answer = timeout_at(deadline, everywhere).await;
                answer.unwrap_or_else(|_| Err(Error::unreachable("a node of the cluster", timed_out())))
            }
        }
    }

    /// Offers a command until it is carried out, refused, perhaps carried out, or late.
    async fn dispatch(&self, command: &Cmd, slot: Option<u16>, again: Again, deadline: Instant) -> Result<Value> {
        let mut progress = Progress::default();
        let outcome = {
            // Pinned here: to hand it over by value would be to copy all the room that it takes.
            let attempts = std::pin::pin!(self.attempts(command, slot, again, &mut progress));
            timeout_at(deadline, attempts).await
        };
        match outcome {
            Ok(outcome) => outcome,
            Err(_) => Err(self.late(progress)),
        }
    }

    async fn attempts(&self, command: &Cmd, slot: Option<u16>, again: Again, progress: &mut Progress) -> Result<Value> {
        let mut redirects = 0;
        let mut redirect = None;
        loop {
            let asking = matches!(redirect, Some(Redirect::Ask(_)));
            let link = match self.link(slot, redirect.take()).await {
                Ok(link) => progress.sending.insert(link),
                Err(error) if self.waits_for(&error) => {
                    self.doubt();
                    progress.failed = Some(error);
                    sleep(RETRY_PAUSE).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let answer = send(link, command, asking).await;
            let Some(link) = progress.sending.take() else { return Err(Error::unreachable("redis", timed_out())) };
            let error = match answer {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let meaning = Meaning::of(&error);
            let to = error.redirect_node().and_then(|(address, _)| Address::of_redirect(address));
            let error = Error::answered(link.address(), error);
            match meaning {
                Meaning::Shape | Meaning::No | Meaning::Full => return Err(error),
                Meaning::Moved | Meaning::Ask => {
                    redirects += 1;
                    if redirects > REDIRECTS || !matches!(self.0.route, Route::Cluster(_)) {
                        return Err(error);
                    }
                    redirect = match meaning {
                        Meaning::Ask => to.map(Redirect::Ask),
                        _ => {
                            self.doubt();
                            to.map(Redirect::Moved)
                        }
                    };
                }
                Meaning::Lost => {
                    self.lost(&link);
                    if again == Again::Never {
                        return Err(error);
                    }
                    sleep(RETRY_PAUSE).await;
                }
                Meaning::NotMaster => {
                    self.lost(&link);
                    sleep(RETRY_PAUSE).await;
                }
                Meaning::Later => sleep(RETRY_PAUSE).await,
            }
            progress.failed = Some(error);
        }
    }

    /// Where there are slots, that of a command.
    fn slot_of(&self, command: &Cmd) -> Option<u16> {
        if matches!(self.0.route, Route::Cluster(_)) { slot_of(command) } else { None }
    }

    /// A connection to whoever is responsible.
    async fn link(&self, slot: Option<u16>, redirect: Option<Redirect>) -> Result<Arc<Link>> {
        match (&self.0.route, redirect) {
            (Route::Server(node) | Route::Master(node), _) => node.link().await,
            (Route::Cluster(cluster), Some(Redirect::Moved(address) | Redirect::Ask(address))) => {
                cluster.node_at(&address).link().await
            }
            (Route::Cluster(cluster), None) => cluster.node_of(slot).await?.link().await,
        }
    }

    /// Whether a failure to connect may be mended within a deadline by those who elect masters.
    fn waits_for(&self, error: &Error) -> bool {
        error.retryable() && !matches!(self.0.route, Route::Server(_))
    }

    /// What is known of the slots may be out of date.
    fn doubt(&self) {
        if let Route::Cluster(cluster) = &self.0.route {
            cluster.doubt();
        }
    }

    /// This connection leads nowhere, or to somebody who is not responsible any more.
    fn lost(&self, link: &Link) {
        link.give_up();
        self.doubt();
    }

    /// The error of a call whose deadline has passed.
    fn late(&self, progress: Progress) -> Error {
        match progress {
            Progress { sending: Some(link), .. } => {
                self.lost(&link);
                Error::answered(link.address(), timed_out())
            }
            Progress { failed: Some(error), .. } => error,
            Progress { sending: None, failed: None } => {
                self.doubt();
                Error::unreachable("redis", timed_out())
            }
        }
    }
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commands").field("connects", &self.connects()).finish_non_exhaustive()
    }
}

/// How far a call has come.
#[derive(Default)]
struct Progress {
    /// The connection over which it was sent, while there is no answer.
    sending: Option<Arc<Link>>,
    /// What the last attempt ended with.
    failed: Option<Error>,
}

enum Redirect {
    Moved(Address),
    Ask(Address),
}

fn deadline() -> Instant {
    Instant::now() + DEADLINE
}

async fn send(link: &Link, command: &Cmd, asking: bool) -> RedisResult<Value> {
    let mut commands = link.commands();
    if !asking {
        return command.query_async(&mut commands).await;
    }
    // In one write, since others use this connection too.
    let mut pipeline = redis::Pipeline::with_capacity(2);
    pipeline.cmd("ASKING").add_command(command.clone());
    let answers = commands.send_packed_commands(&pipeline, 1, 1).await?;
    answers.into_iter().next().unwrap_or(Value::Nil).extract_error()
}

fn converted<T: FromRedisValue>(value: Value) -> Result<T> {
    from_redis_value(value).map_err(|source| Error::Unexpected { source: source.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thousands of commands may wait at a time, each in the task of a socket.
    const LARGEST: usize = 2560;

    #[test]
    fn a_command_that_waits_takes_little_room() {
        let topology: Topology = "redis://127.0.0.1:1".parse().unwrap();
        let (commands, ping) = (Commands::new(&topology), redis::cmd("PING"));
        let script = crate::Script::new("return 1");
        let call = script.call();
        for size in [
            size_of_val(&commands.command::<Value>(&ping)),
            size_of_val(&commands.idempotent::<Value>(&ping)),
            size_of_val(&commands.script::<Value>(&call)),
            size_of_val(&commands.batch(&[])),
        ] {
            assert!(size <= LARGEST, "{size} bytes");
        }
    }
}
