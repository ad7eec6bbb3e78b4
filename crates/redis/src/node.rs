//! A connection for commands that is made when it is needed and replaced when it is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::RwLock;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    backoff::Backoff,
    dial::{self, Link},
    discover,
    error::{Error, Result, timed_out},
    limits::{DEADLINE, DISCOVERY, ELECTION_PAUSE},
    topology::{Address, Topology},
};

/// One server, or whoever is master now.
pub(crate) struct Node {
    topology: Topology,
    target: Target,
    /// The connection, while there is one.
    link: RwLock<Option<Arc<Link>>>,
    /// Held while connecting, so that callers share one attempt.
    attempts: Mutex<Attempts>,
    connects: Arc<AtomicU64>,
}

/// Whom to connect to.
pub(crate) enum Target {
    /// The server at this address.
    Server(Address),
    /// Whoever the Sentinels say is master at the time.
    Master,
}

struct Attempts {
    backoff: Backoff,
    /// Not before.
    next_attempt: Option<Instant>,
}

impl Node {
    pub(crate) fn new(topology: Topology, target: Target, connects: Arc<AtomicU64>) -> Self {
        let attempts = Mutex::new(Attempts { backoff: Backoff::new(), next_attempt: None });
        Self { topology, target, link: RwLock::default(), attempts, connects }
    }

    /// A connection that is not known to be broken. Without one, waits for the pause after a failed attempt, and makes one attempt.
    pub(crate) async fn link(&self) -> Result<Arc<Link>> {
        match self.good_link() {
            Some(link) => Ok(link),
            // Boxed, because every command has a future with room for this, and few need it.
            None => Box::pin(self.connected()).await,
        }
    }

    fn good_link(&self) -> Option<Arc<Link>> {
        self.link.read().as_ref().filter(|link| self.is_good(link)).map(Arc::clone)
    }

    async fn connected(&self) -> Result<Arc<Link>> {
        let mut attempts = self.attempts.lock().await;
        // Whoever waited finds it done.
        if let Some(link) = self.good_link() {
            return Ok(link);
        }
        // Dropped first, so that a failed attempt leaves no connection that is known to be broken.
        *self.link.write() = None;
        if let Some(next_attempt) = attempts.next_attempt {
            sleep_until(next_attempt).await;
        }
        // Counts as failed until it has not: a caller that gives up halfway leaves it so.
        let pause: Duration = attempts.backoff.next();
        let elective = self.topology.elects_masters();
        attempts.next_attempt = Some(Instant::now() + if elective { pause.min(ELECTION_PAUSE) } else { pause });
        // Where another server may take over, one that does not answer must not take the whole time of a caller.
        let connecting = timeout(if elective { DISCOVERY } else { DEADLINE }, self.connect());
        let connected = connecting.await.unwrap_or_else(|_| Err(self.no_answer()));
        let link = Arc::new(connected.inspect_err(|error| {
            tracing::debug!(%error, cause = %error.cause(), "could not connect to redis");
        })?);
        attempts.backoff.reset();
        attempts.next_attempt = None;
        self.connects.fetch_add(1, Ordering::AcqRel);
        *self.link.write() = Some(Arc::clone(&link));
        Ok(link)
    }

    /// Neither known to be broken nor to lead to a master that has been replaced.
    fn is_good(&self, link: &Link) -> bool {
        let replaced = || self.topology.sentinels().is_some_and(|sentinels| sentinels.is_replaced(link.address()));
        !link.is_broken() && (matches!(self.target, Target::Server(_)) || !replaced())
    }

    fn no_answer(&self) -> Error {
        match &self.target {
            Target::Server(address) => Error::unreachable(address, timed_out()),
            Target::Master => Error::unreachable("the master", timed_out()),
        }
    }

    async fn connect(&self) -> Result<Link> {
        match &self.target {
            Target::Server(address) => dial::dial(&self.topology, address, None).await,
            Target::Master => discover::dial_master(&self.topology, None).await,
        }
    }
}
