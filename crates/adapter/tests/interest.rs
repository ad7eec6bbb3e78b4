//! What a node listens to: the rooms of its own sockets, from before anybody can rely on it until nobody needs it.

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use support::{Peer, ROOT, SOON, expect, proxy::Proxy};
use trunkline_adapter::{ClusterOptions, LinkState, Mode, SubscriptionMode, Trouble};
use trunkline_hub::{Encoded, RoomName, Targets};
use trunkline_testkit::{RedisServer, eventually};

/// What a message costs on the wire besides its payload, roughly.
const PAYLOAD: usize = 1_000;

#[tokio::test]
async fn of_ten_nodes_the_nine_without_members_receive_nothing() {
    const MESSAGES: u64 = 1_000;
    let redis = RedisServer::start().await;
    let mut peers = Vec::new();
    for _ in 0..10 {
        let proxy = Proxy::start(&redis).await;
        let options = ClusterOptions { redis: Some(proxy.topology()), ..ClusterOptions::default() };
        let peer = Peer::start_with(options).await;
        assert!(peer.cluster.ready(SOON).await);
        peers.push((peer, proxy));
    }
    let mut client = peers[0].0.client(&["r"]).await;
    let before: Vec<u64> = peers.iter().map(|(_, proxy)| proxy.bytes()).collect();
    let from = Peer::start(&redis).await;
    let text = "x".repeat(PAYLOAD);
    for _ in 0..MESSAGES {
        from.cluster.emit(ROOT, Encoded::event("m", &text), &Targets::room("r"), false);
    }
    for _ in 0..MESSAGES {
        assert_eq!(client.next_event(SOON).await.0, "m");
    }
    let received: Vec<u64> = peers.iter().zip(before).map(|((_, proxy), before)| proxy.bytes() - before).collect();
    println!("bytes received: {received:?}");
    let (with_members, others) = received.split_first().unwrap();
    assert!(*with_members >= MESSAGES * PAYLOAD as u64);
    // Probes and pings go on.
    assert!(others.iter().all(|bytes| *bytes < 8 * PAYLOAD as u64), "{others:?}");
}

#[tokio::test]
async fn what_is_sent_to_a_socket_right_after_it_connected_arrives() {
    for mode in
        [Mode::default(), Mode::Sharded(SubscriptionMode::Dynamic), Mode::Sharded(SubscriptionMode::DynamicPrivate)]
    {
        let redis = RedisServer::start().await;
        let (a, b) = (Peer::start_as(&redis, mode).await, Peer::start_as(&redis, mode).await);
        for number in 0..50 {
            let mut client = b.client(&[]).await;
            a.emit("welcome", number, &Targets::room(client.sid()));
            expect(&mut client, "welcome", json!([number])).await;
        }
    }
}

#[tokio::test]
async fn a_room_is_given_up_a_while_after_its_last_member_left() {
    let redis = RedisServer::start().await;
    let peer = Peer::start(&redis).await;
    let client = peer.client(&["r"]).await;
    let socket = peer.socket(client.sid());
    let connection = redis.connection().await;
    let listeners = || async {
        let mut connection = connection.clone();
        let (_, count): (String, usize) =
            redis::cmd("PUBSUB").arg(&["NUMSUB", "socket.io#/#r#"]).query_async(&mut connection).await.unwrap();
        count
    };
    assert_eq!(listeners().await, 1);
    let left = Instant::now();
    assert!(socket.leave("r"));
    eventually(SOON, "the room given up", || async { listeners().await == 0 }).await;
    assert!(left.elapsed() >= Duration::from_secs(2), "who comes back soon finds it subscribed");
    peer.join(&client, &["r"]).await;
    assert_eq!(listeners().await, 1, "confirmed before the join is");
}

