//! Subscriptions that heal by themselves, and one stream of what they bring.
//!
//! - [`queue`]: the way from the connections to whoever reads the events, bounded
//! - [`session`]: the connections of one time between two losses
//! - [`wanted`]: what should be subscribed to, and how far that has come
//! - here: the task that makes and keeps it so

mod queue;
mod session;
mod wanted;

use std::{fmt, sync::Arc};

use ahash::AHashSet;
use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use self::{
    queue::Queue,
    session::Session,
    wanted::{Sort, Standing, Wanted},
};
use crate::{
    backoff::Backoff,
    error::{Error, Result, timed_out},
    limits::{CHUNK, DEADLINE, PROBE, REQUESTS},
    topology::Topology,
};

pub use queue::{Events, Limits};

/// What happens on the subscribed channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Everything that was subscribed to is confirmed: from now on messages arrive. The first event, and the first after
    /// each [`Lost`](Self::Lost).
    Restored,
    /// Somebody published. Messages of one channel come in the order in which they were published.
    Message(Message),
    /// From now until the next [`Restored`](Self::Restored) messages may be missed, on all channels. Some may come
    /// before that, over the new connection; nothing comes twice.
    Lost(Lost),
}

/// A published message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub channel: Bytes,
    /// What was published.
    pub payload: Bytes,
    /// The pattern that it came by. Who subscribed to a channel and to a pattern that matches it gets two messages.
    pub pattern: Option<Bytes>,
}

/// Why messages may be missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lost {
    /// A connection was closed, by Redis or by the network.
    Closed,
    /// Redis does not answer.
    Unresponsive,
    /// No connection could be made.
    Unreachable,
    /// Another server is master now, or a slot has another node.
    Moved,
    /// Redis refused a subscription that it had allowed before, or the connection: a password, a permission.
    Refused,
    /// Events were not taken fast enough, and the [`Limits`] were reached.
    Lagging,
}

