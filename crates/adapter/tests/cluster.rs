//! What members do for each other, over a real Redis and to real clients.

mod support;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;
use serde_json::json;
use support::{Peer, Quiet, ROOT, Received, SOON, expect, topology};
use trunkline_adapter::{
    Cluster, ClusterOptions, Fill, LinkState, Listen, Mode, Part, Payload, SubscriptionMode, Template, Trouble,
};
use trunkline_hub::{CloseReason, Encoded, Handshake, Hub, RoomName, SocketId, Targets};
use trunkline_redis::Topology;
use trunkline_testkit::{RedisServer, eventually};

#[tokio::test]
async fn an_emit_reaches_the_clients_of_all_members_once() {
    let redis = RedisServer::start().await;
    let (a, b) = (Peer::start(&redis).await, Peer::start(&redis).await);
    let (mut of_a, mut of_b) = (a.client(&[]).await, b.client(&[]).await);
    for number in 0..3 {
        a.emit("hello", number, &Targets::everyone());
    }
    for client in [&mut of_a, &mut of_b] {
        for number in 0..3 {
            expect(client, "hello", json!([number])).await;
        }
    }
    // Had anything come twice, it would come before this.
    b.emit("end", 0, &Targets::everyone());
    expect(&mut of_a, "end", json!([0])).await;
    expect(&mut of_b, "end", json!([0])).await;
}

#[tokio::test]
async fn rooms_and_exceptions_hold_on_all_members() {
    let redis = RedisServer::start().await;
    let (a, b) = (Peer::start(&redis).await, Peer::start(&redis).await);
    let (mut one, mut two, mut three) =
        (b.client(&["r1"]).await, b.client(&["r2"]).await, b.client(&["r1", "r#3"]).await);
    a.emit("one-room", 1, &Targets::room("r1"));
    a.emit("but", 2, &Targets::room("r1").except("r#3"));
    a.emit("two-rooms", 3, &Targets { rooms: vec!["r2".into(), "r#3".into()], except: vec![] });
    a.emit("odd-name", 4, &Targets::room("r#3"));
    a.emit("direct", 5, &Targets::room(two.sid()));
    a.emit("nobody", 6, &Targets::room("r4"));
    a.emit("end", 7, &Targets::everyone());
    for (client, expected) in [
        (&mut one, vec![("one-room", 1), ("but", 2), ("end", 7)]),
        (&mut two, vec![("two-rooms", 3), ("direct", 5), ("end", 7)]),
        (&mut three, vec![("one-room", 1), ("two-rooms", 3), ("odd-name", 4), ("end", 7)]),
    ] {
        for (name, number) in expected {
            expect(client, name, json!([number])).await;
        }
    }
}

#[tokio::test]
async fn a_room_that_begins_like_the_member_s_sockets_is_heard_once_with_a_pattern_and_without() {
    let redis = RedisServer::start().await;
    // May subscribe by these patterns, and no other.
    redis.create_user("narrow", "secret", &["~*", "+@all", "resetchannels", "&socket.io*"]).await;
    let narrow: Topology = format!("redis://narrow:secret@127.0.0.1:{}", redis.port()).parse().unwrap();
    let options = |redis| ClusterOptions { redis: Some(redis), ..ClusterOptions::default() };
    let a = Peer::start(&redis).await;
    for redis_url in [topology(&redis), narrow] {
        let b = Peer::start_with(options(redis_url)).await;
        assert!(b.cluster.ready(SOON).await);
        let room = format!("{}-and-so-on", b.hub.id_prefix());
        let (mut inside, mut elsewhere) = (b.client(&[&room]).await, a.client(&[&room]).await);
        b.emit("from-here", 1, &Targets::room(&*room));
        a.emit("from-there", 2, &Targets::room(&*room));
        a.emit("end", 3, &Targets::everyone());
        expect(&mut inside, "from-here", json!([1])).await;
        expect(&mut inside, "from-there", json!([2])).await;
        expect(&mut inside, "end", json!([3])).await;
        expect(&mut elsewhere, "from-there", json!([2])).await;
        b.cluster.close().await;
    }
}

#[tokio::test]
async fn many_emits_arrive_complete_and_in_order() {
    const COUNT: u64 = 3_000;
    let redis = RedisServer::start().await;
    let (a, b) = (Peer::start(&redis).await, Peer::start(&redis).await);
    let mut client = b.client(&["r"]).await;
    for number in 0..COUNT {
        let targets = if number % 2 == 0 { Targets::room("r") } else { Targets::everyone() };
        a.emit("n", number, &targets);
    }
    for number in 0..COUNT {
        expect(&mut client, "n", json!([number])).await;
    }
}

