//! A way to Redis that counts what comes back, and can keep messages from coming.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use trunkline_redis::Topology;
use trunkline_testkit::RedisServer;

/// Ends with its connections when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct State {
    bytes: AtomicU64,
    deaf: AtomicBool,
    delay_ms: AtomicU64,
}

impl Proxy {
    pub async fn start(redis: &RedisServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let (state, target) = (Arc::new(State::default()), redis.port());
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let state = Arc::clone(&state);
            async move {
                let mut connections = JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    connections.spawn(forward(client, target, Arc::clone(&state)));
                }
            }
        });
        Self { address, state, _tasks: tasks }
    }

    pub fn topology(&self) -> Topology {
        format!("redis://{}", self.address).parse().expect("a URL of one server")
    }

    /// Bytes that Redis sent so far.
    pub fn bytes(&self) -> u64 {
        self.state.bytes.load(Ordering::Relaxed)
    }

    /// How long each piece that Redis sends is under way.
    pub fn set_delay(&self, delay: Duration) {
        self.state.delay_ms.store(delay.as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether what is published is kept back; answers to commands still come.
    pub fn set_deaf(&self, deaf: bool) {
        self.state.deaf.store(deaf, Ordering::Relaxed);
    }
}

async fn forward(client: TcpStream, target: u16, state: Arc<State>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    };
    let down = async {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            state.bytes.fetch_add(length as u64, Ordering::Relaxed);
            // Messages come by themselves, in pieces of their own: the member is idle but for its probe.
            let chunk = &buffer[..length];
            let is_message = chunk.windows(7).any(|window| window == b"\r\nmessa" || window == b"\r\nsmess");
            let delay = state.delay_ms.load(Ordering::Relaxed);
            if delay > 0 {
                tokio::time::sleep(Duration::from_millis(delay)).await;
            }
            if state.deaf.load(Ordering::Relaxed) && is_message {
                continue;
            }
            if to_client.write_all(chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
