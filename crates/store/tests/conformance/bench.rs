//! A store under test, and what it publishes.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use trunkline_redis::{Commands, Event, Events, Limits as LinkLimits, PubSub, Topology};
use trunkline_store::{Limits, LogLimits, NodeIdentity, Store};
use trunkline_testkit::RedisServer;

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Channel and payload.
pub(crate) type Published = (Vec<u8>, Vec<u8>);

/// How the store of a [`Bench`] is made.
enum Backend {
    Memory(mpsc::UnboundedSender<Published>),
    Redis(Topology),
}

/// A store of one node, alone in its world.
pub(crate) struct Bench {
    pub(crate) store: Store,
    backend: Backend,
    published: mpsc::UnboundedReceiver<Published>,
    _subscriber: JoinSet<()>,
    server: Option<RedisServer>,
}

impl Bench {
    pub(crate) fn memory() -> Self {
        let (sender, published) = mpsc::unbounded_channel();
        let backend = Backend::Memory(sender);
        Self {
            store: backend.store(LogLimits::default()),
            backend,
            published,
            _subscriber: JoinSet::new(),
            server: None,
        }
    }

    /// In a server of its own.
    pub(crate) async fn redis() -> Self {
        let server = RedisServer::start().await;
        let bench = Self::at(&server.url()).await;
        Self { server: Some(server), ..bench }
    }

    /// In a Redis that is there already, and empty.
    pub(crate) async fn at(url: &str) -> Self {
        let topology: Topology = url.parse().unwrap();
        let (sender, published) = mpsc::unbounded_channel();
        let (pubsub, mut events) = PubSub::start(&topology, LinkLimits::default());
        pubsub.psubscribe(&["*"]).await.unwrap();
        skip_what_is_on_its_way(&topology, &mut events).await;
        let mut subscriber = JoinSet::new();
        subscriber.spawn(async move {
            // Held as long as anybody reads.
            let _pubsub = pubsub;
            while let Some(event) = events.next().await {
                if let Event::Message(message) = event {
                    let _ = sender.send((message.channel.to_vec(), message.payload.to_vec()));
                }
            }
        });
        let backend = Backend::Redis(topology);
        Self { store: backend.store(LogLimits::default()), backend, published, _subscriber: subscriber, server: None }
    }

    /// The same place, with other limits.
    pub(crate) fn with_limits(&self, limits: impl Into<Limits>) -> Store {
        self.backend.store(limits)
    }

    /// Whether there are several masters.
    pub(crate) fn is_cluster(&self) -> bool {
        matches!(&self.backend, Backend::Redis(topology) if topology.is_cluster())
    }

    /// Forgets all data of the server that was started for this.
    pub(crate) async fn empty(&self) {
        let server = self.server.as_ref().unwrap();
        let () = redis::cmd("FLUSHALL").query_async(&mut server.connection().await).await.unwrap();
    }

    /// The next `count` publications.
    pub(crate) async fn published(&mut self, count: usize) -> Vec<Published> {
        let mut all = Vec::new();
        while all.len() < count {
            all.push(self.published.recv().await.unwrap());
        }
        all
    }
}

impl Backend {
    fn store(&self, limits: impl Into<Limits>) -> Store {
        let node = NodeIdentity {
            id: "node-1".into(),
            epoch: "e1".into(),
            advertise: Some("127.0.0.1:1".into()),
            version: "1.2.3".into(),
        };
        match self {
            Self::Memory(sender) => {
                let sender = sender.clone();
                let publish = move |channel: &[u8], payload: &[u8]| {
                    let _ = sender.send((channel.to_vec(), payload.to_vec()));
                };
                Store::memory(node, Arc::new(publish), limits)
            }
            Self::Redis(topology) => Store::redis(topology, node, limits),
        }
    }
}

/// The nodes of a Cluster pass on to each other what was published, later than its own subscribers hear it: what a test
/// before this one published may still arrive. It comes before what its node publishes now.
async fn skip_what_is_on_its_way(topology: &Topology, events: &mut Events) {
    const MARK: &str = "bench:begin";
    let mark = rand::random::<u64>().to_string();
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(MARK).arg(&mark);
    let everywhere: Vec<u64> = Commands::new(topology).every_node(&publish).await.unwrap();
    let mut missing = everywhere.len();
    while missing > 0 {
        let Some(Event::Message(message)) = events.next().await else { continue };
        missing -= usize::from(message.channel == MARK && message.payload == mark.as_bytes());
    }
}

/// Runs a test, and fails it when it takes too long.
pub(crate) async fn within_deadline<T>(test: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(DEADLINE, test).await;
    outcome.unwrap_or_else(|_| panic!("the test did not end within {DEADLINE:?}"))
}
