//! The node: what is built from what, and in which order it goes up and down.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use trunkline_adapter::{Cluster, ClusterOptions};
use trunkline_hub::{
    Hub,
    lanes::{Options, socketioxide::SocketioxideLane, websocket::WebSocketLane},
};
use trunkline_store::{Limits, LogLimits, NodeIdentity, Store};

use crate::{
    accept::{self, Entrance},
    auth::{self, Authenticator},
    config::{Auth, Config, Origins, Secret},
    domain::{self, Domain, Policy, PresencePolicy},
    drain,
    heart::Heart,
    http,
    realms::{self, Realms},
    rebalance::Rebalance,
    repair,
    resume::Streams,
    routing::{self, Routing, Tag},
};

/// How long a starting node waits for Redis before it serves without.
const FIRST_LINK: Duration = Duration::from_secs(5);

/// How long a request to other nodes of the cluster waits for answers.
const REQUESTS_TIMEOUT: Duration = Duration::from_secs(5);

/// Addresses that belong to nobody, somewhere beyond this machine.
const DOCUMENTATION_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const DOCUMENTATION_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// A node that serves.
#[derive(Debug)]
pub struct Node {
    pub(crate) hub: Hub,
    pub(crate) lanes: Lanes,
    pub(crate) domain: Arc<Domain>,
    pub(crate) realms: Arc<Realms>,
    pub(crate) cluster: Cluster,
    pub(crate) store: Store,
    pub(crate) shared: http::Shared,
    pub(crate) routing: Routing,
    pub(crate) presence_grace: Duration,
    pub(crate) drain_window: Duration,
    pub(crate) drain_timeout: Duration,
    /// Stops what accepts.
    pub(crate) stop_accepting: CancellationToken,
    /// Stops what renews the lease, last of all.
    pub(crate) stop_heartbeat: CancellationToken,
    pub(crate) connections: TaskTracker,
    pub(crate) tasks: TaskTracker,
    address: SocketAddr,
}

