//! Two stock Node servers and two members of ours in one cluster, with clients on all four: what Node's adapters promise
//! each other holds in every direction, once each, and nothing runs into Node's 5 s time-outs.

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{
    Peer, ROOT, SOON,
    mixed::{DYNAMIC, Mixed, ROOMS},
    node::{PROMPTLY, sorted},
    topology,
};
use trunkline_adapter::{ClusterOptions, Listen, Mode, SubscriptionMode};
use trunkline_hub::{Encoded, Targets};
use trunkline_testkit::{RedisServer, eventually};

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

/// A client that does not answer costs a Node server its own time-out, and not the cluster's.
async fn acks_that_do_not_come_are_given_up(it: &mut Mixed) {
    let mut silent = it.peers[1].client(&["silent"]).await;
    let ask = "return await new Promise((done) => io.in(['silent', 'a']).timeout(500).emit('q', 5, (error, acks) => done([!!error, acks])))";
    for node in &mut it.nodes {
        assert_eq!(node.run(ask).await, json!([true, ["a"]]));
    }
    let (cluster, targets) = (&it.peers[0].cluster, rooms(&["silent", "a"]));
    let asked = cluster.emit_with_acks(ROOT, Encoded::event("q", &5), &targets, Duration::from_millis(500));
    let acks = asked.await.unwrap();
    assert_eq!((acks.answers.len(), acks.clients, acks.missing), (1, 2, 0));
    for _ in 0..3 {
        support::expect(&mut silent, "q", json!([5])).await;
    }
    silent.close().await;
    assert_eq!(it.received().await.map(|questions| questions.len()), [3, 0, 0, 0]);
}

/// What `fetchSockets` gives a Node server is as good as a socket of its own.
async fn a_socket_elsewhere_is_as_good_as_one_here(it: &mut Mixed, with_acks: bool) {
    let node = &mut it.nodes[0];
    let done = "await io.fetchSockets();";
    for (number, room) in [(1, "b"), (2, "c")] {
        let sids = node
            .run(&format!(
                "const [s] = await io.in('{room}').fetchSockets(); s.join('far'); {done} s.emit('n', {number}); \
                 const there = await io.in('far').fetchSockets(); s.leave('far'); {done} \
                 return [[s.id], there.map((s) => s.id), (await io.in('far').fetchSockets()).map((s) => s.id)]"
            ))
            .await;
        assert_eq!((&sids[0], &sids[2]), (&sids[1], &json!([])), "{room}");
    }
    if with_acks {
        let ask = "const [s] = await io.in('d').fetchSockets(); return await s.timeout(3000).emitWithAck('n', 3)";
        assert_eq!(node.run(ask).await, "d");
    }
    let passer = it.peers[0].client(&["passing"]).await;
    let passing = it.peers[0].socket(passer.sid());
    it.nodes[1].run("const [s] = await io.in('passing').fetchSockets(); s.disconnect()").await;
    eventually(SOON, "the socket gone", || async { passing.namespace().socket(passing.id()).is_none() }).await;
    let last = if with_acks { vec![3] } else { vec![] };
    assert_eq!(it.received().await, [vec![], vec![1], vec![2], last]);
}

async fn a_dynamic_namespace_is_a_cluster_of_its_own(it: &mut Mixed) {
    let mut clients = it.clients_elsewhere().await;
    it.nodes[0].run(&format!("io.of('{DYNAMIC}').on('hello', (n, done) => done('from node'))")).await;
    let ask = format!("return await io.of('{DYNAMIC}').serverSideEmitWithAck('hello', 1)");
    let answers = it.nodes[1].run(&ask).await;
    assert_eq!(sorted(&answers), sorted(&json!(["from node", "heard hello", "heard hello"])));
    for (number, node) in it.nodes.iter_mut().enumerate() {
        node.run(&format!("io.of('{DYNAMIC}').to('all').emit('n', {number})")).await;
    }
    for (number, peer) in it.peers.iter().enumerate() {
        peer.cluster.emit(DYNAMIC, Encoded::event("n", &(number + 2)), &Targets::room("all"), false);
    }
    for client in &mut clients {
        let mut numbers = Vec::new();
        for _ in 0..4 {
            numbers.push(client.wait_for("n", SOON).await[0].as_u64());
        }
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2, 3].map(Some));
    }
    for client in clients {
        client.close().await;
    }
    assert_eq!(it.received().await, [const { Vec::<u64>::new() }; 4], "nobody outside hears of it");
}

