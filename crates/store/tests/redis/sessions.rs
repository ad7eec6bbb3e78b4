//! Sessions of nodes that are gone, and realms of nodes that are.

use crate::{node, node_with, within_deadline};
use std::time::Duration;
use trunkline_store::{GoneOffline, Joined, Limits, NodeIdentity, NodeLoad, Session, Store, keys};
use trunkline_testkit::{RedisServer, eventually};

fn session(user: &str) -> Session {
    Session { socket: "s1".into(), user: user.into(), namespace: "/".into(), rooms: Vec::new() }
}

#[tokio::test]
async fn sessions_of_a_node_that_died_are_found_by_another() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let (dead, living) = (node(&server, "dead"), node(&server, "living"));
        dead.nodes.heartbeat(NodeLoad::default()).await.unwrap();
        let ids: Vec<String> = (0..50).map(|_| dead.sessions.new_id()).collect();
        for id in &ids {
            dead.sessions.begin(id, &session(id)).await.unwrap();
        }
        // Nothing is done for them at the end.
        drop(dead);
        for id in &ids {
            assert_eq!(living.sessions.take(id).await.unwrap(), Some(session(id)));
            living.sessions.begin(id, &session(id)).await.unwrap();
            assert_eq!(living.sessions.take(id).await.unwrap(), Some(session(id)));
        }
    })
    .await;
}

#[tokio::test]
async fn sessions_expire_a_window_after_their_nodes_last_heartbeat() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let identity = NodeIdentity { id: "one".into(), epoch: "e".into(), advertise: None, version: String::new() };
        let limits = Limits { recovery_window: Duration::from_secs(60), ..Limits::default() };
        let store = Store::redis(&server.url().parse().unwrap(), identity, limits);
        let id = store.sessions.new_id();
        store.sessions.begin(&id, &session("alice")).await.unwrap();
        let mut connection = server.connection().await;
        let bucket = keys::bucket(&id);
        for key in [keys::sessions(bucket, "e"), keys::session_nodes(bucket)] {
            // As if nobody had renewed it for long.
            let _: () = redis::cmd("PEXPIRE").arg(&key).arg(5_000).query_async(&mut connection).await.unwrap();
            store.nodes.heartbeat(NodeLoad::default()).await.unwrap();
            let expiry: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut connection).await.unwrap();
            assert!((60_000..=70_000).contains(&expiry), "{key} {expiry}");
        }
        store.sessions.detach(&id).await.unwrap();
        let key = keys::detached_session(&id);
        let expiry: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut connection).await.unwrap();
        assert!((1..=60_000).contains(&expiry), "{expiry}");
        assert!(store.sessions.take(&id).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn users_of_a_dead_node_go_offline_in_their_realm_and_their_rooms_there_are_left() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let (dead, living) = (node(&server, "dead"), node(&server, "living"));
        for realm in ["", "/dynamic-1"] {
            let store = dead.realm(realm);
            store.presence.connect("alice", "s1").await.unwrap();
            let joined = store.presence.join("room", "alice", "s1", &[]).await.unwrap();
            assert!(matches!(joined, Joined::In(_)));
        }
        living.realm("/dynamic-1").presence.connect("alice", "s2").await.unwrap();
        dead.nodes.heartbeat(NodeLoad::default()).await.unwrap();
        dead.nodes.leave(Duration::ZERO).await.unwrap();
        let gone = living.presence.sweep().await.unwrap();
        let brief = |gone: &GoneOffline| (gone.realm.clone(), gone.user_id.clone());
        assert_eq!(gone.iter().map(brief).collect::<Vec<_>>(), [(String::new(), "alice".into())]);
        assert_eq!(living.realm("/dynamic-1").presence.count().await.unwrap(), 1);
        assert!(!living.presence.any_socket(&["s1".into()]).await.unwrap(), "the name is free");
        let mut connection = server.connection().await;
        for key in [keys::Realm::common().room("room"), keys::Realm::named("/dynamic-1").room("room")] {
            let left: bool = redis::cmd("EXISTS").arg(&key).query_async(&mut connection).await.unwrap();
            assert!(!left, "{key}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_room_that_was_left_while_redis_was_away_is_left_when_it_is_back() {
    within_deadline(async {
        let mut server = RedisServer::start_with_aof().await;
        let store = node_with(&server, "one", trunkline_store::LogLimits::default());
        store.presence.enter("room", "alice", "s1").await.unwrap();
        store.presence.enter("room", "bob", "s2").await.unwrap();
        server.stop().await;
        assert!(store.presence.leave("room", "alice", "s1").await.is_err());
        assert!(store.presence.leave("room", "bob", "s2").await.is_err());
        server.restart(trunkline_testkit::Data::Keep).await;
        // He came back meanwhile.
        eventually(Duration::from_secs(10), "bob being back", async || {
            store.presence.enter("room", "bob", "s2").await.ok()
        })
        .await;
        store.nodes.heartbeat(NodeLoad::default()).await.unwrap();
        let members = crate::members(&store, "room").await;
        assert_eq!(members.iter().map(|member| member.user_id.as_str()).collect::<Vec<_>>(), ["bob"]);
    })
    .await;
}