#[tokio::test]
async fn a_join_is_done_before_the_emit_that_follows_it() {
    let redis = RedisServer::start().await;
    let (a, b) = (Peer::start(&redis).await, Peer::start(&redis).await);
    let (mut of_a, mut of_b) = (a.client(&[]).await, b.client(&[]).await);
    a.cluster.join(ROOT, &Targets::everyone(), &["new".into()]).await;
    a.emit("in", 1, &Targets::room("new"));
    a.cluster.leave(ROOT, &Targets::room("new"), &["new".into()]).await;
    a.emit("out", 2, &Targets::room("new"));
    a.emit("end", 3, &Targets::everyone());
    for client in [&mut of_a, &mut of_b] {
        expect(client, "in", json!([1])).await;
        expect(client, "end", json!([3])).await;
    }
}

#[tokio::test]
async fn a_disconnect_reaches_the_sockets_of_all_members() {
    let redis = RedisServer::start().await;
    let (a, b) = (Peer::start(&redis).await, Peer::start(&redis).await);
    let (_of_a, _of_b, mut other) = (a.client(&["out"]).await, b.client(&["out"]).await, b.client(&[]).await);
    a.cluster.disconnect(ROOT, &Targets::room("out"), false).await;
    eventually(SOON, "both sockets gone", || async { a.hub.socket_count() == 0 && b.hub.socket_count() == 1 }).await;
    a.emit("still-here", 1, &Targets::everyone());
    expect(&mut other, "still-here", json!([1])).await;
}

#[tokio::test]
async fn sockets_and_rooms_of_all_members_are_found() {
    let redis = RedisServer::start().await;
    let (a, b) = (Peer::start(&redis).await, Peer::start(&redis).await);
    let (of_a, of_b) = (a.client(&["r1"]).await, b.client(&["r1", "r2"]).await);
    let fetched = a.cluster.fetch(ROOT, &Targets::room("r1")).await;
    assert_eq!(fetched.missing, 0);
    let ids: Vec<_> = fetched.sockets.iter().map(|socket| socket.id.as_str()).collect();
    assert_eq!(ids, [of_a.sid(), of_b.sid()]);
    for socket in &fetched.sockets {
        let keys: Vec<_> = socket.handshake.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["headers", "time", "address", "xdomain", "secure", "issued", "url", "query", "auth"]);
        assert_eq!(socket.handshake["query"]["EIO"], "4");
        assert_eq!(socket.data, json!({}));
    }
    assert_eq!(a.cluster.fetch(ROOT, &Targets::room("r2")).await.sockets.len(), 1);
    let rooms = a.cluster.rooms(ROOT).await;
    assert_eq!(rooms.missing, 0);
    let mut expected = vec![of_a.sid(), of_b.sid(), "r1", "r2"];
    expected.sort_unstable();
    assert_eq!(rooms.rooms, expected);
    assert_eq!(a.cluster.server_count(ROOT).await.unwrap(), 2);
}

#[tokio::test]
async fn credentials_stay_on_their_node() {
    let redis = RedisServer::start().await;
    let (a, b) = (Peer::start(&redis).await, Peer::start(&redis).await);
    let url = format!("{}?token=s3cret&room=a%20b", b.url);
    let _client = trunkline_testkit::connect(&url, ROOT, json!({ "token": "s3cret", "color": "red" })).await.unwrap();
    let socket = a.cluster.fetch(ROOT, &Targets::everyone()).await.sockets.pop().unwrap();
    assert!(!format!("{socket:?}").contains("s3cret"), "{socket:?}");
    assert_eq!(socket.handshake["query"]["room"], "a b");
    assert_eq!(socket.handshake["auth"], json!({ "color": "red" }));
}

#[tokio::test]
async fn a_member_that_does_not_answer_is_reported_missing() {
    let redis = RedisServer::start().await;
    let options = ClusterOptions {
        redis: Some(topology(&redis)),
        requests_timeout: Duration::from_millis(200),
        ..ClusterOptions::default()
    };
    let a = Peer::start_with(options).await;
    assert!(a.cluster.ready(SOON).await);
    let b = Peer::start(&redis).await;
    let client = b.client(&["r"]).await;
    // A subscriber that is counted and stays silent.
    let mut silent = redis.client().get_async_pubsub().await.unwrap();
    silent.subscribe("socket.io-request#/#").await.unwrap();
    let fetched = a.cluster.fetch(ROOT, &Targets::everyone()).await;
    assert_eq!((fetched.sockets.len(), fetched.missing), (1, 1));
    let rooms = a.cluster.rooms(ROOT).await;
    assert!(rooms.rooms.contains(&client.sid().to_owned()));
    assert_eq!(rooms.missing, 1);
}