async fn an_emitter_reaches_exactly_its_targets(it: &mut Mixed) {
    let ids: Vec<String> = it.clients.iter().map(|client| client.sid().to_owned()).collect();
    let done = "await io.fetchSockets();";
    let node = &mut it.nodes[0];
    node.run(&format!(
        "emitter.emit('n', 1); emitter.to('c').emit('n', 2); emitter.to(['a', 'd']).emit('n', 3); \
         emitter.except('b').emit('n', 4); emitter.to('{}').to('{}').emit('n', 5); emitter.to('all').except(['c', 'd']).emit('n', 6); \
         emitter.of('{DYNAMIC}').emit('n', 7); emitter.volatile.to('d').emit('n', 8); emitter.compress(true).to('c').emit('n', 9)",
        ids[1], ids[2]
    ))
    .await;
    node.run(&format!(
        "emitter.in(['a', 'c']).socketsJoin(['e', 'f']); {done} emitter.to('e').emit('n', 10); \
         emitter.in('c').socketsLeave('e'); emitter.to('e').emit('n', 11); emitter.in('e').except('a').socketsJoin('none'); \
         {done} emitter.to('none').emit('n', 12); emitter.serverSideEmit('hello', 'from emitter')"
    ))
    .await;
    for node in &mut it.nodes {
        node.run("while (!heard.some((args) => args[0] === 'from emitter')) await new Promise(setImmediate)").await;
    }
    let [mut a, mut b, mut c, mut d] = it.received().await;
    for numbers in [&mut a, &mut b, &mut c, &mut d] {
        numbers.sort_unstable();
    }
    assert_eq!((a, b), (vec![1, 3, 4, 6, 10, 11], vec![1, 5, 6]));
    assert_eq!((c, d), (vec![1, 2, 4, 5, 9, 10], vec![1, 3, 4, 8]));
    let mut passing = [it.nodes[1].client(&["passing"]).await, it.peers[0].client(&["passing"]).await];
    it.nodes[0].run("emitter.in('passing').disconnectSockets()").await;
    for client in &mut passing {
        client.closed(SOON).await;
    }
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

impl Mixed {
    async fn emit_from_each(&mut self, from: usize, number: u64, targets: &Targets) {
        let (rooms, except) = (json!(texts(&targets.rooms)), json!(texts(&targets.except)));
        match from {
            0 | 1 => {
                self.nodes[from].run(&format!("io.to({rooms}).except({except}).emit('n', {number})")).await;
            }
            _ => self.peers[from - 2].emit("n", number, targets),
        }
    }

    async fn all_of_it(&mut self, classic: bool) {
        broadcasts_reach_exactly_their_targets(self).await;
        flags_are_kept(self).await;
        everyone_finds_everyone(self, classic).await;
        sockets_join_and_leave_everywhere(self).await;
        servers_talk_to_each_other(self).await;
        acks_come_from_all_clients(self).await;
        acks_that_do_not_come_are_given_up(self).await;
        a_socket_elsewhere_is_as_good_as_one_here(self, true).await;
        a_dynamic_namespace_is_a_cluster_of_its_own(self).await;
        // The emitter has the classic format alone, and so have all servers' lists of rooms.
        if classic {
            an_emitter_reaches_exactly_its_targets(self).await;
        }
        disconnects_reach_everyone(self).await;
    }
}

async fn all_of_it(node_mode: &str, package: &str, mode: Mode) {
    Mixed::start(node_mode, package, mode).await.all_of_it(node_mode == "classic").await;
}

const CURRENT: &str = "@socket.io/redis-adapter";

#[tokio::test]
async fn a_classic_cluster_works_in_every_direction() {
    all_of_it("classic", CURRENT, Mode::Classic(Listen::Rooms)).await;
}

#[tokio::test]
async fn so_it_does_by_pattern() {
    all_of_it("classic", CURRENT, Mode::Classic(Listen::Pattern)).await;
}

#[tokio::test]
async fn a_dynamic_sharded_cluster_works_in_every_direction() {
    all_of_it("dynamic", CURRENT, Mode::Sharded(SubscriptionMode::Dynamic)).await;
}

#[tokio::test]
async fn so_does_a_static_one() {
    all_of_it("static", CURRENT, Mode::Sharded(SubscriptionMode::Static)).await;
}

#[tokio::test]
async fn so_does_a_dynamic_private_one() {
    all_of_it("dynamic-private", CURRENT, Mode::Sharded(SubscriptionMode::DynamicPrivate)).await;
}

/// One of the Node servers answers on the requesters' own channels, and so do ours; the other on the common one.
#[tokio::test]
async fn another_prefix_and_channels_of_one_s_own_for_answers_change_nothing() {
    let node = |specific| {
        let options = json!({ "key": "other*", "publishOnSpecificResponseChannel": specific });
        json!({ "mode": "classic", "package": CURRENT, "options": options })
    };
    let member =
        ClusterOptions { prefix: "other*".to_owned(), specific_response_channel: true, ..ClusterOptions::default() };
    let mut it = Mixed::start_with([node(true), node(false)], member).await;
    // Members of another cluster on the same Redis, in rooms of the same names.
    let stranger = Peer::start(&it.redis).await;
    let mut outside = stranger.client(&["all", "a", "c"]).await;
    it.all_of_it(true).await;
    stranger.emit("end", 0, &Targets::everyone());
    support::expect(&mut outside, "end", json!([0])).await;
}

/// Earlier versions of Node's adapter, installed beside the current one. Acks from all clients exist since 7.2.
#[tokio::test]
async fn earlier_versions_of_node_s_adapter_work_alike() {
    for package in ["redis-adapter-7-2", "redis-adapter-8-0", "redis-adapter-8-1", "redis-adapter-8-2"] {
        println!("{package}");
        all_of_it("classic", package, Mode::default()).await;
    }
    for package in ["redis-adapter-6-1", "redis-adapter-7-0"] {
        println!("{package}, which needs a client library of its time");
        let node = json!({ "mode": "classic", "package": package, "client": "ioredis" });
        let mut it = Mixed::start_with([node.clone(), node], ClusterOptions::default()).await;
        broadcasts_reach_exactly_their_targets(&mut it).await;
        flags_are_kept(&mut it).await;
        everyone_finds_everyone(&mut it, true).await;
        sockets_join_and_leave_everywhere(&mut it).await;
        a_socket_elsewhere_is_as_good_as_one_here(&mut it, false).await;
        disconnects_reach_everyone(&mut it).await;
    }
}

/// What servers of 8.2 send names no namespace, and servers of 8.3 drop it: ours do not.
#[tokio::test]
async fn sharded_servers_of_8_2_are_understood() {
    for (node_mode, mode) in [("dynamic", SubscriptionMode::Dynamic), ("static", SubscriptionMode::Static)] {
        let mut it = Mixed::start(node_mode, "redis-adapter-8-2", Mode::Sharded(mode)).await;
        flags_are_kept(&mut it).await;
        everyone_finds_everyone(&mut it, false).await;
        sockets_join_and_leave_everywhere(&mut it).await;
        servers_talk_to_each_other(&mut it).await;
        acks_come_from_all_clients(&mut it).await;
        acks_that_do_not_come_are_given_up(&mut it).await;
        a_dynamic_namespace_is_a_cluster_of_its_own(&mut it).await;
        // When they are dynamic, what one of them sends to a socket of another gets lost.
        if mode == SubscriptionMode::Static {
            broadcasts_reach_exactly_their_targets(&mut it).await;
        }
        disconnects_reach_everyone(&mut it).await;
    }
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
