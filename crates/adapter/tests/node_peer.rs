//! Together with a stock Socket.IO server of Node in one cluster.
//!
//! Needs `node` and `npm`; the packages of `tests/node/package-lock.json` are installed when they are missing.

mod support;

use std::sync::Arc;

use serde_json::json;
use support::{
    Peer, ROOT, SOON, expect,
    node::{Node, sorted},
    topology,
};
use trunkline_adapter::{ClusterOptions, Listen, Mode};
use trunkline_hub::{Encoded, RoomName, Targets};
use trunkline_testkit::{RedisServer, eventually};

/// A Node server and a member of ours that both see two members.
async fn pair(redis: &RedisServer) -> (Node, Peer) {
    let node = Node::start(redis).await;
    let peer = Peer::start(redis).await;
    let cluster = &peer.cluster;
    eventually(SOON, "both members counted", || async { cluster.server_count(ROOT).await.ok() == Some(2) }).await;
    (node, peer)
}

#[tokio::test]
async fn emits_reach_the_clients_of_a_node_server() {
    let redis = RedisServer::start().await;
    let (mut node, peer) = pair(&redis).await;
    let (mut in_room, mut other) = (node.client(&["r1"]).await, node.client(&["r2"]).await);
    peer.emit("all", 1, &Targets::everyone());
    peer.emit("one", 2, &Targets::room("r1"));
    peer.emit("but", 3, &Targets::everyone().except("r1"));
    peer.emit("two", 4, &Targets { rooms: vec!["r1".into(), "r2".into()], except: vec![] });
    peer.emit("direct", 5, &Targets::room(other.sid()));
    let values = r#"["values",{"a":[null,true,-1,1.5,1e21,"é😀"],"big":12345678901234567890,"o":{}}]"#;
    peer.cluster.emit(ROOT, Encoded::new(values, vec![]), &Targets::everyone(), false);
    let sent = json!([{ "a": [null, true, -1, 1.5, 1e21, "é😀"], "big": 12_345_678_901_234_567_000_u64, "o": {} }]);
    for (client, expected) in [
        (&mut in_room, [("all", 1), ("one", 2), ("two", 4)].as_slice()),
        (&mut other, &[("all", 1), ("but", 3), ("two", 4), ("direct", 5)]),
    ] {
        for (name, number) in expected {
            expect(client, name, json!([number])).await;
        }
        let (name, args) = client.next_event(SOON).await;
        assert_eq!(name, "values");
        assert_eq!(args[0]["a"], sent[0]["a"]);
        assert_eq!(args[0]["big"].as_f64(), sent[0]["big"].as_f64());
    }
}

#[tokio::test]
async fn emits_of_a_node_server_and_of_an_emitter_reach_our_clients() {
    let redis = RedisServer::start().await;
    let (mut node, peer) = pair(&redis).await;
    let (mut in_room, mut other) = (peer.client(&["r1"]).await, peer.client(&["r2"]).await);
    for server in ["io", "emitter"] {
        node.run(&format!(
            "{server}.emit('all', 1); {server}.to('r1').emit('one', 2); {server}.except('r1').emit('but', 3)"
        ))
        .await;
        node.run(&format!(
            "{server}.to(['r1', 'r2']).emit('two', 4); {server}.to('{}').emit('direct', 5)",
            other.sid()
        ))
        .await;
        node.run(&format!("{server}.emit('values', {{d: new Date(0), u: undefined, n: [undefined, NaN], s: 'é'}})"))
            .await;
        let values = json!([{ "d": "1970-01-01T00:00:00.000Z", "n": [null, null], "s": "é" }]);
        for (name, args) in [("all", json!([1])), ("one", json!([2])), ("two", json!([4])), ("values", values.clone())]
        {
            expect(&mut in_room, name, args).await;
        }
        for (name, args) in
            [("all", json!([1])), ("but", json!([3])), ("two", json!([4])), ("direct", json!([5])), ("values", values)]
        {
            expect(&mut other, name, args).await;
        }
    }
}

#[tokio::test]
async fn no_request_of_a_node_server_times_out() {
    let redis = RedisServer::start().await;
    let (mut node, peer) = pair(&redis).await;
    let ours = peer.client(&["r1"]).await;
    let theirs = node.client(&["r1"]).await;

    let sockets = node.run("return (await io.in('r1').fetchSockets()).map(s => s.id)").await;
    assert_eq!(sorted(&sockets), sorted(&json!([ours.sid(), theirs.sid()])));
    assert_eq!(node.run("return (await io.in('nobody').fetchSockets()).length").await, 0);
    let described = node
        .run(&format!("const [s] = await io.in('{}').fetchSockets(); return {{...s.handshake, rooms: [...s.rooms], data: s.data}}", ours.sid()))
        .await;
    assert_eq!(described["query"]["transport"], "websocket");
    assert_eq!(sorted(&described["rooms"]), sorted(&json!([ours.sid(), "r1"])));
    assert_eq!(described["data"], json!({}));

    let rooms = node.run("return [...await io.of('/').adapter.allRooms()]").await;
    assert_eq!(sorted(&rooms), sorted(&json!([ours.sid(), theirs.sid(), "r1"])));
    assert_eq!(node.run("return await io.serverSideEmitWithAck('hello', 1)").await, json!([null]));
    // Requests that nobody answers in time reject: with ours in the cluster this one has no client to wait for.
    assert_eq!(node.run("return await io.in('nobody').timeout(3000).emitWithAck('q')").await, json!([]));
}

