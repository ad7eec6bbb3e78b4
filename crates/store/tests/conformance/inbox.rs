//! Inboxes.

use crate::bench::Bench;
use crate::log::entry;
use trunkline_store::{Inbox, InboxItem, Keep, MAX_INBOX, MAX_ITEM_BYTES, NewEntry, Pushed, StoreError, Waiting};

fn item(id: &str) -> InboxItem {
    InboxItem { id: id.into(), body: format!("{{\"of\":\"{id}\"}}") }
}

async fn ids(inbox: &dyn Inbox, limit: usize) -> (Vec<String>, bool) {
    let page = inbox.pending("bob", limit).await.unwrap();
    (page.items.into_iter().map(|item| item.id).collect(), page.complete)
}

pub(crate) async fn items_wait_in_order_until_they_are_acknowledged(bench: Bench) {
    let inbox = &*bench.store.inbox;
    assert_eq!(ids(inbox, 10).await, (vec![], true));
    for id in ["z", "a", "m"] {
        let pushed = inbox.push("bob", &item(id), Keep::IfOffline).await.unwrap();
        assert_eq!(pushed, Pushed { online: false, kept: true, dropped: 0 });
    }
    assert_eq!(inbox.pending("bob", 10).await.unwrap().items, [item("z"), item("a"), item("m")]);
    assert_eq!(ids(inbox, 2).await, (vec!["z".into(), "a".into()], false));
    assert!(ids(inbox, 3).await.1);
    assert_eq!(ids(inbox, 0).await, (vec![], false));

    assert_eq!(inbox.acknowledge("bob", &["a".into(), "never".into()]).await.unwrap(), 1);
    assert_eq!(inbox.acknowledge("bob", &["a".into()]).await.unwrap(), 0);
    assert_eq!(inbox.acknowledge("bob", &[]).await.unwrap(), 0);
    inbox.push("bob", &item("b"), Keep::Always).await.unwrap();
    assert_eq!(ids(inbox, 10).await, (vec!["z".into(), "m".into(), "b".into()], true));
    assert!(inbox.pending("alice", 10).await.unwrap().items.is_empty());
}

pub(crate) async fn an_item_that_comes_again_changes_nothing(bench: Bench) {
    let inbox = &*bench.store.inbox;
    inbox.push("bob", &item("a"), Keep::Always).await.unwrap();
    inbox.push("bob", &item("b"), Keep::Always).await.unwrap();
    let other = InboxItem { body: "other".into(), ..item("a") };
    let again = inbox.push("bob", &other, Keep::IfOffline).await.unwrap();
    assert_eq!(again, Pushed { online: false, kept: true, dropped: 0 });
    assert_eq!(inbox.pending("bob", 10).await.unwrap().items, [item("a"), item("b")]);
}

pub(crate) async fn what_can_be_sent_to_a_socket_is_kept_only_if_asked(bench: Bench) {
    let inbox = &*bench.store.inbox;
    bench.store.presence.connect("bob", "s1").await.unwrap();
    let pushed = inbox.push("bob", &item("a"), Keep::IfOffline).await.unwrap();
    assert_eq!(pushed, Pushed { online: true, kept: false, dropped: 0 });
    let pushed = inbox.push("bob", &item("b"), Keep::Always).await.unwrap();
    assert_eq!(pushed, Pushed { online: true, kept: true, dropped: 0 });
    bench.store.presence.disconnect("bob", "s1").await.unwrap();
    assert!(inbox.push("bob", &item("c"), Keep::IfOffline).await.unwrap().kept);
    assert_eq!(ids(inbox, 10).await.0, ["b", "c"]);
}

pub(crate) async fn a_full_inbox_drops_the_oldest_and_says_so(bench: Bench) {
    let inbox = &*bench.store.inbox;
    for n in 0..MAX_INBOX {
        assert_eq!(inbox.push("bob", &item(&n.to_string()), Keep::Always).await.unwrap().dropped, 0);
    }
    assert_eq!(inbox.push("bob", &item("one more"), Keep::Always).await.unwrap().dropped, 1);
    let (ids, complete) = ids(inbox, MAX_INBOX).await;
    assert_eq!((ids.len(), ids[0].as_str(), complete), (MAX_INBOX, "1", true));
    assert_eq!(inbox.acknowledge("bob", &ids).await.unwrap(), MAX_INBOX as u64);
}

pub(crate) async fn an_item_that_is_too_large_is_refused(bench: Bench) {
    let inbox = &*bench.store.inbox;
    let large = InboxItem { id: String::new(), body: "x".repeat(MAX_ITEM_BYTES + 1) };
    let refused = inbox.push("bob", &large, Keep::Always).await.unwrap_err();
    assert!(matches!(refused, StoreError::TooLarge { .. }) && !refused.retryable(), "{refused:?}");
    let fits = InboxItem { id: String::new(), body: "x".repeat(MAX_ITEM_BYTES) };
    inbox.push("bob", &fits, Keep::Always).await.unwrap();
    assert_eq!(inbox.pending("bob", 1).await.unwrap().items, [fits]);
}

/// What waits with an entry for bob.
fn for_bob(body: &str) -> Waiting<'_> {
    Waiting { user: "bob", body }
}

pub(crate) async fn an_entry_waits_for_whoever_is_offline_and_once(bench: Bench) {
    let (log, inbox) = (&bench.store.log, &*bench.store.inbox);
    let direct = |id: Option<&str>| NewEntry { client_message_id: id.map(str::to_owned), ..entry("{}") };
    let first = log.append_for(direct(None), &[], &for_bob("one")).await.unwrap();
    let second = log.append_for(direct(Some("m")), &[], &for_bob("two")).await.unwrap();
    assert!(!first.owed && !second.owed);
    let again = log.append_for(direct(Some("m")), &[], &for_bob("two")).await.unwrap();
    assert!(again.appended.duplicate);
    let kept = |id: &str, body: &str| InboxItem { id: id.into(), body: body.into() };
    let expected = [kept(&first.appended.message_id, "one"), kept(&second.appended.message_id, "two")];
    assert_eq!(inbox.pending("bob", 10).await.unwrap().items, expected);

    bench.store.presence.connect("bob", "s1").await.unwrap();
    let third = log.append_for(direct(Some("n")), &[], &for_bob("three")).await.unwrap();
    assert_eq!((third.appended.seq, third.owed), (3, false));
    assert_eq!(inbox.pending("bob", 10).await.unwrap().items, expected, "a socket of theirs hears it");
    bench.store.presence.disconnect("bob", "s1").await.unwrap();

    let large = "x".repeat(MAX_ITEM_BYTES);
    let large = log.append_for(direct(None), &[], &for_bob(&large)).await.unwrap();
    assert_eq!((large.appended.seq, large.owed), (4, false), "it is sent, if it can't wait");
    assert_eq!(inbox.pending("bob", 10).await.unwrap().items, expected);
}
