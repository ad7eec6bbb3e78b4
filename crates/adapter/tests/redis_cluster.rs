//! On a Redis Cluster, together with Node servers.

mod support;

use serde_json::json;
use support::{
    Peer, ROOT, SOON, expect,
    node::{Node, sorted},
};
use trunkline_adapter::{ClusterOptions, Fill, Filled, Mode, Part, Payload, SubscriptionMode};
use trunkline_hub::Targets;
use trunkline_testkit::{RedisCluster, eventually};

async fn member(redis: &RedisCluster, mode: Mode) -> Peer {
    let topology = redis.url().parse().expect("the URL of a test cluster is well-formed");
    let peer = Peer::start_with(ClusterOptions { redis: Some(topology), mode, ..ClusterOptions::default() }).await;
    assert!(peer.cluster.ready(SOON).await, "the member did not join");
    peer
}

async fn works_in_both_directions(node_mode: &str, mode: Mode) {
    let redis = RedisCluster::start().await;
    let urls: Vec<_> = redis.servers().iter().map(|server| json!(server.url())).collect();
    let mut node = Node::start_with(json!({ "urls": urls, "mode": node_mode })).await;
    let (a, b) = (member(&redis, mode).await, member(&redis, mode).await);
    eventually(SOON, "all three counted", || async { a.cluster.server_count(ROOT).await.ok() == Some(3) }).await;
    let (mut of_node, mut of_a, mut of_b) =
        (node.client(&["r1"]).await, a.client(&["r1"]).await, b.client(&["r1"]).await);
    let ids = sorted(&json!([of_node.sid(), of_a.sid(), of_b.sid()]));
    let fetched = node.run("return (await io.in('r1').fetchSockets()).map((s) => s.id)").await;
    assert_eq!(sorted(&fetched), ids);
    let fetched = a.cluster.fetch(ROOT, &Targets::room("r1")).await;
    let found: Vec<_> = fetched.sockets.iter().map(|socket| json!(socket.id)).collect();
    assert_eq!((sorted(&json!(found)), fetched.missing), (ids, 0));

    node.run("io.to('r1').emit('n', 1)").await;
    for client in [&mut of_node, &mut of_a, &mut of_b] {
        expect(client, "n", json!([1])).await;
    }
    a.emit("n", 2, &Targets::room("r1"));
    for client in [&mut of_node, &mut of_a, &mut of_b] {
        expect(client, "n", json!([2])).await;
    }
    b.emit("n", 3, &Targets::everyone().except("nobody"));
    for client in [&mut of_node, &mut of_a, &mut of_b] {
        expect(client, "n", json!([3])).await;
    }
    stored_messages_reach_everyone_once(&redis, &a, [&mut of_node, &mut of_a, &mut of_b]).await;
}

/// As the gateway has it done: the log's script publishes on its own server, and the gateway relays.
async fn stored_messages_reach_everyone_once(
    redis: &RedisCluster,
    a: &Peer,
    clients: [&mut trunkline_testkit::Client; 3],
) {
    let filled = [("seq", Fill::Seq)];
    let payload = Payload::new(r#"{"content":"hi"}"#, &filled);
    let template = a.cluster.templates(ROOT, "message:new", &payload, &[Targets::room("r1")]).unwrap().remove(0);
    let mut message = Vec::new();
    for part in &template.parts {
        match part {
            Part::Literal(bytes) => message.extend_from_slice(bytes),
            Part::Fill(Fill::Seq) => message.push(7),
            Part::Fill(_) => message.extend_from_slice(b"\xa1m"),
        }
    }
    let mut connection = redis.servers()[0].connection().await;
    redis::cmd("PUBLISH").arg(&template.channel).arg(message).query_async::<()>(&mut connection).await.unwrap();
    if let Some(relay) = &template.relay {
        a.cluster.relay(relay, &Filled { seq: 7, epoch: "e", message_id: "m" });
    }
    a.emit("end", 0, &Targets::room("r1"));
    for client in clients {
        let mut seen = Vec::new();
        // Between the two kinds of channels there is no order.
        for _ in 0..2 {
            let (name, args) = client.next_event(SOON).await;
            seen.push((name, json!(args)));
        }
        seen.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(
            seen,
            [("end".to_owned(), json!([0])), ("message:new".to_owned(), json!([{ "content": "hi", "seq": 7 }]))]
        );
    }
}

#[tokio::test]
async fn a_classic_member_works_in_both_directions() {
    works_in_both_directions("classic", Mode::default()).await;
}

#[tokio::test]
async fn a_sharded_member_works_in_both_directions() {
    works_in_both_directions("dynamic", Mode::Sharded(SubscriptionMode::Dynamic)).await;
}
