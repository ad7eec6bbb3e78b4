//! A Redis that comes back without the last entries that it acknowledged.

use crate::{entry, node, within_deadline};
use std::time::Duration;
use trunkline_store::{Appended, LogPage, Position, ReadRange, Receipt, Store};
use trunkline_testkit::{Data, RedisSentinel, RedisServer, eventually};

fn place(of: &Appended) -> Position {
    Position { epoch: of.epoch.clone(), seq: of.seq }
}

async fn append(store: &Store) -> Appended {
    store.log.append(entry(None), &[]).await.unwrap()
}

async fn read_after(store: &Store, position: &Position) -> LogPage {
    let range = ReadRange { after: Some(position.seq), limit: 100, before: None };
    store.log.read("general", range).await.unwrap()
}

/// The state of the last `SAVE` is what a crash leaves.
async fn save(server: &RedisServer) {
    let _: String = redis::cmd("SAVE").query_async(&mut server.connection().await).await.unwrap();
}

#[tokio::test]
async fn whoever_saw_lost_entries_is_not_served_as_if_nothing_happened() {
    within_deadline(async {
        let mut server = RedisServer::start().await;
        let store = node(&server, "one");
        let mut places = Vec::new();
        for _ in 0..3 {
            places.push(place(&append(&store).await));
        }
        save(&server).await;
        for _ in 0..2 {
            places.push(place(&append(&store).await));
        }
        assert!(store.receipts.mark("general", "bob", Receipt::Read, 5).await.unwrap());
        save_not_and_crash(&mut server).await;

        let before = eventually(Duration::from_secs(10), "Redis being back", async || {
            let range = ReadRange { limit: 100, ..ReadRange::default() };
            store.log.read("general", range).await.ok()
        })
        .await;
        assert_eq!(before.seq, 3, "4 and 5 are lost");
        assert!(before.honours(&places[2]) && !before.honours(&places[3]));
        assert!(!read_after(&store, &places[4]).await.complete);

        // Their numbers are given out again, under another epoch.
        let fourth = append(&store).await;
        assert_eq!(fourth.seq, 4);
        assert_ne!(fourth.epoch, places[0].epoch);
        append(&store).await;
        let after = read_after(&store, &places[2]).await;
        assert!(after.complete && after.honours(&places[2]), "who saw what is left goes on from there");
        assert_eq!(after.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [4, 5]);
        assert!(!after.honours(&places[3]) && !after.honours(&places[4]), "who saw what is lost does not");
        assert!(after.honours(&place(&fourth)));

        let all = read_after(&store, &Position::default()).await;
        let epochs: Vec<&str> = all.entries.iter().map(|entry| entry.epoch.as_str()).collect();
        let (old, new) = (places[0].epoch.as_str(), fourth.epoch.as_str());
        assert_eq!(epochs, [old, old, old, new, new], "an entry keeps its id");
        assert_eq!(append(&store).await.epoch, new, "one branch a crash");
    })
    .await;
}

/// Nothing is written at the end, as with a power failure.
async fn save_not_and_crash(server: &mut RedisServer) {
    server.kill();
    server.restart(Data::Keep).await;
}

#[tokio::test]
async fn receipts_of_lost_entries_are_taken_back() {
    within_deadline(async {
        let mut server = RedisServer::start().await;
        let store = node(&server, "one");
        append(&store).await;
        append(&store).await;
        assert!(store.receipts.mark("general", "bob", Receipt::Read, 2).await.unwrap());
        save(&server).await;
        // As if the receipts had survived and the end of the log had not.
        let key = trunkline_store::keys::Realm::common().read("general");
        let _: () =
            redis::cmd("ZADD").arg(&key).arg(9).arg("bob").query_async(&mut server.connection().await).await.unwrap();
        save(&server).await;
        save_not_and_crash(&mut server).await;
        eventually(Duration::from_secs(10), "an append", async || store.log.append(entry(None), &[]).await.ok()).await;
        assert_eq!(store.receipts.marks("general", "bob").await.unwrap().read, 2, "3 is new");
    })
    .await;
}

#[tokio::test]
async fn a_log_survives_many_crashes_and_remembers_the_last_of_them() {
    within_deadline(async {
        let mut server = RedisServer::start().await;
        let store = node(&server, "one");
        let mut places = Vec::new();
        for _ in 0..18 {
            let appended = eventually(Duration::from_secs(10), "an append", async || {
                store.log.append(entry(None), &[]).await.ok()
            });
            places.push(place(&appended.await));
            save(&server).await;
            save_not_and_crash(&mut server).await;
        }
        let page = eventually(Duration::from_secs(10), "Redis being back", async || {
            store.log.read("general", ReadRange { limit: 100, ..ReadRange::default() }).await.ok()
        })
        .await;
        assert_eq!((page.seq, page.entries.len(), page.ancestors.len()), (18, 18, 16));
        let honoured: Vec<bool> = places.iter().map(|place| page.honours(place)).collect();
        assert_eq!(honoured, [&[false][..], &[true; 17]].concat());
    })
    .await;
}

#[tokio::test]
async fn a_promoted_replica_begins_an_epoch() {
    within_deadline(async {
        let set = RedisSentinel::start().await;
        let identity = trunkline_store::NodeIdentity {
            id: "one".into(),
            epoch: "e".into(),
            advertise: None,
            version: String::new(),
        };
        let store = Store::redis(&set.url().parse().unwrap(), identity, trunkline_store::LogLimits::default());
        let first = append(&store).await;
        set.fail_over().await;
        let second = eventually(Duration::from_secs(20), "an append", async || {
            store.log.append(entry(Some("m")), &[]).await.ok()
        })
        .await;
        assert_ne!(first.epoch, second.epoch);
        let page = read_after(&store, &Position::default()).await;
        assert!(page.honours(&place(&second)));
        assert_eq!(page.ancestors.len(), 1);
    })
    .await;
}
