//! The way to Redis and back: one subscription that listens, one connection that publishes. Both heal by themselves
//! (`trunkline_redis`); here is what they are for.
//!
//! - [`subscriber`]: listens to the channels of every served namespace and handles what comes, in order
//! - [`publisher`]: publishes what is queued, in order and in batches
//! - [`queue`]: what waits to be published
//! - [`probe`]: messages to ourselves, so that a connection which hears nothing is noticed

pub(crate) mod probe;
pub(crate) mod publisher;
pub(crate) mod queue;
pub(crate) mod subscriber;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Instant,
};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use trunkline_redis::{Error, Lost};

pub use self::probe::LastProbe;
use crate::metrics;

/// How this node is joined to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// There is no Redis: this node is the whole cluster.
    Embedded,
    /// The first connection is being made.
    Connecting,
    /// Messages go both ways.
    Connected {
        /// Since when. After a [`Degraded`](Self::Degraded), what other nodes sent before may have been missed.
        since: Instant,
    },
    /// Messages of other nodes are being missed, or ours wait. Local delivery goes on.
    Degraded {
        /// Since when.
        since: Instant,
        /// What happened first.
        why: Trouble,
    },
}

/// What is wrong with a connection to Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It can't be made.
    Unreachable,
    /// Redis closed it, or the network did.
    Lost,
    /// Redis did not answer in time.
    Unresponsive,
    /// This node could not keep up with what it received, and gave the connection up to start over.
    Lagging,
    /// Another server is master now, or will be in a moment.
    Moved,
    /// What this node published did not come back, although Redis took it.
    Deaf,
    /// Redis answered with an error: a missing permission, for example.
    Rejected,
    /// The cluster was left.
    Closed,
}

impl Trouble {
    /// Its name in metrics and logs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
            Self::Unresponsive => "unresponsive",
            Self::Lagging => "lagging",
            Self::Moved => "moved",
            Self::Deaf => "deaf",
            Self::Rejected => "rejected",
            Self::Closed => "closed",
        }
    }

    fn of(error: &Error) -> Self {
        let timed_out = error.cause().is_timeout();
        match error {
            Error::Unreachable { .. } | Error::Unconfirmed { .. } if timed_out => Self::Unresponsive,
            Error::Unreachable { .. } => Self::Unreachable,
            Error::Unconfirmed { .. } => Self::Lost,
            Error::Busy { .. } => Self::Moved,
            Error::Refused { .. } | Error::Unexpected { .. } => Self::Rejected,
        }
    }
}

impl From<Lost> for Trouble {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Closed => Self::Lost,
            Lost::Unresponsive => Self::Unresponsive,
            Lost::Unreachable => Self::Unreachable,
            Lost::Moved => Self::Moved,
            Lost::Refused => Self::Rejected,
            Lost::Lagging => Self::Lagging,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// One of the two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Subscriber,
    Publisher,
}

impl Side {
    fn label(self) -> &'static str {
        match self {
            Self::Subscriber => "subscriber",
            Self::Publisher => "publisher",
        }
    }
}

/// What is known about both connections, for everyone who wants to know.
#[derive(Debug)]
pub(crate) struct Status {
    sides: Mutex<Sides>,
    state: watch::Sender<LinkState>,
    /// Counts up with each change of `namespaces`, so that `ready` can wait for one.
    subscriptions: watch::Sender<u64>,
    /// Wakes the subscriber: there is a namespace to subscribe for, or one less.
    served: Notify,
}

#[derive(Debug, Default)]
struct Sides {
    subscriber: bool,
    publisher: bool,
    /// Whether Redis has confirmed the subscriptions of each served namespace, on the present connection.
    namespaces: BTreeMap<Arc<str>, bool>,
    /// No longer served, and perhaps still subscribed for.
    ended: BTreeSet<Arc<str>>,
}

impl Status {
    pub(crate) fn new(state: LinkState) -> Self {
        Self {
            sides: Mutex::default(),
            state: watch::Sender::new(state),
            subscriptions: watch::Sender::new(0),
            served: Notify::new(),
        }
    }

