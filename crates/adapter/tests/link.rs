//! What happens when Redis or the way to it fails.

mod support;

use std::time::Duration;

use serde_json::json;
use support::{Peer, ROOT, SOON, expect, topology};
use tokio::sync::watch;
use trunkline_adapter::{ClusterOptions, LinkState, Trouble};
use trunkline_hub::{Encoded, Targets};
use trunkline_testkit::{Client, Data, RedisServer, eventually};

#[tokio::test]
async fn a_dropped_subscription_is_made_again() {
    let redis = RedisServer::start().await;
    let (a, b) = (Peer::start(&redis).await, Peer::start(&redis).await);
    let mut client = b.client(&["r"]).await;
    let mut state = b.cluster.state();
    kill(&redis, "pubsub").await;
    assert!(matches!(next(&mut state).await, LinkState::Degraded { why: Trouble::Lost, .. }));
    assert!(matches!(next(&mut state).await, LinkState::Connected { .. }));
    assert!(b.cluster.ready(SOON).await);
    a.emit("again", 1, &Targets::room("r"));
    expect(&mut client, "again", json!([1])).await;
    assert!(a.cluster.ready(SOON).await);
    assert_eq!(a.cluster.server_count(ROOT).await.unwrap(), 2, "neither is counted twice");
    assert_eq!(a.cluster.fetch(ROOT, &Targets::everyone()).await.missing, 0);
}

#[tokio::test]
async fn a_dropped_publishing_connection_loses_nothing_that_is_sent_later() {
    let redis = RedisServer::start().await;
    let (a, b) = (Peer::start(&redis).await, Peer::start(&redis).await);
    let mut client = b.client(&[]).await;
    kill(&redis, "normal").await;
    for number in 0..100 {
        a.emit("kept", number, &Targets::everyone());
    }
    for number in 0..100 {
        expect(&mut client, "kept", json!([number])).await;
    }
    assert!(a.cluster.ready(SOON).await);
}

#[tokio::test]
async fn a_restart_of_redis_is_survived() {
    let mut redis = RedisServer::start().await;
    let (a, b) = (Peer::start(&redis).await, Peer::start(&redis).await);
    let (mut of_a, mut of_b) = (a.client(&[]).await, b.client(&[]).await);
    redis.restart(Data::Lose).await;
    for peer in [&a, &b] {
        eventually(SOON, "joining again", || async { peer.cluster.ready(SOON).await }).await;
    }
    for (from, number) in [(&a, 1), (&b, 2)] {
        from.emit("after", number, &Targets::everyone());
        expect_after_noise(&mut of_a, number).await;
        expect_after_noise(&mut of_b, number).await;
    }
}

#[tokio::test]
async fn without_redis_local_delivery_goes_on_and_the_rest_waits() {
    let mut redis = RedisServer::start().await;
    let (a, b) = (Peer::start(&redis).await, Peer::start(&redis).await);
    let (mut of_a, mut of_b) = (a.client(&[]).await, b.client(&[]).await);
    redis.stop().await;
    for peer in [&a, &b] {
        degraded(peer).await;
    }
    // Both sides of both nodes have noticed once commands are refused.
    eventually(SOON, "the publisher noticing", || async { a.cluster.server_count(ROOT).await.is_err() }).await;
    a.emit("local", 1, &Targets::everyone());
    a.cluster.emit(ROOT, Encoded::event("volatile", &2), &Targets::everyone(), true);
    a.cluster.join(ROOT, &Targets::everyone(), &["new".into()]).await;
    a.emit("local", 3, &Targets::room("new"));
    for (name, number) in [("local", 1), ("volatile", 2), ("local", 3)] {
        expect(&mut of_a, name, json!([number])).await;
    }
    let fetched = a.cluster.fetch(ROOT, &Targets::everyone()).await;
    assert_eq!((fetched.sockets.len(), fetched.missing), (1, 1), "what is missing is said");
    assert!(a.cluster.server_count(ROOT).await.unwrap_err().retryable());

    redis.restart(Data::Lose).await;
    assert!(b.cluster.ready(SOON).await);
    assert!(a.cluster.ready(SOON).await);
    // What `a` queued may have gone out before `b` listened again; what comes now must arrive, and volatile events
    // of the time without Redis must not.
    a.emit("end", 4, &Targets::everyone());
    loop {
        let (name, _) = of_b.next_event(SOON).await;
        assert_ne!(name, "volatile");
        if name == "end" {
            break;
        }
    }
}