#[tokio::test]
async fn joins_at_the_same_time_share_their_round_trips() {
    const JOINS: u32 = 2_000;
    const ROUND_TRIP: Duration = Duration::from_millis(20);
    let redis = RedisServer::start().await;
    let proxy = Proxy::start(&redis).await;
    let options = ClusterOptions { redis: Some(proxy.topology()), ..ClusterOptions::default() };
    let peer = Peer::start_with(options).await;
    assert!(peer.cluster.ready(SOON).await);
    let client = peer.client(&[]).await;
    let socket = peer.socket(client.sid());
    let namespace = socket.namespace().clone();
    proxy.set_delay(ROUND_TRIP);
    let began = Instant::now();
    let joins = (0..JOINS).map(|number| {
        let room: RoomName = Arc::from(format!("room {number}"));
        socket.join(Arc::clone(&room));
        let namespace = namespace.clone();
        async move { namespace.heard(&[room]).await }
    });
    assert!(futures_util::future::join_all(joins).await.into_iter().all(|heard| heard));
    let took = began.elapsed();
    println!("{JOINS} joins in {took:?}, with {ROUND_TRIP:?} to Redis and back");
    assert!(took < ROUND_TRIP * JOINS / 10, "{took:?}");
}

#[tokio::test]
async fn a_link_that_hears_nothing_is_noticed_and_made_anew() {
    for mode in [Mode::default(), Mode::Sharded(SubscriptionMode::Dynamic)] {
        let redis = RedisServer::start().await;
        let proxy = Proxy::start(&redis).await;
        let options = ClusterOptions { redis: Some(proxy.topology()), mode, ..ClusterOptions::default() };
        let (a, b) = (Peer::start_as(&redis, mode).await, Peer::start_with(options).await);
        assert!(b.cluster.ready(SOON).await);
        let mut client = b.client(&["r"]).await;
        eventually(SOON, "a first probe", || async { b.cluster.last_probe().is_some() }).await;
        let mut state = b.cluster.state();
        proxy.set_deaf(true);
        let began = Instant::now();
        let deaf = state.wait_for(|state| matches!(state, LinkState::Degraded { why: Trouble::Deaf, .. }));
        tokio::time::timeout(SOON, deaf).await.expect("noticed").unwrap();
        println!("noticed after {:?}", began.elapsed());
        proxy.set_deaf(false);
        let healed = state.wait_for(|state| matches!(state, LinkState::Connected { .. }));
        tokio::time::timeout(SOON, healed).await.expect("healed").unwrap();
        assert!(b.cluster.ready(SOON).await);
        a.emit("again", 1, &Targets::room("r"));
        expect(&mut client, "again", json!([1])).await;
    }
}

#[tokio::test]
async fn rooms_joined_while_redis_is_away_are_heard_when_it_is_back() {
    let mut redis = RedisServer::start().await;
    let (a, b) = (Peer::start(&redis).await, Peer::start(&redis).await);
    let mut client = b.client(&["before"]).await;
    redis.stop().await;
    let mut state = b.cluster.state();
    tokio::time::timeout(SOON, state.wait_for(|state| matches!(state, LinkState::Degraded { .. })))
        .await
        .unwrap()
        .unwrap();
    let socket = b.socket(client.sid());
    socket.join("meanwhile");
    assert!(!socket.namespace().heard(&["meanwhile".into()]).await, "nobody is told that it works");
    assert!(!socket.namespace().heard(&["before".into()]).await);
    redis.restart(trunkline_testkit::Data::Lose).await;
    for peer in [&a, &b] {
        assert!(peer.cluster.ready(SOON).await);
    }
    for (number, room) in ["before", "meanwhile"].into_iter().enumerate() {
        a.emit("back", number as u64, &Targets::room(room));
        expect(&mut client, "back", json!([number])).await;
    }
}

#[tokio::test]
async fn a_hub_without_a_cluster_waits_for_nothing() {
    let peer = Peer::start_with(ClusterOptions::default()).await;
    let client = peer.client(&["r"]).await;
    assert!(peer.socket(client.sid()).namespace().heard(&["r".into()]).await);
}