impl Lost {
    /// Its name in metrics and logs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Unresponsive => "unresponsive",
            Self::Unreachable => "unreachable",
            Self::Moved => "moved",
            Self::Refused => "refused",
            Self::Lagging => "lagging",
        }
    }

    fn of(error: &Error) -> Self {
        match error {
            Error::Unreachable { source, .. } if source.is_timeout() => Self::Unresponsive,
            Error::Unreachable { .. } => Self::Unreachable,
            Error::Unconfirmed { source, .. } if source.is_timeout() => Self::Unresponsive,
            Error::Unconfirmed { .. } => Self::Closed,
            Error::Busy { .. } => Self::Moved,
            Error::Refused { .. } | Error::Unexpected { .. } => Self::Refused,
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A dedicated subscription to channels, patterns and sharded channels of one Redis, over as many connections as that
/// takes: one; in a cluster one to any node, and one to each node that has the slot of a sharded channel.
///
/// It remembers what is wanted, and subscribes to all of it again whenever a connection is lost, a master or a slot moves.
/// There is doubt about everything then: all connections are replaced together, with one [`Event::Lost`] before
/// and one [`Event::Restored`] after.
///
/// Subscriptions are not counted: one unsubscribe undoes any number of subscribes to the same name. Sharded channels need
/// Redis 7. Clones share everything; the task and the connections end with the last clone or with
/// [`Events`].
#[derive(Clone)]
pub struct PubSub(Arc<Handle>);

struct Handle {
    wanted: Arc<Mutex<Wanted>>,
    requests: mpsc::Sender<Request>,
    _task: JoinSet<()>,
}

const SORTS: [Sort; 3] = [Sort::Pattern, Sort::Channel, Sort::Sharded];

/// Names whose place in `wanted` has changed, and who waits until Redis knows.
struct Request {
    sort: Sort,
    names: Vec<Arc<str>>,
    done: oneshot::Sender<Result<()>>,
}

impl PubSub {
    /// Starts to connect. Nothing is subscribed to yet.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start(topology: &Topology, limits: Limits) -> (Self, Events) {
        let (queue, events) = queue::new(limits);
        let (requests, asked) = mpsc::channel(REQUESTS);
        let wanted = Arc::new(Mutex::new(Wanted::default()));
        let keeper = Keeper { topology: topology.clone(), wanted: Arc::clone(&wanted), queue: Arc::new(queue), asked };
        let mut task = JoinSet::new();
        task.spawn(keeper.run());
        (Self(Arc::new(Handle { wanted, requests, _task: task })), events)
    }

    /// Subscribes, and returns when Redis has confirmed. Messages may arrive a moment before. Many calls at a time share a
    /// round trip.
    ///
    /// # Errors
    /// Refused: some of `channels` are not allowed. These are dropped, the others are subscribed to. With any other error all
    /// stay wanted, and are subscribed to as soon as there is a connection.
    pub async fn subscribe<S: AsRef<str>>(&self, channels: &[S]) -> Result<()> {
        self.change(Sort::Channel, channels, true).await
    }

    /// Unsubscribes, and returns when Redis has confirmed: then nothing of these channels arrives any more.
    ///
    /// # Errors
    /// There is no connection at the time, so nothing arrives and nothing will.
    pub async fn unsubscribe<S: AsRef<str>>(&self, channels: &[S]) -> Result<()> {
        self.change(Sort::Channel, channels, false).await
    }

    /// Like [`subscribe`](Self::subscribe), to all channels that match patterns.
    ///
    /// # Errors
    /// As of [`subscribe`](Self::subscribe).
    pub async fn psubscribe<S: AsRef<str>>(&self, patterns: &[S]) -> Result<()> {
        self.change(Sort::Pattern, patterns, true).await
    }

    /// Undoes [`psubscribe`](Self::psubscribe).
    ///
    /// # Errors
    /// As of [`unsubscribe`](Self::unsubscribe).
    pub async fn punsubscribe<S: AsRef<str>>(&self, patterns: &[S]) -> Result<()> {
        self.change(Sort::Pattern, patterns, false).await
    }

    /// Like [`subscribe`](Self::subscribe), to sharded channels (`SPUBLISH`), on the nodes that have their slots.
    ///
    /// # Errors
    /// As of [`subscribe`](Self::subscribe).
    pub async fn ssubscribe<S: AsRef<str>>(&self, channels: &[S]) -> Result<()> {
        self.change(Sort::Sharded, channels, true).await
    }

    /// Undoes [`ssubscribe`](Self::ssubscribe).
    ///
    /// # Errors
    /// As of [`unsubscribe`](Self::unsubscribe).
    pub async fn sunsubscribe<S: AsRef<str>>(&self, channels: &[S]) -> Result<()> {
        self.change(Sort::Sharded, channels, false).await
    }

    async fn change<S: AsRef<str>>(&self, sort: Sort, names: &[S], wanted: bool) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(name.as_ref())).collect();
        {
            let mut all = self.0.wanted.lock();
            for name in &names {
                if wanted {
                    all.add(sort, name);
                } else {
                    all.of(sort).remove(name);
                }
            }
        }
        let (done, outcome) = oneshot::channel();
        let request = Request { sort, names, done };
        let asking = async { self.0.requests.send(request).await.is_ok().then_some(outcome.await.ok()).flatten() };
        match timeout(DEADLINE, asking).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) | Err(_) => Err(Error::unreachable("the subscription", timed_out())),
        }
    }
}

impl fmt::Debug for PubSub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PubSub").finish_non_exhaustive()
    }
}

/// Keeps what is wanted subscribed to, over as many sessions as that takes.
struct Keeper {
    topology: Topology,
    wanted: Arc<Mutex<Wanted>>,
    queue: Arc<Queue>,
    asked: mpsc::Receiver<Request>,
}

/// A connection that lived this long is followed by a short pause again.
const STABLE: std::time::Duration = std::time::Duration::from_secs(5);

impl Keeper {
    /// Ends when nobody reads the events any more; the last [`PubSub`] aborts it.
    async fn run(mut self) {
        let mut backoff = Backoff::new();
        let mut told = false;
        loop {
            let started = Instant::now();
            let ended = self.session(&mut told).await;
            if self.queue.is_closed() {
                return;
            }
            tracing::debug!(cause = %ended, "subscribed connection lost");
            if told {
                self.queue.event(Event::Lost(ended));
                told = false;
            }
            if started.elapsed() >= STABLE {
                backoff.reset();
            }
            self.queue.drained().await;
            sleep(backoff.next()).await;
        }
    }

