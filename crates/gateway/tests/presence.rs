//! Presence through the deaths of processes: real nodes on a real Redis, of which one is killed, frozen, or left alone by
//! its Redis. Each time it is true again within a lease and five seconds, and each coming and going is told once. And through
//! crowds, who are told together.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use trunkline_testkit::{Client, Data, Node, RedisServer, connect, eventually};

/// A lease of ten seconds, and five to clean up.
const TRUE_AGAIN: Duration = Duration::from_secs(15);

/// For whatever should happen at once, on a machine that has other things to do.
const SOON: Duration = Duration::from_secs(10);

/// Nothing was told for so long: nothing will be.
const QUIET: Duration = Duration::from_secs(1);

/// Longer than a lease.
const FROZEN: Duration = Duration::from_secs(12);

async fn node(redis: &RedisServer, id: &str) -> Node {
    let url = redis.url();
    Node::start(&[
        "--auth",
        "insecure-query",
        "--redis-url",
        &url,
        "--node-id",
        id,
        "--presence-grace",
        "0",
        "--log-level",
        "warn,trunkline_gateway::app=info",
    ])
    .await
}

async fn client(node: &Node, user: &str) -> Client {
    connect(&format!("{}/?userId={user}", node.url()), "/", Value::Null).await.unwrap()
}

/// How often `client` was told that `user` came and went, since it was asked last.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    online: usize,
    offline: usize,
}

/// Reads what `client` was told, until nothing more comes for a while: what is told twice must be given the time to.
async fn told(client: &mut Client, user: &str) -> Told {
    let mut told = Told::default();
    while let Ok((name, args)) = tokio::time::timeout(QUIET, client.next_event(SOON)).await {
        let is_about = args.first().and_then(|arg| arg.get("userId")).is_some_and(|id| id == user);
        match name.as_str() {
            "user:online" if is_about => told.online += 1,
            "user:offline" if is_about => told.offline += 1,
            _ => {}
        }
    }
    told
}

async fn is_online(client: &Client, user: &str) -> bool {
    let answer = client.emit_with_ack("presence:get", json!({"userIds": [user]}), SOON).await;
    answer["users"][0]["online"] == true
}

async fn count(client: &Client) -> Option<u64> {
    client.emit_with_ack("get:online:count", json!({}), SOON).await["count"].as_u64()
}

async fn members(client: &Client, conversation: &str) -> Vec<String> {
    let answer = client.emit_with_ack("conversation:members", json!({"conversationId": conversation}), SOON).await;
    let members = answer["members"].as_array().cloned().unwrap_or_default();
    members.iter().filter_map(|member| member["userId"].as_str().map(str::to_owned)).collect()
}

async fn join(client: &Client, conversation: &str) {
    let joined = client.emit_with_ack("conversation:join", json!({"conversationId": conversation}), SOON).await;
    assert_eq!(joined["success"], true, "{joined}");
}

/// Waits until the watcher sees `user` as `online`, in the list of who is in the room too.
async fn until(watcher: &Client, user: &str, online: bool, users: u64) {
    let since = Instant::now();
    eventually(TRUE_AGAIN, "presence being true again", async || {
        is_online(watcher, user).await == online
            && members(watcher, "room").await.contains(&user.to_owned()) == online
            && count(watcher).await == Some(users)
    })
    .await;
    println!("presence of {user} was true again after {:.1?}", since.elapsed());
}

#[tokio::test]
async fn users_of_a_node_that_was_killed_go_offline_once() {
    let redis = RedisServer::start().await;
    let (mut dying, living) = tokio::join!(node(&redis, "dying"), node(&redis, "living"));
    let mut watcher = client(&living, "watcher").await;
    let alice = client(&dying, "alice").await;
    join(&alice, "room").await;
    until(&watcher, "alice", true, 2).await;
    assert_eq!(told(&mut watcher, "alice").await, Told { online: 1, offline: 0 });

    dying.kill();
    until(&watcher, "alice", false, 1).await;
    let last_seen = watcher.emit_with_ack("presence:get", json!({"userIds": ["alice"]}), SOON).await;
    assert!(last_seen["users"][0]["lastSeen"].is_string(), "{last_seen}");
    assert_eq!(told(&mut watcher, "alice").await, Told { online: 0, offline: 1 });

    let _again = client(&living, "alice").await;
    eventually(SOON, "alice being online again", async || is_online(&watcher, "alice").await).await;
    assert_eq!(told(&mut watcher, "alice").await, Told { online: 1, offline: 0 });
}

#[tokio::test]
async fn a_user_who_moved_from_a_killed_node_never_went_offline() {
    let redis = RedisServer::start().await;
    let (mut dying, living) = tokio::join!(node(&redis, "dying"), node(&redis, "living"));
    let mut watcher = client(&living, "watcher").await;
    let _alice = client(&dying, "alice").await;
    eventually(SOON, "alice being online", async || is_online(&watcher, "alice").await).await;
    // Online a moment before it is told, and what a node has not told yet dies with it.
    assert_eq!(told(&mut watcher, "alice").await, Told { online: 1, offline: 0 });
    dying.kill();
    let back = client(&living, "alice").await;
    join(&back, "room").await;
    // Until the lease of the dead node has ended and its sockets are swept.
    eventually(TRUE_AGAIN, "the dead node's socket being gone", async || {
        let answer = watcher.emit_with_ack("presence:get", json!({"userIds": ["alice"]}), SOON).await;
        answer["users"][0]["sockets"] == 1
    })
    .await;
    until(&watcher, "alice", true, 2).await;
    assert_eq!(told(&mut watcher, "alice").await, Told::default());
}