#[tokio::test]
async fn a_node_that_starts_before_redis_joins_when_it_is_there() {
    let mut redis = RedisServer::start().await;
    redis.stop().await;
    let options = ClusterOptions { redis: Some(topology(&redis)), ..ClusterOptions::default() };
    let a = Peer::start_with(options).await;
    let mut client = a.client(&[]).await;
    a.emit("local", 1, &Targets::everyone());
    expect(&mut client, "local", json!([1])).await;
    assert!(!a.cluster.ready(Duration::from_millis(100)).await);
    assert_eq!(*a.cluster.state().borrow(), LinkState::Connecting);
    redis.restart(Data::Keep).await;
    assert!(a.cluster.ready(SOON).await);
    assert!(matches!(*a.cluster.state().borrow(), LinkState::Connected { .. }));
}

#[tokio::test]
async fn a_redis_that_hangs_is_noticed_and_does_not_hold_up_closing() {
    let redis = RedisServer::start().await;
    let a = Peer::start(&redis).await;
    let mut state = a.cluster.state();
    redis.pause();
    let lost = tokio::time::timeout(Duration::from_secs(25), next(&mut state)).await.expect("noticed by a probe");
    assert!(matches!(lost, LinkState::Degraded { why: Trouble::Unresponsive, .. }), "{lost:?}");
    a.emit("queued", 1, &Targets::everyone());
    tokio::time::timeout(Duration::from_secs(15), a.cluster.close()).await.expect("closing has a limit");
    redis.resume();
}

#[tokio::test]
async fn a_refused_publish_costs_the_message_and_not_the_link() {
    let redis = RedisServer::start().await;
    let mut admin = redis.connection().await;
    acl(&mut admin, &["limited", "on", "nopass", "allchannels", "+@all", "-publish"]).await;
    let limited = format!("redis://limited:x@127.0.0.1:{}", redis.port()).parse().unwrap();
    let a = Peer::start_with(ClusterOptions { redis: Some(limited), ..ClusterOptions::default() }).await;
    let b = Peer::start(&redis).await;
    assert!(a.cluster.ready(SOON).await);
    let mut of_b = b.client(&[]).await;
    a.emit("refused", 1, &Targets::everyone());
    let admin_again = admin.clone();
    eventually(SOON, "the refusal", || async {
        let mut connection = admin_again.clone();
        let info: String = redis::cmd("INFO").arg("commandstats").query_async(&mut connection).await.unwrap();
        info.lines().any(|line| line.starts_with("cmdstat_publish:") && line.contains("rejected_calls=1"))
    })
    .await;
    assert!(matches!(*a.cluster.state().borrow(), LinkState::Connected { .. }));
    acl(&mut admin, &["limited", "+publish"]).await;
    a.emit("allowed", 2, &Targets::everyone());
    expect(&mut of_b, "allowed", json!([2])).await;
}

async fn acl(admin: &mut redis::aio::MultiplexedConnection, rules: &[&str]) {
    redis::cmd("ACL").arg("SETUSER").arg(rules).query_async::<()>(admin).await.unwrap();
}

/// Kills connections on the server's side. Its own connection is one of them, so it is made for this.
async fn kill(redis: &RedisServer, kind: &str) {
    let mut connection = redis.connection().await;
    let killed: usize =
        redis::cmd("CLIENT").arg(&["KILL", "TYPE", kind, "SKIPME", "yes"]).query_async(&mut connection).await.unwrap();
    assert_eq!(killed, 2, "one of each member");
}

async fn next(state: &mut watch::Receiver<LinkState>) -> LinkState {
    tokio::time::timeout(Duration::from_secs(30), state.changed()).await.expect("a change of state").unwrap();
    *state.borrow_and_update()
}

async fn degraded(peer: &Peer) {
    let mut state = peer.cluster.state();
    let wait = state.wait_for(|state| matches!(state, LinkState::Degraded { .. }));
    tokio::time::timeout(SOON, wait).await.expect("the loss is noticed").unwrap();
}

async fn expect_after_noise(client: &mut Client, number: u64) {
    let args = client.wait_for("after", SOON).await;
    assert_eq!(json!(args), json!([number]));
}