/// Clients that do answer are in the end-to-end tests: this one can't.
#[tokio::test]
async fn an_emit_with_acks_waits_for_our_clients_and_for_nobody_else() {
    let redis = RedisServer::start().await;
    let (mut node, peer) = pair(&redis).await;
    let mut ours = peer.client(&["r1"]).await;
    assert_eq!(node.run("return await io.in('nobody').timeout(3000).emitWithAck('q', 5)").await, json!([]));
    let ask = "return await new Promise((done) => io.in('r1').timeout(300).emit('q', 5, (error, acks) => done([!!error, acks])))";
    assert_eq!(node.run(ask).await, json!([true, []]));
    expect(&mut ours, "q", json!([5])).await;
}

#[tokio::test]
async fn a_node_server_moves_and_disconnects_our_sockets() {
    let redis = RedisServer::start().await;
    let (mut node, peer) = pair(&redis).await;
    let mut ours = peer.client(&["r1"]).await;
    // An answer says that what was asked before is done: now the new rooms are heard.
    let done = "await io.fetchSockets();";
    node.run(&format!("io.in('r1').socketsJoin(['r2', 'r3']); {done} io.to('r2').emit('joined', 1)")).await;
    expect(&mut ours, "joined", json!([1])).await;
    node.run("io.in('r1').socketsLeave('r2'); io.to('r2').emit('left', 1); io.emit('end', 1)").await;
    expect(&mut ours, "end", json!([1])).await;
    node.run(&format!("emitter.in('r1').socketsJoin('r4'); {done} emitter.to('r4').emit('joined', 2)")).await;
    expect(&mut ours, "joined", json!([2])).await;
    node.run("io.in('r3').disconnectSockets()").await;
    eventually(SOON, "the socket gone", || async { peer.hub.socket_count() == 0 }).await;
}

#[tokio::test]
async fn listening_by_pattern_a_join_needs_no_answer() {
    let redis = RedisServer::start().await;
    let mut node = Node::start(&redis).await;
    let mode = Mode::Classic(Listen::Pattern);
    let options = ClusterOptions { redis: Some(topology(&redis)), mode, ..ClusterOptions::default() };
    let peer = Peer::start_with(options).await;
    assert!(peer.cluster.ready(SOON).await);
    let mut ours = peer.client(&["r1"]).await;
    for server in ["io", "emitter"] {
        node.run(&format!("{server}.in('r1').socketsJoin('{server}'); {server}.to('{server}').emit('joined', 1)"))
            .await;
        expect(&mut ours, "joined", json!([1])).await;
    }
}

#[tokio::test]
async fn our_requests_reach_the_sockets_of_a_node_server() {
    let redis = RedisServer::start().await;
    let (mut node, peer) = pair(&redis).await;
    let mut theirs = node.client(&["r1"]).await;
    let rooms: [RoomName; 1] = [Arc::from("r2")];
    peer.cluster.join(ROOT, &Targets::room("r1"), &rooms).await;
    peer.emit("joined", 1, &Targets::room("r2"));
    expect(&mut theirs, "joined", json!([1])).await;
    peer.cluster.leave(ROOT, &Targets::everyone(), &rooms).await;
    peer.emit("left", 1, &Targets::room("r2"));
    peer.emit("end", 1, &Targets::everyone());
    expect(&mut theirs, "end", json!([1])).await;

    node.run("io.sockets.sockets.forEach(s => { s.data.name = 'ann' })").await;
    let fetched = peer.cluster.fetch(ROOT, &Targets::room("r1")).await;
    assert_eq!((fetched.sockets.len(), fetched.missing), (1, 0));
    assert_eq!(fetched.sockets[0].id, theirs.sid());
    assert_eq!(fetched.sockets[0].data, json!({ "name": "ann" }));
    assert_eq!(fetched.sockets[0].handshake["query"]["EIO"], "4");
    let mut expected = vec![theirs.sid(), "r1"];
    expected.sort_unstable();
    assert_eq!(peer.cluster.rooms(ROOT).await.rooms, expected);

    peer.cluster.disconnect(ROOT, &Targets::room("r1"), true).await;
    theirs.closed(SOON).await;
}

#[tokio::test]
async fn after_leaving_a_node_server_no_longer_waits_for_us() {
    let redis = RedisServer::start().await;
    let (mut node, peer) = pair(&redis).await;
    peer.cluster.close().await;
    assert_eq!(node.run("return await io.of('/').adapter.serverCount()").await, 1);
    assert_eq!(node.run("return (await io.fetchSockets()).length").await, 0);
}