impl Node {
    /// Builds a node and begins to serve. The first line it logs says where.
    ///
    /// # Errors
    /// An address can't be listened on, or a namespace's dialect can't be had.
    pub async fn start(config: Config, metrics: PrometheusHandle) -> anyhow::Result<Self> {
        let listener = listen(config.listen)?;
        let address = listener.local_addr().context("could not read the address that was bound")?;
        let internal = match config.internal_listen {
            Some(address) => Some(listen(address)?),
            None => None,
        };
        announce(&config, address, internal.as_ref());

        let hub = Hub::new();
        let cluster = Cluster::start(
            hub.clone(),
            ClusterOptions {
                mode: config.adapter,
                redis: config.redis.clone(),
                prefix: config.channel_prefix.clone(),
                uid: uid(),
                requests_timeout: REQUESTS_TIMEOUT,
                specific_response_channel: false,
                gather: config.flush_delay,
            },
        );
        let reached_at = internal.as_ref().and_then(|listener| listener.local_addr().ok()).unwrap_or(address);
        let identity = identity(&config, reached_at);
        let own = Tag::of(&identity.id, &identity.epoch);
        let store = store(&config, &cluster, identity);
        let (streams, behind) = Streams::new(cluster.state());
        cluster.deliver_stored_by(Arc::clone(&streams) as _);
        let domain = domain(&config, &cluster, &store, &streams);
        let realms = Arc::new(Realms::new(&config, &domain));
        domain.tasks.spawn(repair::run(
            Arc::clone(&realms),
            streams,
            hub.clone(),
            behind,
            cluster.state(),
            domain.closing.clone(),
        ));
        realms.open_static(&hub);
        let (tasks, stop_accepting) = (TaskTracker::new(), CancellationToken::new());
        realms.start_heartbeats(&hub, &tasks, &stop_accepting);
        let lanes = Lanes::new(&hub, &config);
        realms.open_dynamic(&hub, &lanes);
        let routing = Routing::new(routing::Parts {
            own,
            secret: config.cluster_secret.clone(),
            hub: hub.clone(),
            lanes: lanes.clone(),
            nodes: Arc::clone(&store.nodes),
            max_payload: config.max_payload,
            longest_poll: config.ping_interval + config.ping_timeout,
        });
        let shared = http::Shared::new(http::Parts {
            node_id: config.node_id.clone(),
            auth_mode: domain.authenticator().mode(),
            demo_secret: demo_secret(&config),
            api_key: config.api_key.clone(),
            hub: hub.clone(),
            cluster: cluster.clone(),
            domain: Arc::clone(&domain),
            realms: Arc::clone(&realms),
            routing: routing.clone(),
            metrics,
        });
        if !cluster.ready(FIRST_LINK).await {
            tracing::warn!("Redis is not there yet, serving without the other nodes until it is");
        }
        let node = Self {
            hub,
            lanes,
            domain,
            realms,
            cluster,
            store,
            shared,
            routing,
            presence_grace: config.presence_grace,
            drain_window: config.drain_window,
            drain_timeout: config.drain_timeout,
            stop_accepting,
            stop_heartbeat: CancellationToken::new(),
            connections: TaskTracker::new(),
            tasks,
            address,
        };
        let heart = Heart::of(&node);
        heart.beat().await;
        heart.look_around().await;
        node.serve(config, listener, internal, heart);
        Ok(node)
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `signal`, or until the node is asked to drain, then takes it down. Whether everything came to its end in
    /// time.
    pub async fn run(self, signal: impl Future<Output = ()>) -> bool {
        tokio::select! {
            () = signal => {}
            () = self.routing.drain_asked() => {}
        }
        drain::drain(self).await
    }

    fn serve(&self, config: Config, listener: TcpListener, internal: Option<TcpListener>, heart: Heart) {
        let unacknowledged = config.ping_interval + config.ping_timeout;
        let origins = http::OriginPolicy::new(config.origins);
        let public = Entrance {
            shortcut: http::Shortcut::new(self.shared.clone(), origins.clone()),
            router: http::public(self.shared.clone(), origins, internal.is_none()),
            pace: config.accept_rate,
        };
        let operators = || Entrance { shortcut: None, router: http::internal(self.shared.clone()), pace: None };
        let listeners = std::iter::once((listener, public)).chain(internal.map(|listener| (listener, operators())));
        for (listener, entrance) in listeners {
            let (connections, stop) = (self.connections.clone(), self.stop_accepting.clone());
            self.tasks.spawn(accept::serve(listener, entrance, unacknowledged, connections, stop));
        }
        let (domain, stop) = (Arc::clone(&self.domain), self.stop_heartbeat.clone());
        self.tasks.spawn(async move { domain.watch_tokens(stop).await });
        let stop = self.stop_heartbeat.clone();
        self.tasks.spawn(async move { heart.beat_until(stop).await });
        if let Some(share) = config.rebalance {
            let rebalance = Rebalance {
                share,
                hub: self.hub.clone(),
                nodes: Arc::clone(&self.store.nodes),
                routing: self.routing.clone(),
            };
            let stop = self.stop_heartbeat.clone();
            self.tasks.spawn(async move { rebalance.until(stop).await });
        }
    }
}

/// How clients get in.
#[derive(Clone, Debug)]
pub struct Lanes {
    /// For those that open a WebSocket straight away, unless it is switched off.
    pub websocket: Option<WebSocketLane>,
    /// For all others.
    pub socketioxide: SocketioxideLane,
}

impl Lanes {
    fn new(hub: &Hub, config: &Config) -> Self {
        let options = Options {
            ping_interval: config.ping_interval,
            ping_timeout: config.ping_timeout,
            max_payload: config.max_payload,
            polling: config.polling,
            websocket: config.websocket,
            outbox_bytes: config.outbox_limit,
            stall_timeout: config.stall_timeout,
            flush_delay: config.flush_delay,
            flushers: config.workers.map_or_else(|| Options::default().flushers, NonZeroUsize::get),
        };
        Self {
            websocket: config.websocket_lane.then(|| WebSocketLane::new(hub.clone(), &options)),
            socketioxide: SocketioxideLane::new(hub, &options),
        }
    }