    /// From connecting to the loss. `told` says that [`Event::Restored`] was sent.
    async fn session(&mut self, told: &mut bool) -> Lost {
        let connecting = timeout(DEADLINE, Session::connect(&self.topology, &self.queue));
        let mut session = match connecting.await {
            Ok(Ok(session)) => session,
            Ok(Err(error)) => {
                tracing::debug!(%error, cause = %error.cause(), "could not connect to subscribe");
                return Lost::of(&error);
            }
            Err(_) => return Lost::Unresponsive,
        };
        let (mut lost, replaced) = (session.lost(), session.replaced());
        let queue = Arc::clone(&self.queue);
        tokio::select! {
            biased;
            () = queue.closed() => Lost::Closed,
            why = lost.wait() => why,
            () = replaced => Lost::Moved,
            error = self.keep(&mut session, told) => Lost::of(&error),
        }
    }

    async fn keep(&mut self, session: &mut Session, told: &mut bool) -> Error {
        if let Err(error) = self.subscribe_all(session).await {
            return error;
        }
        *told = true;
        self.queue.event(Event::Restored);
        let mut probe = Instant::now() + PROBE;
        loop {
            let outcome = tokio::select! {
                request = self.asked.recv() => match request {
                    Some(request) => self.answer(session, request).await,
                    None => std::future::pending().await,
                },
                () = tokio::time::sleep_until(probe) => {
                    probe = Instant::now() + PROBE;
                    session.probe().await
                }
            };
            if let Err(error) = outcome {
                return error;
            }
        }
    }

    /// Everything that is wanted, in a session that has nothing yet.
    async fn subscribe_all(&self, session: &mut Session) -> Result<()> {
        for sort in SORTS {
            let names = self.wanted.lock().names(sort);
            self.subscribe(session, sort, &names).await?;
        }
        Ok(())
    }

    /// Does what `first` and all others that wait by now ask for. An error ends the session; a refusal is the asker's.
    async fn answer(&mut self, session: &mut Session, first: Request) -> Result<()> {
        let mut requests = vec![first];
        while let Ok(request) = self.asked.try_recv() {
            requests.push(request);
        }
        let mut outcome = Ok(());
        for sort in SORTS {
            let named = requests.iter().filter(|request| request.sort == sort).flat_map(|request| &request.names);
            let named: AHashSet<Arc<str>> = named.cloned().collect();
            if !named.is_empty() && outcome.is_ok() {
                outcome = self.reconcile(session, sort, named).await;
            }
        }
        let mut wanted = self.wanted.lock();
        let refusals: Vec<Option<Error>> =
            requests.iter().map(|request| wanted.refusal(request.sort, &request.names)).collect();
        for (request, refusal) in requests.into_iter().zip(refusals) {
            wanted.forget_refused(request.sort, &request.names);
            let answer = refusal.map_or_else(|| outcome.clone(), Err);
            let _ = request.done.send(answer);
        }
        outcome
    }

    /// Subscribes to those of `named` that are wanted now, unsubscribes from the others.
    async fn reconcile(&self, session: &mut Session, sort: Sort, named: AHashSet<Arc<str>>) -> Result<()> {
        let (on, off): (Vec<_>, Vec<_>) = {
            let mut wanted = self.wanted.lock();
            let wanted = wanted.of(sort);
            let named = named.into_iter().filter(|name| !matches!(wanted.get(name), Some(Standing::Refused(_))));
            named.partition(|name| wanted.contains_key(name))
        };
        self.subscribe(session, sort, &on).await?;
        for names in off.chunks(CHUNK) {
            // Nobody may be forbidden to unsubscribe.
            session.change(sort, names, false).await?;
        }
        Ok(())
    }

    async fn subscribe(&self, session: &mut Session, sort: Sort, names: &[Arc<str>]) -> Result<()> {
        for names in names.chunks(CHUNK) {
            let refused = session.change(sort, names, true).await?;
            self.wanted.lock().answered(sort, names, refused)?;
        }
        Ok(())
    }
}

/// All links of a session at once.
async fn all<T>(asked: impl IntoIterator<Item = impl Future<Output = Result<T>>>) -> Result<Vec<T>> {
    join_all(asked).await.into_iter().collect()
}
