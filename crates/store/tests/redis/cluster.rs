//! Several nodes, some of which die.

use crate::{entry, members, node, within_deadline};
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::time::Duration;
use trunkline_store::{GoneOffline, Lease, Member, NodeLoad, Store};
use trunkline_testkit::{RedisServer, eventually};

/// A dead node's lease, a sweep after it, and room for a slow machine.
const LEASE_AND_SWEEP: Duration = Duration::from_secs(20);

async fn beat(store: &Store) -> Lease {
    store.nodes.heartbeat(NodeLoad::default()).await.unwrap()
}

/// Ends a lease as if its node had been silent for long enough.
async fn end_lease(server: &RedisServer, id: &str) {
    let instance = format!("epoch-of-{id}");
    let mut connection = server.connection().await;
    let tags = (0..trunkline_store::keys::BUCKETS).map(trunkline_store::keys::bucket_leases);
    for key in tags.chain([trunkline_store::keys::leases()]) {
        let ended: i64 = redis::cmd("ZADD")
            .arg(key)
            .arg("XX")
            .arg("CH")
            .arg(1_700_000_000_000_u64)
            .arg(&instance)
            .query_async(&mut connection)
            .await
            .unwrap();
        assert_eq!(ended, 1, "{id} had a lease");
    }
}

async fn sweep_everywhere(stores: &[&Store]) -> Vec<GoneOffline> {
    let swept = join_all(stores.iter().map(|store| store.presence.sweep())).await;
    swept.into_iter().flat_map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_user_on_two_nodes_comes_and_goes_once() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let (one, two) = (node(&server, "one"), node(&server, "two"));
        for round in 0..30 {
            let (a, b) = (format!("a{round}"), format!("b{round}"));
            let (first, second) = tokio::join!(one.presence.connect("alice", &a), two.presence.connect("alice", &b));
            assert!(first.unwrap().first ^ second.unwrap().first);
            assert_eq!(two.presence.get(&["alice".into()]).await.unwrap()[0].sockets, 2);
            let (first, second) =
                tokio::join!(one.presence.disconnect("alice", &a), two.presence.disconnect("alice", &b));
            assert!(first.unwrap().last ^ second.unwrap().last);
        }
        assert_eq!(one.presence.count().await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn online_and_offline_alternate_however_nodes_race() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let stores: Vec<Store> = (0..4).map(|n| node(&server, &format!("node-{n}"))).collect();
        let flapping = stores.iter().map(async |store| {
            let mut balance = 0;
            for round in 0..50 {
                let socket = format!("s{round}");
                balance += i32::from(store.presence.connect("alice", &socket).await.unwrap().first);
                balance -= i32::from(store.presence.disconnect("alice", &socket).await.unwrap().last);
            }
            balance
        });
        let balances = join_all(flapping).await;
        assert_eq!(balances.into_iter().sum::<i32>(), 0, "as many went offline as came online");
        assert_eq!(stores[0].presence.count().await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn users_of_a_dead_node_are_swept_exactly_once_by_three_sweepers() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let dead = node(&server, "dead");
        let living: Vec<Store> = ["one", "two", "three"].map(|id| node(&server, id)).into();
        for store in living.iter().chain([&dead]) {
            assert_eq!(beat(store).await, Lease::Started);
        }
        // More than the sweeper takes in one step.
        let users: Vec<String> = (0..2_000).map(|n| format!("user-{n}")).collect();
        for chunk in users.chunks(200) {
            join_all(chunk.iter().map(|user| dead.presence.connect(user, user))).await;
        }
        living[0].presence.connect("user-0", "elsewhere").await.unwrap();
        dead.presence.connect("user-1", "second socket").await.unwrap();
        assert_eq!(living[1].presence.count().await.unwrap(), 2_000);

        end_lease(&server, "dead").await;
        let swept = eventually(DEADLINE, "every user of the dead node being swept", {
            let gone = std::sync::Mutex::new(Vec::new());
            let (gone, living) = (std::sync::Arc::new(gone), &living);
            move || {
                let gone = std::sync::Arc::clone(&gone);
                async move {
                    let found = sweep_everywhere(&[&living[0], &living[1], &living[2]]).await;
                    let mut gone = gone.lock().unwrap();
                    gone.extend(found);
                    (gone.len() >= 1_999).then(|| gone.clone())
                }
            }
        })
        .await;
        assert_eq!(swept.len(), 1_999, "nobody twice");
        let names: BTreeSet<String> = swept.iter().map(|gone| gone.user_id.clone()).collect();
        assert_eq!(names, users[1..].iter().cloned().collect());
        assert!(swept.iter().all(|gone| gone.last_seen_ms == 1_700_000_000_000), "seen until the lease ended");

        assert_eq!(sweep_everywhere(&[&living[0], &living[1], &living[2]]).await, []);
        assert_eq!(living[2].presence.count().await.unwrap(), 1);
        let back = living[2].presence.connect("user-5", "again").await.unwrap();
        assert!(back.first, "whoever was swept comes online again");
    })
    .await;
}

const DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_dead_node_counts_no_more_once_its_lease_has_ended() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let (dead, living) = (node(&server, "dead"), node(&server, "living"));
        beat(&dead).await;
        beat(&living).await;
        dead.presence.connect("alice", "s1").await.unwrap();
        dead.presence.enter("room", "alice", "s1").await.unwrap();
        living.presence.join("room", "bob", "s2", &[]).await.unwrap();
        assert_eq!(members(&living, "room").await.len(), 2);

        // The lease itself, in real time, while the living node keeps its own.
        eventually(LEASE_AND_SWEEP, "alice being offline", async || {
            beat(&living).await;
            !living.presence.get(&["alice".into()]).await.unwrap()[0].online
        })
        .await;
        let bob = Member { user_id: "bob".into(), sockets: 1 };
        eventually(LEASE_AND_SWEEP, "alice being out of the room", async || {
            beat(&living).await;
            members(&living, "room").await == [bob.clone()]
        })
        .await;
        assert_eq!(living.presence.list(10, None).await.unwrap().users, [], "listed are those online");

        let swept = living.presence.sweep().await.unwrap();
        assert_eq!(swept.iter().map(|gone| gone.user_id.as_str()).collect::<Vec<_>>(), ["alice"]);
        assert_eq!(living.presence.count().await.unwrap(), 0);
        assert_eq!(living.presence.get(&["alice".into()]).await.unwrap()[0].last_seen_ms, Some(swept[0].last_seen_ms));
    })
    .await;
}

#[tokio::test]
async fn a_node_that_was_taken_for_dead_is_told_to_report_its_sockets() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let (paused, living) = (node(&server, "paused"), node(&server, "living"));
        beat(&paused).await;
        beat(&living).await;
        assert!(paused.presence.connect("alice", "s1").await.unwrap().first);
        paused.presence.enter("room", "alice", "s1").await.unwrap();
        assert_eq!(beat(&paused).await, Lease::Renewed);

        end_lease(&server, "paused").await;
        assert_eq!(living.presence.sweep().await.unwrap().len(), 1);
        assert_eq!(members(&living, "room").await, []);

        // Back, it serves a socket before it notices: that must not hide from it what it lost.
        paused.presence.connect("carol", "s2").await.unwrap();
        assert_eq!(beat(&paused).await, Lease::Lapsed);
        assert!(paused.presence.connect("alice", "s1").await.unwrap().first, "announced offline, so online again");
        assert!(!paused.presence.connect("carol", "s2").await.unwrap().first);
        paused.presence.enter("room", "alice", "s1").await.unwrap();
        assert_eq!(members(&living, "room").await.len(), 1);
        assert_eq!(beat(&paused).await, Lease::Renewed);
        assert_eq!(living.presence.count().await.unwrap(), 2);
        assert_eq!(living.presence.sweep().await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn a_lapsed_lease_that_nobody_swept_loses_no_count() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let (paused, living) = (node(&server, "paused"), node(&server, "living"));
        beat(&paused).await;
        paused.presence.connect("alice", "s1").await.unwrap();
        end_lease(&server, "paused").await;
        // Announced as online already, and never as offline.
        assert!(!living.presence.connect("alice", "s2").await.unwrap().first);
        assert!(living.presence.disconnect("alice", "s2").await.unwrap().last);

        assert_eq!(beat(&paused).await, Lease::Lapsed);
        assert!(paused.presence.connect("alice", "s1").await.unwrap().first);
        assert_eq!(living.presence.get(&["alice".into()]).await.unwrap()[0].sockets, 1);
        assert!(paused.presence.disconnect("alice", "s1").await.unwrap().last);
    })
    .await;
}

#[tokio::test]
async fn a_node_that_leaves_with_open_sockets_is_swept_at_once() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let (leaving, living) = (node(&server, "leaving"), node(&server, "living"));
        beat(&leaving).await;
        beat(&living).await;
        leaving.presence.connect("alice", "s1").await.unwrap();
        leaving.presence.enter("room", "alice", "s1").await.unwrap();
        leaving.nodes.leave(Duration::ZERO).await.unwrap();
        assert_eq!(living.nodes.alive().await.unwrap().len(), 1);
        assert_eq!(living.presence.sweep().await.unwrap().len(), 1);
        assert_eq!(members(&living, "room").await, []);
    })
    .await;
}

