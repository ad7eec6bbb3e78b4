//! A Redis that is away, hangs, forgets, or is full.

use crate::{entry, node, within_deadline};
use std::time::{Duration, Instant};
use trunkline_store::{Lease, NodeLoad, Position, ReadRange, Result, Store, StoreError};
use trunkline_testkit::{Data, RedisServer, eventually};

const ANSWERED_WITHIN: Duration = Duration::from_millis(2_500);
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// Every kind of call fails in time, and says that a retry may help.
async fn assert_unavailable(store: &Store) {
    async fn check<T>(what: &str, call: impl Future<Output = Result<T>>) {
        let started = Instant::now();
        let Err(error) = call.await else { panic!("{what} succeeded without Redis") };
        assert!(matches!(error, StoreError::Unavailable { .. }) && error.retryable(), "{what}: {error:?}");
        assert!(started.elapsed() < ANSWERED_WITHIN, "{what} took {:?}", started.elapsed());
    }
    let (presence, users) = (&store.presence, ["alice".to_owned()]);
    let range = ReadRange { limit: 10, ..ReadRange::default() };
    tokio::join!(
        check("heartbeat", store.nodes.heartbeat(NodeLoad::default())),
        check("alive", store.nodes.alive()),
        check("connect", presence.connect("alice", "s1")),
        check("disconnect", presence.disconnect("alice", "s1")),
        check("count", presence.count()),
        check("get", presence.get(&users)),
        check("list", presence.list(10, None)),
        check("join", presence.join("room", "alice", "s1", &[])),
        check("leave", presence.leave("room", "alice", "s1")),
        check("sweep", presence.sweep()),
        check("append", store.log.append(entry(None), &[])),
        check("read", store.log.read("general", range)),
    );
}