    pub(crate) fn state(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    /// Adds a namespace to those that are subscribed for, now and after every reconnect.
    pub(crate) fn serve(&self, namespace: &str) {
        self.sides.lock().namespaces.entry(namespace.into()).or_insert(false);
        self.served.notify_one();
    }

    /// Takes a namespace from those that are subscribed for.
    pub(crate) fn unserve(&self, namespace: &str) {
        {
            let mut sides = self.sides.lock();
            if let Some((name, _)) = sides.namespaces.remove_entry(namespace) {
                sides.ended.insert(name);
            }
        }
        self.served.notify_one();
        self.changed();
    }

    /// Whether messages for `namespace` arrive.
    pub(crate) fn hears(&self, namespace: &str) -> bool {
        self.sides.lock().namespaces.get(namespace).copied().unwrap_or(false)
    }

    /// Whether this connection does all that it is there for.
    pub(crate) fn is_up(&self, side: Side) -> bool {
        *self.sides.lock().side(side)
    }

    /// Returns once both connections work and every subscription is confirmed.
    pub(crate) async fn ready(&self) {
        let mut subscriptions = self.subscriptions.subscribe();
        loop {
            subscriptions.borrow_and_update();
            if self.sides.lock().is_ready() {
                return;
            }
            // The sender is in `self`, so there is always another change to wait for.
            let _ = subscriptions.changed().await;
        }
    }

    /// Whether the subscriber is up, with every namespace confirmed.
    fn is_subscribed(&self) -> bool {
        let sides = self.sides.lock();
        sides.subscriber && sides.namespaces.values().all(|confirmed| *confirmed)
    }

    fn unconfirmed(&self) -> Vec<Arc<str>> {
        let sides = self.sides.lock();
        sides.namespaces.iter().filter(|(_, confirmed)| !**confirmed).map(|(name, _)| Arc::clone(name)).collect()
    }

    fn namespaces(&self) -> Vec<Arc<str>> {
        self.sides.lock().namespaces.keys().cloned().collect()
    }

    /// Namespaces to unsubscribe for. One that is served again meanwhile has to be subscribed for after that.
    fn take_ended(&self) -> Vec<Arc<str>> {
        let mut sides = self.sides.lock();
        let ended = std::mem::take(&mut sides.ended);
        for namespace in &ended {
            sides.namespaces.entry(Arc::clone(namespace)).and_modify(|confirmed| *confirmed = false);
        }
        ended.into_iter().collect()
    }

    fn confirm(&self, namespaces: &[Arc<str>]) {
        {
            let mut sides = self.sides.lock();
            for namespace in namespaces {
                // It may have ended meanwhile.
                sides.namespaces.entry(Arc::clone(namespace)).and_modify(|confirmed| *confirmed = true);
            }
        }
        self.changed();
    }

    fn up(&self, side: Side) {
        let both = {
            let mut sides = self.sides.lock();
            *sides.side(side) = true;
            sides.subscriber && sides.publisher
        };
        metrics::link(side.label(), true);
        if both {
            self.state.send_if_modified(|state| match state {
                LinkState::Connecting | LinkState::Degraded { .. } => {
                    tracing::info!("joined to the cluster");
                    *state = LinkState::Connected { since: Instant::now() };
                    true
                }
                LinkState::Connected { .. } | LinkState::Embedded => false,
            });
        }
        self.changed();
    }

    fn down(&self, side: Side, why: Trouble) {
        {
            let mut sides = self.sides.lock();
            *sides.side(side) = false;
            if side == Side::Subscriber {
                sides.namespaces.values_mut().for_each(|confirmed| *confirmed = false);
            }
        }
        metrics::link(side.label(), false);
        if why != Trouble::Closed {
            metrics::link_lost(side.label(), why.code());
        }
        self.state.send_if_modified(|state| match state {
            LinkState::Connected { .. } => {
                *state = LinkState::Degraded { since: Instant::now(), why };
                true
            }
            // A node that never was connected is told so while it tries; the first trouble stays the cause.
            LinkState::Connecting | LinkState::Degraded { .. } | LinkState::Embedded => false,
        });
        self.changed();
    }

    fn changed(&self) {
        self.subscriptions.send_modify(|version| *version = version.wrapping_add(1));
    }
}

impl Sides {
    fn side(&mut self, side: Side) -> &mut bool {
        match side {
            Side::Subscriber => &mut self.subscriber,
            Side::Publisher => &mut self.publisher,
        }
    }

    fn is_ready(&self) -> bool {
        self.subscriber && self.publisher && self.namespaces.values().all(|confirmed| *confirmed)
    }
}