#[tokio::test]
async fn requests_of_older_servers_about_one_socket_are_done_and_answered() {
    let redis = RedisServer::start().await;
    let a = Peer::start(&redis).await;
    let client = a.client(&[]).await;
    let socket = a.socket(client.sid());
    let mut listener = redis.client().get_async_pubsub().await.unwrap();
    listener.subscribe("socket.io-response#/#").await.unwrap();
    let mut connection = redis.connection().await;
    for (number, request, joined) in [
        (1, json!({ "type": 2, "sid": client.sid(), "room": "old" }), true),
        (2, json!({ "type": 3, "sid": client.sid(), "room": "old" }), false),
        (3, json!({ "type": 0, "rooms": [client.sid()] }), false),
        (4, json!({ "type": 4, "sid": client.sid(), "close": false }), false),
    ] {
        let mut request = request;
        request["requestId"] = json!(number);
        // One for a socket that is elsewhere, which its own node answers.
        for request in [json!({ "requestId": "x", "type": 2, "sid": "elsewhere", "room": "old" }), request] {
            redis::cmd("PUBLISH")
                .arg("socket.io-request#/#")
                .arg(request.to_string())
                .query_async::<()>(&mut connection)
                .await
                .unwrap();
        }
        let answer = tokio::time::timeout(SOON, listener.on_message().next()).await.unwrap().unwrap();
        let answer: serde_json::Value = serde_json::from_slice(answer.get_payload_bytes()).unwrap();
        let expected = match number {
            3 => json!({ "requestId": number, "sockets": [client.sid()] }),
            _ => json!({ "requestId": number }),
        };
        assert_eq!((answer, socket.is_in("old")), (expected, joined));
    }
    eventually(SOON, "the socket gone", || async { a.hub.socket_count() == 0 }).await;
}

#[tokio::test]
async fn a_room_s_channel_is_a_filter_and_not_an_address() {
    let a = Peer::start_with(ClusterOptions::default()).await;
    let (mut in_room, mut other) = (a.client(&["r1"]).await, a.client(&["r2"]).await);
    // `["x", {type: 2, data: ["m", number]}, {rooms}]`
    let inject = |channel: &str, number: u8, rooms: &[u8]| {
        let packet = b"\x93\xa1x\x82\xa4type\x02\xa4data\x92\xa1m";
        let payload = [packet.as_slice(), &[number], b"\x81\xa5rooms", rooms].concat();
        a.cluster.inject(channel.as_bytes(), &payload);
    };
    inject("socket.io#/#r1#", 1, b"\x91\xa2r2");
    inject("socket.io#/#r3#", 2, b"\x90");
    inject("socket.io#/#r1#", 3, b"\x90");
    inject("socket.io#/#r1", 4, b"\x91\xa2r1");
    inject("socket.io#/#", 5, b"\x90");
    for number in [3, 4, 5] {
        expect(&mut in_room, "m", json!([number])).await;
    }
    for number in [1, 3, 5] {
        expect(&mut other, "m", json!([number])).await;
    }
}