#[tokio::test]
async fn without_redis_calls_fail_in_time_and_with_it_they_work_again() {
    within_deadline(async {
        let mut server = RedisServer::start_with_aof().await;
        let store = node(&server, "one");
        let before = store.log.append(entry(Some("m1")), &[]).await.unwrap();

        server.stop().await;
        assert_unavailable(&store).await;

        server.restart(Data::Keep).await;
        let after = store.log.append(entry(Some("m2")), &[]).await.unwrap();
        assert_eq!(after.seq, before.seq + 1, "the log goes on");
        let page =
            store.log.read("general", ReadRange { after: Some(before.seq), limit: 10, before: None }).await.unwrap();
        let seen = Position { epoch: before.epoch, seq: before.seq };
        assert!(page.complete && page.honours(&seen), "whoever saw the end of it goes on from there: {page:?}");
        assert!(store.log.append(entry(Some("m1")), &[]).await.unwrap().duplicate, "and remembers");
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_was_never_there_is_found_when_it_comes() {
    within_deadline(async {
        let mut server = RedisServer::start().await;
        server.stop().await;
        let store = node(&server, "one");
        assert_unavailable(&store).await;
        server.restart(Data::Keep).await;
        assert_eq!(store.presence.count().await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_hangs_does_not_hang_its_callers() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let store = node(&server, "one");
        store.presence.count().await.unwrap();
        server.pause();
        assert_unavailable(&store).await;
        server.resume();
        eventually(BACK_WITHIN, "the store working again", async || store.presence.count().await.ok()).await;
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_that_redis_closed_fails_nobody() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let store = node(&server, "one");
        let mut admin = server.connection().await;
        for _ in 0..5 {
            store.presence.count().await.expect("the connection that was closed is replaced unnoticed");
            let closed: u32 = redis::cmd("CLIENT")
                .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
                .query_async(&mut admin)
                .await
                .unwrap();
            assert_eq!(closed, 1);
            // Redis answers these after it closed; meanwhile the store's reader gets its turn to see the end.
            for _ in 0..3 {
                let _: String = redis::cmd("PING").query_async(&mut admin).await.unwrap();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn after_redis_lost_its_data_logs_have_a_new_epoch_and_nodes_report_again() {
    within_deadline(async {
        let mut server = RedisServer::start().await;
        let store = node(&server, "one");
        store.nodes.heartbeat(NodeLoad::default()).await.unwrap();
        assert_eq!(store.nodes.heartbeat(NodeLoad::default()).await.unwrap(), Lease::Renewed);
        store.presence.connect("alice", "s1").await.unwrap();
        let before = store.log.append(entry(None), &[]).await.unwrap();

        server.restart(Data::Lose).await;
        let heartbeat =
            eventually(BACK_WITHIN, "a heartbeat", async || store.nodes.heartbeat(NodeLoad::default()).await.ok());
        assert_eq!(heartbeat.await, Lease::Started);
        let after = store.log.append(entry(None), &[]).await.unwrap();
        assert_eq!(after.seq, 1);
        assert_ne!(after.epoch, before.epoch);
        assert!(store.presence.connect("alice", "s1").await.unwrap().first);
    })
    .await;
}

#[tokio::test]
async fn a_restart_that_kept_the_lease_makes_nodes_report_again_too() {
    within_deadline(async {
        let mut server = RedisServer::start_with_aof().await;
        let store = node(&server, "one");
        store.nodes.heartbeat(NodeLoad::default()).await.unwrap();
        server.kill();
        server.restart(Data::Keep).await;
        let heartbeat =
            eventually(BACK_WITHIN, "a heartbeat", async || store.nodes.heartbeat(NodeLoad::default()).await.ok());
        assert_eq!(heartbeat.await, Lease::Started);
        assert_eq!(store.nodes.heartbeat(NodeLoad::default()).await.unwrap(), Lease::Renewed);
    })
    .await;
}

#[tokio::test]
async fn a_full_redis_takes_no_half_message() {
    within_deadline(async {
        let server = RedisServer::start_with(&["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]).await;
        let store = node(&server, "one");
        let mut stored = 0;
        let error = loop {
            let large = trunkline_store::NewEntry { body: "x".repeat(100_000), ..entry(None) };
            match store.log.append(large, &[]).await {
                Ok(appended) => stored = appended.seq,
                Err(error) => break error,
            }
            assert!(stored < 1_000, "3 MB hold no 100 MB");
        };
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        let page = store.log.read("general", ReadRange { limit: 1_000, ..ReadRange::default() }).await.unwrap();
        assert_eq!((page.seq, page.entries.len() as u64), (stored, stored));

        let _: () = redis::cmd("CONFIG")
            .arg(&["SET", "maxmemory", "0"])
            .query_async(&mut server.connection().await)
            .await
            .unwrap();
        assert_eq!(store.log.append(entry(None), &[]).await.unwrap().seq, stored + 1, "no number is skipped");
    })
    .await;
}

#[tokio::test]
async fn a_key_that_holds_something_else_is_refused_for_good() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let store = node(&server, "one");
        let _: () = redis::cmd("SET")
            .arg(trunkline_store::keys::Realm::common().log_head("general"))
            .arg("not a hash")
            .query_async(&mut server.connection().await)
            .await
            .unwrap();
        let error = store.log.append(entry(None), &[]).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }) && !error.retryable(), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn an_entry_that_makes_no_sense_is_reported_as_such() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let store = node(&server, "one");
        store.log.append(entry(None), &[]).await.unwrap();
        let _: String = redis::cmd("XADD")
            .arg(trunkline_store::keys::Realm::common().log("general"))
            .arg(&["2-0", "t", "yesterday", "s", "alice", "b", "{}", "e", "x"])
            .query_async(&mut server.connection().await)
            .await
            .unwrap();
        let range = ReadRange { limit: 10, ..ReadRange::default() };
        let error = store.log.read("general", range).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }) && !error.retryable(), "{error:?}");
        assert_eq!(error.to_string(), "the store holds something unexpected: entry 2-0 of the log of \"general\"");
    })
    .await;
}
