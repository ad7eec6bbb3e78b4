//! The WebSocket lane, byte by byte, against a real node: what the Engine.IO v4 and Socket.IO v5 protocol documents
//! ask of a server, and everything a hostile peer can send.

mod engine;
mod frames;
mod hostile;
mod opening;
mod raw;
mod slow;
mod socketio;

use std::time::Duration;

use trunkline_testkit::Node;

/// For whatever should happen at once.
const SOON: Duration = Duration::from_secs(10);

/// A node without Redis, whose heartbeat is quick enough to be tested.
async fn node(flags: &[&str]) -> Node {
    let common = [
        "--auth",
        "insecure-query",
        "--namespaces",
        "/=native,/chat=native",
        "--log-level",
        "warn,trunkline_gateway::app=info",
    ];
    Node::start(&[&common, flags].concat()).await
}
