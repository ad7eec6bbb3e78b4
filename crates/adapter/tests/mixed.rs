//! Two stock Node servers and two members of ours in one cluster, with clients on all four: what Node's adapters promise
//! each other holds in every direction, once each, and nothing runs into Node's 5 s time-outs.

mod support;

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use support::{
    Peer, ROOT, SOON,
    node::{Node, PROMPTLY, sorted},
    topology,
};
use trunkline_adapter::{ClusterOptions, Listen, Mode, ServerEvents, SubscriptionMode};
use trunkline_hub::{Encoded, Targets};
use trunkline_testkit::{Client, RedisServer, eventually};

/// Node servers A and B, members C and D, and a client of each: all in `all`, and in `a` to `d`.
struct Mixed {
    nodes: [Node; 2],
    peers: [Peer; 2],
    clients: Vec<Client>,
    _redis: RedisServer,
}

const ROOMS: [&str; 4] = ["a", "b", "c", "d"];

impl Mixed {
    async fn start(node_mode: &str, package: &str, mode: Mode) -> Self {
        Self::start_with(json!({ "mode": node_mode, "package": package }), mode).await
    }

    async fn start_with(mut options: Value, mode: Mode) -> Self {
        let redis = RedisServer::start().await;
        options["urls"] = json!([redis.url()]);
        let (a, b) = tokio::join!(Node::start_with(options.clone()), Node::start_with(options));
        let peers = [Peer::start_as(&redis, mode).await, Peer::start_as(&redis, mode).await];
        for peer in &peers {
            peer.cluster.listen(std::sync::Arc::new(Greeter));
        }
        let mut it = Self { nodes: [a, b], peers, clients: Vec::new(), _redis: redis };
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

    /// What each client gets, up to a mark that comes last: the numbers of the events.
    async fn received(&mut self) -> [Vec<u64>; 4] {
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

    async fn emit_from_each(&mut self, from: usize, number: u64, targets: &Targets) {
        let (rooms, except) = (json!(texts(&targets.rooms)), json!(texts(&targets.except)));
        match from {
            0 | 1 => {
                self.nodes[from].run(&format!("io.to({rooms}).except({except}).emit('n', {number})")).await;
            }
            _ => self.peers[from - 2].emit("n", number, targets),
        }
    }
}

struct Greeter;

#[async_trait]
impl ServerEvents for Greeter {
    async fn event(&self, namespace: &str, event: Encoded) -> Option<String> {
        assert_eq!(namespace, ROOT);
        Some(format!("\"heard {}\"", event.event_name().unwrap_or_default()))
    }
}

fn texts(rooms: &[trunkline_hub::RoomName]) -> Vec<&str> {
    rooms.iter().map(|room| &**room).collect()
}

fn rooms(rooms: &[&str]) -> Targets {
    Targets { rooms: rooms.iter().map(|&room| room.into()).collect(), except: Vec::new() }
}

async fn broadcasts_reach_exactly_their_targets(it: &mut Mixed) {
    let ids: Vec<String> = it.clients.iter().map(|client| client.sid().to_owned()).collect();
    let cases: Vec<(Targets, [bool; 4])> = vec![
        (rooms(&[]), [true; 4]),
        (rooms(&["all"]), [true; 4]),
        (rooms(&["a"]), [true, false, false, false]),
        (rooms(&["d"]), [false, false, false, true]),
        (rooms(&["b", "c"]), [false, true, true, false]),
        (rooms(&["all", "c"]), [true; 4]),
        (rooms(&["nobody"]), [false; 4]),
        (rooms(&["all"]).except("b"), [true, false, true, true]),
        (rooms(&[]).except("c").except("d"), [true, true, false, false]),
        (rooms(&[&ids[0]]), [true, false, false, false]),
        (rooms(&[&ids[2]]), [false, false, true, false]),
        (rooms(&[&ids[3]]).except("d"), [false; 4]),
        (rooms(&[]).except(&*ids[1]), [true, false, true, true]),
    ];
    let mut expected: [Vec<u64>; 4] = Default::default();
    let mut number = 0;
    for (targets, to) in &cases {
        for from in 0..4 {
            it.emit_from_each(from, number, targets).await;
            expected.iter_mut().zip(to).filter(|(_, to)| **to).for_each(|(expected, _)| expected.push(number));
            number += 1;
        }
    }
    // Each server's own order is kept; between servers there is none.
    let received = it.received().await.map(|mut numbers| {
        numbers.sort_unstable();
        numbers
    });
    assert_eq!(received, expected);
}

async fn flags_are_kept(it: &mut Mixed) {
    const VOLATILE: [u64; 2] = [2, 4];
    it.nodes[0].run("io.local.emit('n', 1); io.volatile.to('all').emit('n', 2); io.compress(true).emit('n', 3)").await;
    it.peers[0].cluster.emit(ROOT, Encoded::event("n", &4), &Targets::room("all"), true);
    let [mut a, mut b, mut c, mut d] = it.received().await;
    for numbers in [&mut a, &mut b, &mut c, &mut d] {
        numbers.sort_unstable();
    }
    // A Node server drops a volatile packet for a client that it is just writing to.
    for numbers in [&mut a, &mut b] {
        numbers.retain(|number| !VOLATILE.contains(number));
    }
    assert_eq!((a, b, c, d), (vec![1, 3], vec![3], vec![2, 3, 4], vec![2, 3, 4]));
}

async fn sockets_join_and_leave_everywhere(it: &mut Mixed) {
    it.nodes[0].run("io.in('all').except('b').socketsJoin(['x', 'y']); await io.fetchSockets()").await;
    it.peers[0].cluster.join(ROOT, &Targets::room("b"), &["x".into()]).await;
    for server in 0..4 {
        let members = match server {
            0 | 1 => it.nodes[server].run("return (await io.in('x').fetchSockets()).length").await,
            _ => json!(it.peers[server - 2].cluster.fetch(ROOT, &Targets::room("x")).await.sockets.len()),
        };
        assert_eq!(members, 4, "as server {server} sees it");
    }
    it.peers[1].cluster.leave(ROOT, &Targets::room("y").except("a"), &["x".into(), "y".into()]).await;
    it.nodes[1].run("io.in('a').socketsLeave('x'); await io.fetchSockets()").await;
    let left = it.peers[0].cluster.fetch(ROOT, &rooms(&["x", "y"])).await;
    assert_eq!(left.missing, 0);
    let mut left: Vec<_> = left.sockets.into_iter().map(|socket| socket.id).collect();
    left.sort_unstable();
    let mut expected = [it.clients[0].sid(), it.clients[1].sid()];
    expected.sort_unstable();
    assert_eq!(left, expected);
}

async fn everyone_finds_everyone(it: &mut Mixed, all_rooms: bool) {
    let ids: Vec<_> = it.clients.iter().map(|client| json!(client.sid())).collect();
    let expected = sorted(&json!(ids));
    for node in &mut it.nodes {
        assert_eq!(sorted(&node.run("return (await io.fetchSockets()).map((s) => s.id)").await), expected);
        assert_eq!(node.run("return (await io.in('c').fetchSockets())[0].handshake.query.EIO").await, "4");
        if all_rooms {
            let rooms = node.run("return [...await io.of('/').adapter.allRooms()]").await;
            assert!(ROOMS.iter().all(|room| rooms.as_array().unwrap().contains(&json!(room))), "{rooms}");
        }
    }
    for peer in &it.peers {
        let fetched = peer.cluster.fetch(ROOT, &Targets::everyone()).await;
        let ids: Vec<_> = fetched.sockets.iter().map(|socket| json!(socket.id)).collect();
        assert_eq!((sorted(&json!(ids)), fetched.missing), (expected.clone(), 0));
        let rooms = peer.cluster.rooms(ROOT).await;
        assert_eq!(rooms.missing, 0);
        assert!(ROOMS.iter().all(|room| rooms.rooms.contains(&(*room).to_owned())), "{rooms:?}");
    }
}

async fn servers_talk_to_each_other(it: &mut Mixed) {
    let answers = it.nodes[0].run("return await io.serverSideEmitWithAck('hello', 1, 'two')").await;
    assert_eq!(sorted(&answers), sorted(&json!(["from node", "heard hello", "heard hello"])));
    let event = Encoded::new(r#"["hello",3]"#, vec![]);
    let answered = it.peers[0].cluster.server_side_emit_with_ack(ROOT, &event).await.unwrap();
    let answers: Vec<Value> = answered.answers.iter().map(|a| serde_json::from_str(&a.text).unwrap()).collect();
    assert_eq!(sorted(&json!(answers)), sorted(&json!(["from node", "from node", "heard hello"])));
    assert_eq!(answered.missing, 0);
    it.peers[0].cluster.server_side_emit(ROOT, &Encoded::new(r#"["hello","once"]"#, vec![])).unwrap();
    let node = &mut it.nodes[1];
    node.run("while (!heard.some((args) => args[0] === 'once')) await new Promise(setImmediate)").await;
    assert_eq!(node.run("return heard").await, json!([[1, "two"], [3], ["once"]]));
}

async fn acks_come_from_all_clients(it: &mut Mixed) {
    let all = sorted(&json!(ROOMS));
    for node in &mut it.nodes {
        assert_eq!(sorted(&node.run("return await io.timeout(3000).emitWithAck('q', 1)").await), all);
        assert_eq!(node.run("return await io.to('d').timeout(3000).emitWithAck('q', 1)").await, json!(["d"]));
        assert_eq!(node.run("return await io.in('nobody').timeout(3000).emitWithAck('q')").await, json!([]));
    }
    for peer in &it.peers {
        let ask = |targets| peer.cluster.emit_with_acks(ROOT, Encoded::event("q", &1), targets, PROMPTLY);
        let everyone = Targets::everyone();
        let acks = ask(&everyone).await.unwrap();
        let answers: Vec<Value> = acks.answers.iter().map(|a| serde_json::from_str(&a.text).unwrap()).collect();
        assert_eq!((sorted(&json!(answers)), acks.clients, acks.missing), (all.clone(), 4, 0));
        let nobody = Targets::room("nobody");
        assert_eq!(ask(&nobody).await.unwrap().clients, 0);
    }
    // Two questions of each server to everyone, and one of each Node server to `d`.
    let expected = [4, 4, 4, 6];
    let received = it.received().await;
    assert_eq!(received.map(|questions| questions.len()), expected);
}

async fn disconnects_reach_everyone(it: &mut Mixed) {
    it.nodes[0].run("io.in('c').disconnectSockets()").await;
    it.clients[2].closed(SOON).await;
    it.peers[1].cluster.disconnect(ROOT, &Targets::room("b"), true).await;
    it.clients[1].closed(SOON).await;
    let cluster = &it.peers[0].cluster;
    eventually(SOON, "two sockets left", || async {
        cluster.fetch(ROOT, &Targets::everyone()).await.sockets.len() == 2
    })
    .await;
}

async fn all_of_it(node_mode: &str, package: &str, mode: Mode, serves_all_rooms: bool) {
    let mut it = Mixed::start(node_mode, package, mode).await;
    broadcasts_reach_exactly_their_targets(&mut it).await;
    flags_are_kept(&mut it).await;
    everyone_finds_everyone(&mut it, serves_all_rooms).await;
    sockets_join_and_leave_everywhere(&mut it).await;
    servers_talk_to_each_other(&mut it).await;
    acks_come_from_all_clients(&mut it).await;
    disconnects_reach_everyone(&mut it).await;
}

const CURRENT: &str = "@socket.io/redis-adapter";

#[tokio::test]
async fn a_classic_cluster_works_in_every_direction() {
    all_of_it("classic", CURRENT, Mode::Classic(Listen::Rooms), true).await;
}

#[tokio::test]
async fn so_it_does_by_pattern() {
    all_of_it("classic", CURRENT, Mode::Classic(Listen::Pattern), true).await;
}

#[tokio::test]
async fn a_dynamic_sharded_cluster_works_in_every_direction() {
    all_of_it("dynamic", CURRENT, Mode::Sharded(SubscriptionMode::Dynamic), false).await;
}

#[tokio::test]
async fn so_does_a_static_one() {
    all_of_it("static", CURRENT, Mode::Sharded(SubscriptionMode::Static), false).await;
}

#[tokio::test]
async fn so_does_a_dynamic_private_one() {
    all_of_it("dynamic-private", CURRENT, Mode::Sharded(SubscriptionMode::DynamicPrivate), false).await;
}

/// Earlier versions of Node's adapter, installed beside the current one. Acks from all clients exist since 7.2.
#[tokio::test]
async fn earlier_versions_of_node_s_adapter_work_alike() {
    for package in ["redis-adapter-7-2", "redis-adapter-8-0", "redis-adapter-8-1", "redis-adapter-8-2"] {
        println!("{package}");
        all_of_it("classic", package, Mode::default(), true).await;
    }
    println!("redis-adapter-7-0, which needs a client library of its time");
    let options = json!({ "mode": "classic", "package": "redis-adapter-7-0", "client": "ioredis" });
    let mut it = Mixed::start_with(options, Mode::default()).await;
    broadcasts_reach_exactly_their_targets(&mut it).await;
    flags_are_kept(&mut it).await;
    everyone_finds_everyone(&mut it, true).await;
    sockets_join_and_leave_everywhere(&mut it).await;
    disconnects_reach_everyone(&mut it).await;
}

#[tokio::test]
async fn a_server_that_numbers_its_events_gets_them_through_to_ours() {
    let redis = RedisServer::start().await;
    let options = ClusterOptions { redis: Some(topology(&redis)), ..ClusterOptions::default() };
    let peer = Peer::start_with(options).await;
    assert!(peer.cluster.ready(SOON).await);
    let mut client = peer.client(&["r"]).await;
    client.acknowledge_with(json!("thanks"));
    // `["x", {type: 2, data: ["m", 1], id: 7, nsp: "/"}, {rooms: ["r"]}]`, as with connection state recovery.
    let payload = b"\x93\xa1x\x84\xa4type\x02\xa4data\x92\xa1m\x01\xa2id\x07\xa3nsp\xa1/\x81\xa5rooms\x91\xa1r";
    peer.cluster.inject(b"socket.io#/#r#", payload);
    support::expect(&mut client, "m", json!([1])).await;
    // The answer is for nobody, and does not stand in for one that somebody waits for.
    let asked = peer.socket(client.sid()).emit_with_ack(Encoded::event("q", &2), Duration::from_secs(5)).await;
    assert_eq!(&*asked.unwrap().text, r#"["thanks"]"#);
}