#[tokio::test]
async fn who_turns_up_elsewhere_within_the_grace_of_a_leaving_node_never_went_offline() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let (leaving, living) = (node(&server, "leaving"), node(&server, "living"));
        beat(&leaving).await;
        beat(&living).await;
        leaving.presence.connect("alice", "s1").await.unwrap();
        leaving.presence.connect("bob", "s2").await.unwrap();
        leaving.nodes.leave(Duration::from_secs(2)).await.unwrap();
        assert_eq!(living.presence.sweep().await.unwrap(), [], "the grace runs");
        assert!(!living.presence.connect("alice", "s3").await.unwrap().first);
        let gone = eventually(LEASE_AND_SWEEP, "the sweep after the grace", async || {
            living.presence.sweep().await.unwrap().pop()
        })
        .await;
        assert_eq!(gone.user_id, "bob");
        assert_eq!(living.presence.sweep().await.unwrap(), []);
        assert!(living.presence.get(&["alice".into()]).await.unwrap()[0].online);
    })
    .await;
}

#[tokio::test]
async fn another_node_sweeps_when_the_sweeper_dies() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let (sweeper, other, dead) = (node(&server, "sweeper"), node(&server, "other"), node(&server, "dead"));
        beat(&dead).await;
        dead.presence.connect("alice", "s1").await.unwrap();
        assert_eq!(sweeper.presence.sweep().await.unwrap(), [], "elected");
        end_lease(&server, "dead").await;
        assert_eq!(other.presence.sweep().await.unwrap(), [], "not elected");
        let gone = eventually(LEASE_AND_SWEEP, "the other node sweeping", async || {
            other.presence.sweep().await.unwrap().pop()
        })
        .await;
        assert_eq!(gone.user_id, "alice");
    })
    .await;
}

#[tokio::test]
async fn nodes_append_to_one_log() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let stores = [node(&server, "one"), node(&server, "two")];
        let appends = (0..60).map(|n| stores[n % 2].log.append(entry(Some(&format!("m{}", n / 2))), &[]));
        let appended: Vec<_> = join_all(appends).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(appended.iter().filter(|appended| !appended.duplicate).count(), 30, "each message once");
        let seqs: BTreeSet<u64> = appended.iter().map(|appended| appended.seq).collect();
        assert_eq!(seqs, (1..=30).collect());
        assert!(appended.iter().all(|one| one.epoch == appended[0].epoch));
    })
    .await;
}

#[tokio::test]
async fn a_socket_that_is_on_two_nodes_keeps_its_name_until_both_have_given_it_up() {
    within_deadline(async {
        let server = RedisServer::start().await;
        let (old, new) = (node(&server, "old"), node(&server, "new"));
        let is_taken = async || new.presence.any_socket(&["s".into()]).await.unwrap();
        beat(&old).await;
        beat(&new).await;
        old.presence.connect("alice", "s").await.unwrap();
        // Recovered on another node, and told twice.
        for _ in 0..2 {
            new.presence.connect("alice", "s").await.unwrap();
        }
        old.presence.disconnect("alice", "s").await.unwrap();
        assert!(is_taken().await);
        old.presence.disconnect("alice", "s").await.unwrap();
        assert!(is_taken().await);
        old.presence.connect("alice", "s").await.unwrap();
        end_lease(&server, "old").await;
        new.presence.sweep().await.unwrap();
        assert!(is_taken().await, "the old node died");
        new.presence.disconnect("alice", "s").await.unwrap();
        assert!(!is_taken().await);
    })
    .await;
}

#[tokio::test]
async fn a_node_that_comes_back_while_it_is_swept_loses_no_more_than_the_sweeper_had_in_hand() {
    const SOCKETS: usize = 3_000;
    const IN_HAND: usize = 48;
    within_deadline(async {
        let server = RedisServer::start().await;
        let (back, sweeper) = (node(&server, "back"), node(&server, "sweeper"));
        let enter_all = async || {
            for first in (0..SOCKETS).step_by(250) {
                let sockets: Vec<String> = (first..first + 250).map(|n| n.to_string()).collect();
                join_all(sockets.iter().map(|socket| back.presence.enter("room", "alice", socket))).await;
            }
        };
        let mut connection = server.connection().await;
        let mut seats = async || {
            let room = trunkline_store::keys::Realm::common().room("room");
            redis::cmd("ZCARD").arg(room).query_async::<usize>(&mut connection).await.unwrap()
        };
        beat(&back).await;
        enter_all().await;
        assert_eq!(seats().await, SOCKETS);
        end_lease(&server, "back").await;
        let comes_back = async {
            while seats().await == SOCKETS {}
            assert_eq!(beat(&back).await, Lease::Lapsed);
            enter_all().await;
        };
        let (swept, ()) = tokio::join!(sweeper.presence.sweep(), comes_back);
        swept.unwrap();
        let left = seats().await;
        assert!(left >= SOCKETS - IN_HAND, "{left} seats are left");
        enter_all().await;
        sweeper.presence.sweep().await.unwrap();
        assert_eq!(seats().await, SOCKETS);
    })
    .await;
}
