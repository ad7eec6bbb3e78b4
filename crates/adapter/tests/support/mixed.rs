//! Two stock Node servers and two members of ours in one cluster, with a client on each.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use trunkline_adapter::{ClusterOptions, Mode, ServerEvents};
use trunkline_hub::{Encoded, Targets};
use trunkline_testkit::{Client, RedisServer, eventually};

use super::{Peer, ROOT, SOON, node::Node, topology};

/// Node servers A and B, members C and D, and a client of each: all in `all`, and in `a` to `d`.
pub struct Mixed {
    pub nodes: [Node; 2],
    pub peers: [Peer; 2],
    pub clients: Vec<Client>,
    pub redis: RedisServer,
}

pub const DYNAMIC: &str = "/dynamic-1";

pub const ROOMS: [&str; 4] = ["a", "b", "c", "d"];

impl Mixed {
    pub async fn start(node_mode: &str, package: &str, mode: Mode) -> Self {
        let node = json!({ "mode": node_mode, "package": package });
        Self::start_with([node.clone(), node], ClusterOptions { mode, ..ClusterOptions::default() }).await
    }

    pub async fn start_with([a, b]: [Value; 2], member: ClusterOptions) -> Self {
        let redis = RedisServer::start().await;
        let node = async |mut options: Value| {
            options["urls"] = json!([redis.url()]);
            Node::start_with(options).await
        };
        let (a, b) = tokio::join!(node(a), node(b));
        let peer = async || {
            let own = ClusterOptions { redis: Some(topology(&redis)), ..member.clone() };
            let peer = Peer::start_with(ClusterOptions { uid: ClusterOptions::default().uid, ..own }).await;
            assert!(peer.cluster.ready(SOON).await, "the member did not join");
            peer.cluster.listen(Arc::new(Greeter));
            peer.serve_dynamic();
            peer
        };
        let peers = [peer().await, peer().await];
        let mut it = Self { nodes: [a, b], peers, clients: Vec::new(), redis };
        for (number, room) in ROOMS.into_iter().enumerate() {
            let rooms = ["all", room];
            let client = match number {
                0 | 1 => it.nodes[number].client(&rooms).await,
                _ => it.peers[number - 2].client(&rooms).await,
            };
            client.acknowledge_with(json!(room));
            it.clients.push(client);
        }
        let cluster = &it.peers[0].cluster;
        eventually(SOON, "all four counted", || async { cluster.server_count(ROOT).await.ok() == Some(4) }).await;
        // Node's dynamic adapter subscribes to a room's channel without telling when it has.
        for node in &mut it.nodes {
            for room in ["a", "b"] {
                node.run(&format!("while (!(await io.in('{room}').fetchSockets()).length) {{}}")).await;
            }
        }
        it
    }

    /// Another client of each server, in the room `all` of the namespace [`DYNAMIC`].
    pub async fn clients_elsewhere(&mut self) -> Vec<Client> {
        let mut clients = Vec::new();
        for node in &mut self.nodes {
            clients.push(node.client_of(DYNAMIC, &["all"]).await);
        }
        for peer in &self.peers {
            clients.push(peer.client_of(DYNAMIC, &["all"]).await);
        }
        for peer in &self.peers {
            let all = || async { peer.cluster.server_count(DYNAMIC).await.ok() == Some(4) };
            eventually(SOON, "all four counted", all).await;
        }
        for node in &mut self.nodes {
            node.run(&format!("while (await io.of('{DYNAMIC}').adapter.serverCount() < 4) {{}}")).await;
            let fetch = format!("return (await io.of('{DYNAMIC}').in('all').fetchSockets()).length");
            assert_eq!(node.run(&fetch).await, 4);
        }
        clients
    }

    /// What each client gets, up to a mark that comes last: the numbers of the events.
    pub async fn received(&mut self) -> [Vec<u64>; 4] {
        // From all servers, since each has an order of its own.
        for (number, node) in self.nodes.iter_mut().enumerate() {
            node.run(&format!("io.emit('end', {number})")).await;
        }
        for (number, peer) in self.peers.iter().enumerate() {
            peer.emit("end", number as u64 + 2, &Targets::everyone());
        }
        let mut received: [Vec<u64>; 4] = Default::default();
        for (client, got) in self.clients.iter_mut().zip(&mut received) {
            let mut ends = 0;
            while ends < 4 {
                let (name, args) = client.next_event(SOON).await;
                match name.as_str() {
                    "end" => ends += 1,
                    _ => got.push(args[0].as_u64().expect("a number")),
                }
            }
        }
        received
    }
}

struct Greeter;

#[async_trait]
impl ServerEvents for Greeter {
    async fn event(&self, namespace: &str, event: Encoded) -> Option<String> {
        assert!(namespace == ROOT || namespace == DYNAMIC, "{namespace}");
        Some(format!("\"heard {}\"", event.event_name().unwrap_or_default()))
    }
}
