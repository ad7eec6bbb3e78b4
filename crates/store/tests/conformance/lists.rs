//! Lists of conversations.

use crate::bench::Bench;
use crate::log::entry;
use trunkline_store::{
    Conversations, Kind, Listed, MAX_CONVERSATIONS, NewEntry, Position, Receipt, Standing, Store, StoreError,
};

/// Alice writes into a conversation with bob, or some other.
async fn write(store: &Store, conversation: &str, timestamp_ms: i64, body: &str) -> Position {
    let entry = NewEntry {
        conversation: conversation.into(),
        participants: vec!["alice".into(), "bob".into()],
        timestamp_ms,
        ..entry(body)
    };
    let appended = store.log.append(entry, &[]).await.unwrap();
    Position { epoch: appended.epoch, seq: appended.seq }
}

async fn list(store: &Store, user: &str) -> Vec<Listed> {
    let page = store.conversations.list(user, 100, None).await.unwrap();
    assert_eq!(page.cursor, None);
    page.conversations
}

fn now_ms() -> i64 {
    entry("").timestamp_ms
}

pub(crate) async fn a_list_has_the_last_message_and_what_is_unread(bench: Bench) {
    let store = &bench.store;
    assert_eq!(list(store, "bob").await, []);
    let now = now_ms();
    write(store, "a", now, "1").await;
    write(store, "b", now + 1, "2").await;
    write(store, "a", now + 2, "3").await;

    let listed = list(store, "bob").await;
    let brief = |of: &Listed| (of.conversation.clone(), of.unread, of.seq, of.active_ms);
    assert_eq!(
        listed.iter().map(brief).collect::<Vec<_>>(),
        [("a".into(), 2, 2, now + 2), ("b".into(), 1, 1, now + 1)]
    );
    let last = listed[0].last_message.as_ref().unwrap();
    assert_eq!((last.seq, last.body.as_str(), last.sender.as_str()), (2, "3", "alice"));
    assert!(list(store, "alice").await.iter().all(|listed| listed.unread == 0), "what one wrote is read");

    store.receipts.mark("a", "bob", Receipt::Delivered, 2).await.unwrap();
    assert_eq!(list(store, "bob").await[0].unread, 2, "delivered is not read");
    store.receipts.mark("a", "bob", Receipt::Read, 1).await.unwrap();
    assert_eq!(list(store, "bob").await[0].unread, 1);
    store.receipts.mark("a", "bob", Receipt::Read, 2).await.unwrap();
    assert_eq!(list(store, "bob").await[0].unread, 0);
}

pub(crate) async fn all_names_in_a_list_are_read_at_once(bench: Bench) {
    let store = &bench.store;
    assert_eq!(store.conversations.names("bob").await.unwrap(), [""; 0]);
    for conversation in ["a", "b", "a"] {
        write(store, conversation, now_ms(), "{}").await;
    }
    store.conversations.take_part("c", "bob").await.unwrap();
    let mut names = store.conversations.names("bob").await.unwrap();
    names.sort();
    assert_eq!(names, ["a", "b", "c"]);
}

pub(crate) async fn who_joins_has_read_what_was_before(bench: Bench) {
    let store = &bench.store;
    for _ in 0..5 {
        write(store, "a", now_ms(), "{}").await;
    }
    store.conversations.take_part("a", "carol").await.unwrap();
    assert_eq!(list(store, "carol").await[0].unread, 0);
    write(store, "a", now_ms(), "{}").await;
    store.conversations.take_part("a", "carol").await.unwrap();
    assert_eq!(list(store, "carol").await[0].unread, 1, "the first time decides");
    store.conversations.take_part("empty", "carol").await.unwrap();
    let empty = list(store, "carol").await.pop().unwrap();
    assert_eq!((empty.conversation.as_str(), empty.last_message, empty.unread, empty.seq), ("empty", None, 0, 0));
    write(store, "empty", now_ms(), "{}").await;
    assert_eq!(list(store, "carol").await[0].unread, 1);
}

pub(crate) async fn changes_of_messages_are_not_unread_messages(bench: Bench) {
    let store = &bench.store;
    let first = write(store, "a", now_ms(), "one").await;
    let second = write(store, "a", now_ms(), "two").await;
    for kind in [Kind::Edit(second), Kind::Deletion(first)] {
        let change = NewEntry { conversation: "a".into(), kind, ..entry("three") };
        store.log.append(change, &[]).await.unwrap();
    }
    let listed = list(store, "bob").await.remove(0);
    assert_eq!((listed.unread, listed.seq), (2, 4));
    let last = listed.last_message.unwrap();
    assert_eq!((last.seq, last.body.as_str(), last.standing), (2, "three", Standing::Edited { seq: 3 }));
    store.receipts.mark("a", "bob", Receipt::Read, 2).await.unwrap();
    assert_eq!(list(store, "bob").await[0].unread, 0);
}

pub(crate) async fn pages_of_a_list_show_each_conversation_once(bench: Bench) {
    let store = &bench.store;
    let now = now_ms();
    for n in 0..25 {
        // Some at the same time.
        write(store, &format!("c:{n}"), now + n / 3, "{}").await;
    }
    for limit in [1, 7, 25, 100] {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let page = store.conversations.list("bob", limit, cursor.as_deref()).await.unwrap();
            assert!(page.conversations.len() <= limit);
            all.extend(page.conversations);
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert!(all.windows(2).all(|pair| pair[0].active_ms >= pair[1].active_ms));
        all.sort_by(|a, b| a.conversation.cmp(&b.conversation));
        all.dedup_by(|a, b| a.conversation == b.conversation);
        assert_eq!(all.len(), 25, "pages of {limit}");
    }
    for cursor in ["", "x", "x:y", "1"] {
        let refused = store.conversations.list("bob", 10, Some(cursor)).await.unwrap_err();
        assert!(matches!(refused, StoreError::InvalidCursor), "{cursor}: {refused:?}");
    }
}

pub(crate) async fn a_list_is_bounded(bench: Bench) {
    let lists: &dyn Conversations = &*bench.store.conversations;
    let names: Vec<String> = (0..=MAX_CONVERSATIONS).map(|n| format!("c{n:05}")).collect();
    for name in &names {
        lists.take_part(name, "bob").await.unwrap();
    }
    let (mut found, mut cursor) = (0, None);
    loop {
        let page = lists.list("bob", 100, cursor.as_deref()).await.unwrap();
        found += page.conversations.len();
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, MAX_CONVERSATIONS);
}