    /// Waits until nobody is connected any more. The sockets are closed already, and nothing comes in.
    pub(crate) async fn close(&self) {
        if let Some(lane) = &self.websocket {
            lane.close().await;
        }
        self.socketioxide.closed().await;
    }
}

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    accept::listen(address).with_context(|| format!("could not listen on {address}"))
}

fn announce(config: &Config, address: SocketAddr, internal: Option<&TcpListener>) {
    let internal_address = internal.and_then(|listener| listener.local_addr().ok());
    tracing::info!(
        %address,
        internal_address = internal_address.map(tracing::field::display),
        node_id = config.node_id,
        version = crate::VERSION,
        "listening"
    );
    if internal.is_none() && !address.ip().is_loopback() {
        tracing::warn!("/metrics is on the public listener, set --internal-listen to move it");
    }
    if matches!(config.auth, Auth::InsecureQuery) {
        tracing::warn!("--auth insecure-query believes whatever user id a client names, use it for development only");
    }
    if config.demo_tokens {
        tracing::warn!("--demo-tokens lets anyone have a token for any user, use it for development only");
    }
    if config.redis.is_none() {
        tracing::info!("no Redis is configured: this node runs by itself and keeps everything in memory");
    }
    if !http::are_built() {
        tracing::warn!("this binary was built without pages: no demo and no client bundle are served");
    }
}

fn identity(config: &Config, reached_at: SocketAddr) -> NodeIdentity {
    NodeIdentity {
        id: config.node_id.clone(),
        epoch: format!("{:016x}", rand::random::<u64>()),
        advertise: config.advertise.clone().or_else(|| Some(reachable(reached_at).to_string())),
        version: crate::VERSION.to_owned(),
    }
}

/// All addresses of a machine are no address to be reached at: the one it would use to reach others is.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    let (all, elsewhere) = match address {
        SocketAddr::V4(_) => (SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), SocketAddr::from((DOCUMENTATION_V4, 9))),
        SocketAddr::V6(_) => (SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), SocketAddr::from((DOCUMENTATION_V6, 9))),
    };
    if address.ip().is_unspecified() {
        // Connecting a UDP socket sends nothing, it only looks up the route.
        let route =
            UdpSocket::bind(all).and_then(|socket| socket.connect(elsewhere).and_then(|()| socket.local_addr()));
        address.set_ip(route.map_or_else(|_| Ipv4Addr::LOCALHOST.into(), |local| local.ip()));
    }
    address
}

fn store(config: &Config, cluster: &Cluster, identity: NodeIdentity) -> Store {
    let log = LogLimits { max_entries: config.log_max_entries, max_age: config.log_max_age };
    let stamps = config.connection_state_recovery;
    let limits = Limits { log, recovery_window: config.recovery_window, stamps };
    match &config.redis {
        Some(topology) => Store::redis(topology, identity, limits),
        None => {
            let cluster = cluster.clone();
            let publish = move |channel: &[u8], payload: &[u8]| cluster.inject(channel, payload);
            Store::memory(identity, Arc::new(publish), limits)
        }
    }
}

fn domain(config: &Config, cluster: &Cluster, store: &Store, streams: &Arc<Streams>) -> Arc<Domain> {
    let rules = auth::Rules { cookie: config.cookie.clone(), any_origin: config.origins == Origins::Any };
    Arc::new(Domain::new(domain::Parts {
        cluster: cluster.clone(),
        store: store.clone(),
        speakers: realms::static_speakers(config),
        authenticator: Authenticator::new(&config.auth, rules),
        policy: Policy {
            presence: PresencePolicy {
                broadcast: config.presence_broadcast,
                rate: config.presence_broadcast_rate,
                members_max: config.presence_broadcast_max,
                grace: config.presence_grace,
            },
            notify: config.notify,
            recovery: config.connection_state_recovery,
        },
        leeway: config.leeway,
        streams: Arc::clone(streams),
    }))
}

fn demo_secret(config: &Config) -> Option<Secret> {
    match &config.auth {
        Auth::Jwt(jwt) if config.demo_tokens => jwt.secret.clone(),
        _ => None,
    }
}

/// Names this process among the members of the Socket.IO cluster.
fn uid() -> String {
    format!("{:016x}", rand::random::<u64>())
}
