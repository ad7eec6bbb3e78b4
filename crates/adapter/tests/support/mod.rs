//! A member of a cluster as the gateway would make it: a hub that real clients connect to, and a `Cluster`.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod mixed;
pub mod node;
pub mod proxy;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::{Router, extract::Request};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use trunkline_adapter::{Cluster, ClusterOptions, Mode};
use trunkline_hub::{
    Close, CloseReason, Encoded, Event, Flush, Handler, Hub, Packet, Refusal, RoomName, Socket, Targets,
    lanes::{Options, Outbox, SendError, socketioxide::SocketioxideLane},
};
use trunkline_redis::Topology;
use trunkline_testkit::{Client, RedisServer, connect};

pub const SOON: Duration = Duration::from_secs(20);
pub const ROOT: &str = "/";

pub fn topology(redis: &RedisServer) -> Topology {
    redis.url().parse().expect("the URL of a test server is well-formed")
}

pub struct Peer {
    pub hub: Hub,
    pub cluster: Cluster,
    pub url: String,
    lane: SocketioxideLane,
    _server: JoinSet<()>,
}

impl Peer {
    /// A member that is joined already.
    pub async fn start(redis: &RedisServer) -> Self {
        Self::start_as(redis, Mode::default()).await
    }

    pub async fn start_as(redis: &RedisServer, mode: Mode) -> Self {
        let options = ClusterOptions { redis: Some(topology(redis)), mode, ..ClusterOptions::default() };
        let peer = Self::start_with(options).await;
        assert!(peer.cluster.ready(SOON).await, "the member did not join");
        peer
    }

    pub async fn start_with(options: ClusterOptions) -> Self {
        let hub = Hub::new();
        hub.add_namespace(ROOT, Arc::new(Quiet));
        let lane = SocketioxideLane::new(&hub, &Options::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound port"));
        let serving = lane.clone();
        let app = Router::new().fallback(async move |request: Request| serving.call(request).await);
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await.expect("the test's server runs") });
        Self { cluster: Cluster::start(hub.clone(), options), hub, url, lane, _server: server }
    }

    /// Lets clients connect to `/dynamic-…`, which is served from then on.
    pub fn serve_dynamic(&self) {
        let cluster = self.cluster.clone();
        self.hub.make_namespaces(move |name| {
            cluster.serve(name);
            Some(Arc::new(Quiet))
        });
        self.lane.serve_dynamic(&self.hub, "/dynamic-{name}").expect("a pattern");
    }

    /// A client of this member that is in `rooms`, and hears what is sent there.
    pub async fn client(&self, rooms: &[&str]) -> Client {
        self.client_of(ROOT, rooms).await
    }

    /// The same in another namespace.
    pub async fn client_of(&self, namespace: &str, rooms: &[&str]) -> Client {
        let client = connect(&self.url, namespace, Value::Null).await.expect("the member accepts clients");
        let socket = self.hub.namespace(namespace).and_then(|namespace| namespace.socket(client.sid()));
        join(&socket.expect("the socket is here"), rooms).await;
        client
    }

    /// Puts a client of this member into `rooms`, as the gateway would.
    pub async fn join(&self, client: &Client, rooms: &[&str]) {
        join(&self.socket(client.sid()), rooms).await;
    }

    pub fn socket(&self, id: &str) -> Socket {
        self.hub.namespace(ROOT).and_then(|namespace| namespace.socket(id)).expect("the socket is here")
    }

    /// Emits `[name, number]`.
    pub fn emit(&self, name: &str, number: u64, targets: &Targets) {
        self.cluster.emit(ROOT, Encoded::event(name, &number), targets, false);
    }
}

async fn join(socket: &Socket, rooms: &[&str]) {
    let rooms: Vec<RoomName> = rooms.iter().map(|&room| room.into()).collect();
    for room in &rooms {
        socket.join(Arc::clone(room));
    }
    assert!(socket.namespace().heard(&rooms).await, "the rooms are not heard");
}

/// Lets everyone in, and that is all.
pub struct Quiet;

#[async_trait]
impl Handler for Quiet {
    async fn connecting(&self, _: &Socket) -> Result<(), Refusal> {
        Ok(())
    }
    async fn connected(&self, _: &Socket) {}
    async fn event(&self, _: &Socket, _: Event) {}
    fn refused(&self, _: &Socket, _: Event) {}
    fn farewell(&self, _: &Socket, _: CloseReason) -> Option<Encoded> {
        None
    }
    async fn disconnected(&self, _: &Socket, _: CloseReason) {}
}

/// A client that reads at once: how many events it was sent.
#[derive(Default)]
pub struct Received(pub AtomicUsize);

impl Outbox for Received {
    fn send(&self, _: &Packet, _: bool, _: Flush) -> Result<(), SendError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
    fn send_with_id(&self, _: &Socket, _: &Packet, _: i64) -> Result<(), SendError> {
        Ok(())
    }
    fn send_ack(&self, _: i64, _: &Encoded) -> Result<(), SendError> {
        Ok(())
    }
    fn backlog(&self) -> usize {
        0
    }
    fn close(&self, _: Close, _: Option<&Packet>) {}
    fn transport(&self) -> &'static str {
        "test"
    }
}

/// The next event must be this one: nothing else came before it.
pub async fn expect(client: &mut Client, name: &str, args: Value) {
    let (event, got) = client.next_event(SOON).await;
    assert_eq!((event.as_str(), json!(got)), (name, args));
}
