//! Memos.

use crate::bench::Bench;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

pub(crate) async fn a_memo_is_claimed_once_until_it_ends(bench: Bench) {
    let store = &bench.store;
    assert_eq!(store.memos.claim("turn", "mine", LONG).await.unwrap(), None);
    assert_eq!(store.memos.claim("turn", "yours", LONG).await.unwrap().as_deref(), Some("mine"));
    store.memos.put("turn", "changed", LONG).await.unwrap();
    assert_eq!(store.memos.claim("turn", "yours", LONG).await.unwrap().as_deref(), Some("changed"));
    assert_eq!(store.realm("/other").memos.claim("turn", "yours", LONG).await.unwrap(), None);
    store.memos.forget("turn").await.unwrap();
    assert_eq!(store.memos.claim("turn", "yours", Duration::from_millis(1)).await.unwrap(), None);
    let freed = async { while store.memos.claim("turn", "next", LONG).await.unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(10), freed).await.unwrap();
}