#[tokio::test]
async fn a_frozen_node_goes_and_comes_back_once() {
    let redis = RedisServer::start().await;
    let (freezing, living) = tokio::join!(node(&redis, "freezing"), node(&redis, "living"));
    let mut watcher = client(&living, "watcher").await;
    let alice = client(&freezing, "alice").await;
    join(&alice, "room").await;
    until(&watcher, "alice", true, 2).await;
    assert_eq!(told(&mut watcher, "alice").await, Told { online: 1, offline: 0 });

    freezing.pause();
    tokio::time::sleep(FROZEN).await; // the fault itself: longer than the lease
    until(&watcher, "alice", false, 1).await;
    assert_eq!(told(&mut watcher, "alice").await, Told { online: 0, offline: 1 });

    freezing.resume();
    until(&watcher, "alice", true, 2).await;
    let announced = told(&mut watcher, "alice").await;
    assert_eq!(announced, Told { online: 1, offline: 0 });
}

#[tokio::test]
async fn a_redis_that_comes_back_empty_is_told_everything_and_nobody_hears_of_it() {
    let mut redis = RedisServer::start().await;
    let (one, two) = tokio::join!(node(&redis, "one"), node(&redis, "two"));
    let mut watcher = client(&one, "watcher").await;
    let alice = client(&two, "alice").await;
    join(&alice, "room").await;
    until(&watcher, "alice", true, 2).await;
    assert_eq!(told(&mut watcher, "alice").await, Told { online: 1, offline: 0 });

    redis.restart(Data::Lose).await;
    until(&watcher, "alice", true, 2).await;
    assert_eq!(told(&mut watcher, "alice").await, Told::default(), "she was there all the time");
}

#[tokio::test]
async fn a_redis_that_restarts_with_its_data_changes_nothing() {
    let mut redis = RedisServer::start_with_aof().await;
    let (one, two) = tokio::join!(node(&redis, "one"), node(&redis, "two"));
    let mut watcher = client(&one, "watcher").await;
    let alice = client(&two, "alice").await;
    join(&alice, "room").await;
    until(&watcher, "alice", true, 2).await;
    told(&mut watcher, "alice").await;

    redis.kill();
    redis.restart(Data::Keep).await;
    until(&watcher, "alice", true, 2).await;
    assert_eq!(told(&mut watcher, "alice").await, Told::default());
    // Who left meanwhile is not kept by what Redis remembers.
    alice.close().await;
    until(&watcher, "alice", false, 1).await;
    assert_eq!(told(&mut watcher, "alice").await, Told { online: 0, offline: 1 });
}

/// Those who come in one go.
const MANY: usize = 200;

/// Each is one write to every connection.
const TELLINGS: &str = "trunkline_presence_tellings_total{as=\"events\"}";

#[tokio::test]
async fn two_hundred_who_come_at_once_are_each_told_once_and_told_together() {
    let redis = RedisServer::start().await;
    let (one, two) = tokio::join!(node(&redis, "one"), node(&redis, "two"));
    let (mut here, mut there) = (client(&one, "here").await, client(&two, "there").await);
    here.wait_for("user:online", SOON).await;
    let (told_before, begin) = (one.metric(TELLINGS).await, Instant::now());
    let crowd: Vec<_> = join_all((0..MANY).map(async |number| client(&one, &format!("user-{number}")).await)).await;
    for watcher in [&mut here, &mut there] {
        let mut heard = Vec::new();
        while heard.len() < MANY {
            let args = watcher.wait_for("user:online", SOON).await;
            heard.extend(args[0]["userId"].as_str().filter(|user| user.starts_with("user-")).map(str::to_owned));
        }
        heard.sort_unstable();
        heard.dedup();
        assert_eq!(heard.len(), MANY, "each once");
    }
    // The first at once, the others as four times a second allows: how long they took decides how often that was.
    let windows = begin.elapsed().as_millis() / 250;
    let tellings = one.metric(TELLINGS).await - told_before;
    assert!(u128::from(tellings) <= windows + 2, "{tellings} tellings in {windows} windows");
    assert_eq!(one.metric("trunkline_presence_announcements_total{to=\"everyone\"}").await as usize, MANY + 1);
    drop(crowd);
}

#[tokio::test]
async fn what_is_heard_last_of_a_user_who_moves_between_nodes_is_true() {
    let redis = RedisServer::start().await;
    let (one, two) = tokio::join!(node(&redis, "one"), node(&redis, "two"));
    let mut watcher = client(&two, "watcher").await;
    for round in 0..5 {
        let mover = format!("mover-{round}");
        let before = client(&one, &mover).await;
        // Something is told on the node that is left, so that what follows waits for its window to end.
        let _other = client(&one, &format!("other-{round}")).await;
        before.close().await;
        eventually(SOON, "the mover being gone", async || !is_online(&watcher, &mover).await).await;
        let _after = client(&two, &mover).await;
        let mut last = None;
        while let Ok((name, args)) = tokio::time::timeout(QUIET, watcher.next_event(SOON)).await {
            if name.starts_with("user:o") && args[0]["userId"] == mover.as_str() {
                last = Some(name);
            }
        }
        assert!(is_online(&watcher, &mover).await);
        assert_eq!(last.as_deref(), Some("user:online"), "round {round}");
    }
}
