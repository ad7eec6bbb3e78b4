//! Two nodes of a Socket.IO cluster in one program, for a Node server to be the third.
//!
//! Each in a terminal of its own, in the root of the repository:
//!
//!   redis-server --port 6379
//!   cargo run -p trunkline-adapter --example two_nodes -- redis://127.0.0.1:6379
//!   cd crates/adapter/tests/node && npm ci && node ../../examples/node-server.mjs redis://127.0.0.1:6379
//!
//! Then, with the packages that are installed now, a client of any of the three, and of as many as you like:
//!
//!   cd crates/adapter/tests/node && node ../../examples/client.mjs http://127.0.0.1:3001
//!   cd crates/adapter/tests/node && node ../../examples/client.mjs http://127.0.0.1:3003
//!
//! What is typed into one is printed by all. Any other Socket.IO client does as well: `join` with a room's name puts it into
//! that room, `say` with `{room, text}` sends `said` to everyone there, whichever server they are connected to.

use std::{process::ExitCode, sync::Arc};

use async_trait::async_trait;
use axum::{Router, extract::Request};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use trunkline_adapter::{Cluster, ClusterOptions};
use trunkline_hub::{
    CloseReason, Encoded, Event, Handler, Hub, Refusal, RoomName, Socket, Targets,
    lanes::{Options, socketioxide::SocketioxideLane},
};
use trunkline_redis::Topology;

#[derive(Deserialize, Serialize)]
struct Say {
    room: String,
    text: String,
}

/// What a node does with its clients.
struct Rooms(Cluster);

#[async_trait]
impl Handler for Rooms {
    async fn connecting(&self, _: &Socket) -> Result<(), Refusal> {
        Ok(())
    }

    async fn connected(&self, socket: &Socket) {
        println!("{} connected", socket.id());
    }

    async fn event(&self, socket: &Socket, event: Event) {
        let joined = match event.name.as_str() {
            "join" => match event.args.payload::<String>() {
                Ok(Some(room)) => {
                    let room = RoomName::from(room);
                    socket.join(Arc::clone(&room));
                    // From here on, what other servers send to the room arrives.
                    socket.namespace().heard(&[room]).await
                }
                _ => false,
            },
            "say" => match event.args.payload::<Say>() {
                Ok(Some(say)) => {
                    self.0.emit("/", Encoded::event("said", &say), &Targets::room(say.room.as_str()), false);
                    true
                }
                _ => false,
            },
            _ => false,
        };
        if let Some(ack) = event.ack {
            ack.send(socket, &Encoded::ack(&joined));
        }
    }

    fn refused(&self, _: &Socket, _: Event) {}

    fn farewell(&self, _: &Socket, _: CloseReason) -> Option<Encoded> {
        None
    }

    async fn disconnected(&self, socket: &Socket, _: CloseReason) {
        println!("{} is gone", socket.id());
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let redis: Topology = std::env::args().nth(1).ok_or("usage: two_nodes REDIS_URL")?.parse()?;
    serve(&redis, [bind("127.0.0.1:3001").await?, bind("127.0.0.1:3002").await?]).await?;
    Ok(())
}

async fn bind(address: &str) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| format!("can't listen on {address}: {error}"))
}

/// A node for each of `listeners`, until one fails.
pub(crate) async fn serve(redis: &Topology, listeners: [TcpListener; 2]) -> std::io::Result<()> {
    let mut servers = tokio::task::JoinSet::new();
    for listener in listeners {
        let hub = Hub::new();
        let cluster =
            Cluster::start(hub.clone(), ClusterOptions { redis: Some(redis.clone()), ..ClusterOptions::default() });
        hub.add_namespace("/", Arc::new(Rooms(cluster.clone())));
        cluster.serve("/");
        let lane = SocketioxideLane::new(&hub, &Options::default());
        let app = Router::new().fallback(async move |request: Request| lane.call(request).await);
        println!("a node on http://{}", listener.local_addr()?);
        servers.spawn(async move { axum::serve(listener, app).await });
    }
    while let Some(ended) = servers.join_next().await {
        ended??;
    }
    Ok(())
}