#[tokio::test]
async fn binary_data_is_published_as_binary() {
    let redis = RedisServer::start().await;
    let a = Peer::start(&redis).await;
    let mut listener = redis.client().get_async_pubsub().await.unwrap();
    listener.psubscribe("socket.io#*").await.unwrap();
    let event = Encoded::new(r#"["bin",{"_placeholder":true,"num":0}]"#, vec![Bytes::from_static(&[1, 2, 3, 4])]);
    a.cluster.emit(ROOT, event, &Targets::everyone(), true);
    let message = tokio::time::timeout(SOON, listener.on_message().next()).await.unwrap().unwrap();
    assert_eq!(message.get_channel_name(), "socket.io#/#");
    let payload = message.get_payload_bytes();
    assert!(payload.windows(6).any(|bytes| bytes == [0xc4, 4, 1, 2, 3, 4]));
    assert!(payload.ends_with(b"\xa5flags\x81\xa8volatile\xc3"));
}

#[tokio::test]
async fn a_stored_message_is_delivered_to_the_sender_s_node_too() {
    let redis = RedisServer::start().await;
    let (a, b) = (Peer::start(&redis).await, Peer::start(&redis).await);
    let (mut of_a, mut of_b) = (a.client(&["room"]).await, b.client(&["room"]).await);
    let template = template(&a.cluster);
    let mut connection = redis.connection().await;
    redis::cmd("PUBLISH")
        .arg(&template.channel)
        .arg(filled(&template))
        .query_async::<usize>(&mut connection)
        .await
        .unwrap();
    let expected = json!([{ "content": "hi", "seq": 7, "epoch": "e", "id": "m" }]);
    expect(&mut of_a, "message:new", expected.clone()).await;
    expect(&mut of_b, "message:new", expected).await;
}

#[tokio::test]
async fn an_embedded_member_is_the_whole_cluster() {
    let a = Peer::start_with(ClusterOptions::default()).await;
    assert!(a.cluster.ready(Duration::ZERO).await);
    assert_eq!(*a.cluster.state().borrow(), LinkState::Embedded);
    let mut client = a.client(&["room"]).await;
    a.emit("hello", 1, &Targets::everyone());
    expect(&mut client, "hello", json!([1])).await;
    let template = template(&a.cluster);
    a.cluster.inject(&template.channel, &filled(&template));
    expect(&mut client, "message:new", json!([{ "content": "hi", "seq": 7, "epoch": "e", "id": "m" }])).await;
    assert_eq!(a.cluster.server_count(ROOT).await.unwrap(), 1);
    assert_eq!(a.cluster.fetch(ROOT, &Targets::everyone()).await.sockets.len(), 1);
    a.cluster.close().await;
}

#[tokio::test]
async fn a_stored_message_may_be_a_part_of_its_payload_or_no_object_at_all() {
    let a = Peer::start_with(ClusterOptions::default()).await;
    let mut client = a.client(&["room"]).await;
    let filled = [("seq", Fill::Seq), ("id", Fill::MessageId)];
    let part = Payload::new(r#"{"content":"hi"}"#, &filled).inside(r#"{"conversationId":"room"}"#, "message");
    for (payload, expected) in [
        (part, json!([{ "conversationId": "room", "message": { "content": "hi", "seq": 7, "id": "m" } }])),
        (Payload::new(r#""just text""#, &[]), json!(["just text"])),
        (Payload::new("[1,null]", &[]), json!([[1, null]])),
    ] {
        let template = a.cluster.templates(ROOT, "e", &payload, &[Targets::room("room")]).unwrap().remove(0);
        a.cluster.inject(&template.channel, &self::filled(&template));
        expect(&mut client, "e", expected).await;
    }
    assert!(a.cluster.templates(ROOT, "e", &Payload::new("[]", &filled), &[Targets::everyone()]).is_err());
    let twice = part.inside(r#"{"message":1}"#, "message");
    assert!(a.cluster.templates(ROOT, "e", &twice, &[Targets::everyone()]).is_err());
}

#[tokio::test]
async fn a_namespace_added_later_is_served() {
    let redis = RedisServer::start().await;
    let (a, b) = (Peer::start(&redis).await, Peer::start(&redis).await);
    for peer in [&a, &b] {
        peer.cluster.serve("/late[1]*");
        assert!(peer.cluster.ready(SOON).await);
    }
    assert_eq!(a.cluster.server_count("/late[1]*").await.unwrap(), 2);
    assert_eq!(a.cluster.rooms("/late[1]*").await.missing, 0);
}

#[tokio::test]
async fn a_namespace_that_is_given_up_leaves_nothing_behind_and_may_come_back() {
    const GONE: &str = "/gone";
    for mode in [Mode::default(), Mode::Classic(Listen::Pattern), Mode::Sharded(SubscriptionMode::Dynamic)] {
        let redis = RedisServer::start().await;
        let (a, b) = (Peer::start_as(&redis, mode).await, Peer::start_as(&redis, mode).await);
        let before = subscriptions(&redis).await;
        for round in 0..2 {
            for peer in [&a, &b] {
                peer.hub.add_namespace(GONE, Arc::new(Quiet));
                peer.cluster.serve(GONE);
                assert!(peer.cluster.ready(SOON).await);
            }
            let namespace = b.hub.namespace(GONE).unwrap();
            let outbox = Arc::new(Received::default());
            let handshake = Handshake::new(&HeaderMap::new(), "/", None);
            let socket = namespace.connect(SocketId::new("s"), handshake, Arc::clone(&outbox) as _).await.unwrap();
            let rooms: Vec<RoomName> = (0..3_000).map(|number| RoomName::from(format!("r{number}"))).collect();
            for room in &rooms {
                socket.join(Arc::clone(room));
            }
            assert!(namespace.heard(&rooms).await);
            assert_eq!(a.cluster.server_count(GONE).await.unwrap(), 2);
            a.cluster.emit(GONE, Encoded::event("n", &round), &Targets::room("r2999"), false);
            let received = || async { outbox.0.load(Ordering::Relaxed) == 1 };
            eventually(SOON, "the namespace heard", received).await;

            socket.closed(CloseReason::TransportClose);
            for peer in [&a, &b] {
                peer.cluster.unserve(GONE);
            }
            eventually(SOON, "nothing left", || async { subscriptions(&redis).await == before }).await;
            assert_eq!(a.cluster.server_count(GONE).await.unwrap(), 0);
        }
        // At once: nobody knows whether it was unsubscribed from in between.
        b.cluster.serve(GONE);
        b.cluster.unserve(GONE);
        b.cluster.serve(GONE);
        assert!(b.cluster.ready(SOON).await);
        eventually(SOON, "served again", || async { a.cluster.server_count(GONE).await.ok() == Some(1) }).await;
    }
}

/// What anybody is subscribed to, of all kinds.
async fn subscriptions(redis: &RedisServer) -> (Vec<String>, Vec<String>, usize) {
    let mut connection = redis.connection().await;
    let mut ask = async |what: &str| -> Vec<String> {
        let mut names: Vec<String> = redis::cmd("PUBSUB").arg(what).query_async(&mut connection).await.unwrap();
        names.sort_unstable();
        names
    };
    let named = (ask("CHANNELS").await, ask("SHARDCHANNELS").await);
    let patterns = redis::cmd("PUBSUB").arg("NUMPAT").query_async(&mut connection).await.unwrap();
    (named.0, named.1, patterns)
}

#[tokio::test]
async fn closing_leaves_the_count_and_publishes_what_was_queued() {
    let redis = RedisServer::start().await;
    let (a, b) = (Peer::start(&redis).await, Peer::start(&redis).await);
    let mut client = b.client(&[]).await;
    for number in 0..1_000 {
        a.emit("n", number, &Targets::everyone());
    }
    a.cluster.close().await;
    assert!(matches!(*a.cluster.state().borrow(), LinkState::Degraded { why: Trouble::Closed, .. }));
    for number in 0..1_000 {
        expect(&mut client, "n", json!([number])).await;
    }
    assert_eq!(b.cluster.server_count(ROOT).await.unwrap(), 1);
    a.emit("late", 0, &Targets::everyone());
    b.emit("end", 0, &Targets::everyone());
    expect(&mut client, "end", json!([0])).await;
    a.cluster.close().await;
}

#[tokio::test]
async fn with_the_last_clone_the_connections_end() {
    let redis = RedisServer::start().await;
    let mut watch = redis.connection().await;
    let a = Cluster::start(Hub::new(), ClusterOptions { redis: Some(topology(&redis)), ..ClusterOptions::default() });
    let clone = a.clone();
    assert!(a.ready(SOON).await);
    assert_eq!(connections(&mut watch).await, 3);
    drop(a);
    assert_eq!(connections(&mut watch).await, 3);
    drop(clone);
    let watch = &watch;
    eventually(SOON, "both connections closed", || async { connections(&mut watch.clone()).await == 1 }).await;
}

async fn connections(connection: &mut redis::aio::MultiplexedConnection) -> usize {
    let list: String = redis::cmd("CLIENT").arg("LIST").query_async(connection).await.unwrap();
    list.lines().count()
}

fn template(cluster: &Cluster) -> Template {
    let filled = [("seq", Fill::Seq), ("epoch", Fill::Epoch), ("id", Fill::MessageId)];
    let payload = Payload::new(r#"{"content":"hi"}"#, &filled);
    cluster.templates(ROOT, "message:new", &payload, &[Targets::room("room")]).unwrap().remove(0)
}

/// What the message log makes of a template.
fn filled(template: &Template) -> Vec<u8> {
    let mut message = Vec::new();
    for part in &template.parts {
        match part {
            Part::Literal(bytes) => message.extend_from_slice(bytes),
            Part::Fill(Fill::Seq) => message.push(7),
            Part::Fill(Fill::Epoch) => message.extend_from_slice(b"\xa1e"),
            Part::Fill(Fill::MessageId) => message.extend_from_slice(b"\xa1m"),
            Part::Fill(Fill::Stamp) => message.extend_from_slice(b"\xa3g.1"),
        }
    }
    message
}
