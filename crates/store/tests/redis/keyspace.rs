//! What is left in Redis.

use crate::{entry, node, node_with, within_deadline};
use redis::aio::MultiplexedConnection;
use std::time::Duration;
use trunkline_store::{LogLimits, NodeLoad, ReadRange, keys, keys::Realm};
use trunkline_testkit::RedisServer;

async fn all_keys(connection: &mut MultiplexedConnection) -> Vec<String> {
    redis::cmd("KEYS").arg("*").query_async(connection).await.unwrap()
}

async fn expiry_ms(connection: &mut MultiplexedConnection, key: &str) -> i64 {
    redis::cmd("PTTL").arg(key).query_async(connection).await.unwrap()
}

#[tokio::test]
async fn only_what_expires_is_left_when_everybody_has_gone() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let store = node(&server, "one");
        store.nodes.heartbeat(NodeLoad::default()).await.unwrap();
        for n in 0..50 {
            let (user, socket) = (format!("user-{n}"), format!("s{n}"));
            store.presence.connect(&user, &socket).await.unwrap();
            store.presence.enter("room", &user, &socket).await.unwrap();
            store.log.append(entry(Some(&socket)), &[]).await.unwrap();
        }
        store.presence.sweep().await.unwrap();
        for n in 0..50 {
            let (user, socket) = (format!("user-{n}"), format!("s{n}"));
            store.presence.leave("room", &user, &socket).await.unwrap();
            store.presence.disconnect(&user, &socket).await.unwrap();
        }
        store.nodes.leave(Duration::ZERO).await.unwrap();

        let mut connection = server.connection().await;
        let left = all_keys(&mut connection).await;
        assert_eq!(
            left.len(),
            50 + 50 + 4 + 2,
            "last seen, sent, the log, its head and receipts, the sweeper, the name of the data"
        );
        for key in left.into_iter().filter(|key| *key != keys::data_name()) {
            assert!(key.starts_with("trunkline:"), "{key}");
            let expiry = expiry_ms(&mut connection, &key).await;
            assert!(expiry > 0, "{key} stays for ever");
            assert!(!key.contains(":sent:") || expiry > 600_000, "{key} is remembered for {expiry} ms only");
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_of_a_dead_node_is_left_after_the_sweep() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let (dead, living) = (node(&server, "dead"), node(&server, "living"));
        dead.nodes.heartbeat(NodeLoad::default()).await.unwrap();
        for n in 0..300 {
            let (user, socket) = (format!("user-{n}"), format!("s{n}"));
            dead.presence.connect(&user, &socket).await.unwrap();
            dead.presence.enter(&format!("room-{}", n % 7), &user, &socket).await.unwrap();
        }
        dead.nodes.leave(Duration::ZERO).await.unwrap();
        assert_eq!(living.presence.sweep().await.unwrap().len(), 300);

        let mut connection = server.connection().await;
        for key in all_keys(&mut connection).await.into_iter().filter(|key| *key != keys::data_name()) {
            assert!(expiry_ms(&mut connection, &key).await > 0, "{key} stays for ever");
        }
    })
    .await;
}

#[tokio::test]
async fn a_silent_log_expires_before_its_numbering() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let store = node_with(&server, "one", LogLimits { max_age: Duration::from_secs(60), ..LogLimits::default() });
        let first = store.log.append(entry(None), &[]).await.unwrap();
        let mut connection = server.connection().await;
        let log = expiry_ms(&mut connection, &Realm::common().log("general")).await;
        let head = expiry_ms(&mut connection, &Realm::common().log_head("general")).await;
        // A thirty-second part later than they have to, so that not every append moves the expiry.
        assert!((50_000..=61_875).contains(&log) && (110_000..=121_875).contains(&head), "{log} {head}");

        // As when only the log has expired.
        let _: () = redis::cmd("DEL").arg(Realm::common().log("general")).query_async(&mut connection).await.unwrap();
        let range = |after| ReadRange { after: Some(after), limit: 10, ..ReadRange::default() };
        assert!(!store.log.read("general", range(0)).await.unwrap().complete, "1 is gone");
        assert!(store.log.read("general", range(1)).await.unwrap().complete, "nothing after 1 is");
        let second = store.log.append(entry(None), &[]).await.unwrap();
        assert_eq!((second.seq, second.epoch), (2, first.epoch));
        assert!(expiry_ms(&mut connection, &Realm::common().log("general")).await > 50_000);
        assert!(!store.log.read("general", range(0)).await.unwrap().complete);
        assert_eq!(store.log.read("general", range(1)).await.unwrap().entries.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_log_without_its_head_starts_anew() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let store = node(&server, "one");
        for _ in 0..3 {
            store.log.append(entry(None), &[]).await.unwrap();
        }
        let mut connection = server.connection().await;
        let _: () =
            redis::cmd("DEL").arg(Realm::common().log_head("general")).query_async(&mut connection).await.unwrap();
        let range = ReadRange { limit: 10, ..ReadRange::default() };
        assert_eq!(store.log.read("general", range).await.unwrap().entries, []);
        assert_eq!(store.log.append(entry(None), &[]).await.unwrap().seq, 1);
        assert_eq!(store.log.read("general", range).await.unwrap().entries.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_lowered_limit_is_reached_in_bounded_steps() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let long = node(&server, "one");
        let old = 1_000;
        for _ in 0..200 {
            long.log.append(entry(None), &[]).await.unwrap();
        }
        let short = node_with(&server, "two", LogLimits { max_entries: 10, ..LogLimits::default() });
        let range = ReadRange { limit: old, ..ReadRange::default() };
        let mut lengths = Vec::new();
        while lengths.last() != Some(&10) {
            short.log.append(entry(None), &[]).await.unwrap();
            lengths.push(short.log.read("general", range).await.unwrap().entries.len());
        }
        assert!(lengths.len() > 1, "one append does not remove everything: {lengths:?}");
        assert!(lengths.windows(2).all(|pair| pair[0] - pair[1] <= 64), "{lengths:?}");
    })
    .await;
}
