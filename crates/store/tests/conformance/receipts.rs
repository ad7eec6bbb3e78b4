//! Receipts.

use crate::bench::Bench;
use crate::log::{append, entry};
use trunkline_store::{Marks, NewEntry, Receipt, Receipts};

async fn seen(receipts: &dyn Receipts, seq: u64) -> (Vec<String>, Vec<String>) {
    let seen = receipts.seen("general", seq).await.unwrap();
    assert!(!seen.more);
    (seen.delivered_to, seen.read_by)
}

fn names(of: &[&str]) -> Vec<String> {
    of.iter().map(ToString::to_string).collect()
}

pub(crate) async fn receipts_only_grow(bench: Bench) {
    let receipts = &*bench.store.receipts;
    for _ in 0..5 {
        append(&*bench.store.log, "{}").await;
    }
    assert!(receipts.mark("general", "bob", Receipt::Delivered, 3).await.unwrap());
    assert!(!receipts.mark("general", "bob", Receipt::Delivered, 2).await.unwrap(), "not back");
    assert!(!receipts.mark("general", "bob", Receipt::Delivered, 3).await.unwrap(), "not again");
    assert_eq!(receipts.marks("general", "bob").await.unwrap(), Marks { delivered: 3, read: 0 });
    assert!(receipts.mark("general", "bob", Receipt::Read, 4).await.unwrap());
    assert_eq!(receipts.marks("general", "bob").await.unwrap(), Marks { delivered: 4, read: 4 });
    assert!(receipts.mark("general", "bob", Receipt::Delivered, 5).await.unwrap());
    assert!(!receipts.mark("general", "bob", Receipt::Read, 1).await.unwrap());
    assert_eq!(receipts.marks("general", "bob").await.unwrap(), Marks { delivered: 5, read: 4 });
    assert_eq!(receipts.marks("general", "nobody").await.unwrap(), Marks::default());
}

pub(crate) async fn receipts_end_where_the_log_ends(bench: Bench) {
    let receipts = &*bench.store.receipts;
    assert!(!receipts.mark("general", "bob", Receipt::Read, 7).await.unwrap(), "there is nothing to read");
    append(&*bench.store.log, "{}").await;
    assert!(!receipts.mark("general", "bob", Receipt::Read, 0).await.unwrap());
    assert!(receipts.mark("general", "bob", Receipt::Read, u64::MAX).await.unwrap());
    assert_eq!(receipts.marks("general", "bob").await.unwrap().read, 1);
    append(&*bench.store.log, "{}").await;
    assert_eq!(receipts.marks("general", "bob").await.unwrap().read, 1, "what came later is not read");
}

pub(crate) async fn an_entry_tells_who_received_and_read_it(bench: Bench) {
    let receipts = &*bench.store.receipts;
    for _ in 0..3 {
        append(&*bench.store.log, "{}").await;
    }
    receipts.mark("general", "dave", Receipt::Delivered, 1).await.unwrap();
    receipts.mark("general", "carol", Receipt::Delivered, 2).await.unwrap();
    receipts.mark("general", "bob", Receipt::Read, 2).await.unwrap();
    assert_eq!(seen(receipts, 1).await, (names(&["alice", "bob", "carol", "dave"]), names(&["alice", "bob"])));
    assert_eq!(seen(receipts, 2).await, (names(&["alice", "bob", "carol"]), names(&["alice", "bob"])));
    assert_eq!(seen(receipts, 3).await, (names(&["alice"]), names(&["alice"])), "who writes has read");
    assert_eq!(seen(receipts, 0).await, seen(receipts, 1).await, "who has come nowhere has not come to the beginning");
    assert_eq!(receipts.seen("elsewhere", 1).await.unwrap(), trunkline_store::Seen::default());
}

pub(crate) async fn what_a_user_writes_moves_their_own_receipts_only(bench: Bench) {
    append(&*bench.store.log, "{}").await;
    let from_bob = NewEntry { sender: "bob".into(), ..entry("{}") };
    bench.store.log.append(from_bob, &[]).await.unwrap();
    let marks = async |user| bench.store.receipts.marks("general", user).await.unwrap();
    assert_eq!(marks("alice").await, Marks { delivered: 1, read: 1 });
    assert_eq!(marks("bob").await, Marks { delivered: 2, read: 2 });
}
