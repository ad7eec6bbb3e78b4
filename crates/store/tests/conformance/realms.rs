//! Realms.

use crate::bench::Bench;
use crate::log::{append, entry, read};
use trunkline_store::{InboxItem, Joined, Keep, NewEntry, Receipt, Written};

/// Names that would meet if a realm were only put in front of a name.
const REALMS: [&str; 6] = ["", "a", "ab", "1:a", "{a}", "/x:\u{0}"];

pub(crate) async fn nothing_of_one_realm_is_seen_in_another(bench: Bench) {
    for realm in REALMS {
        let store = bench.store.realm(realm);
        assert!(store.presence.connect("bob", "s").await.unwrap().first, "{realm:?}");
        assert_eq!(store.presence.count().await.unwrap(), 1);
        let Joined::In(page) = store.presence.join("general", "bob", "s", &[]).await.unwrap() else { panic!() };
        assert_eq!(page.members.len(), 1);

        let said = NewEntry { client_message_id: Some("m".into()), participants: vec!["bob".into()], ..entry(realm) };
        let appended = store.log.append(said, &[]).await.unwrap();
        assert_eq!((appended.seq, appended.duplicate), (1, false), "{realm:?}");
        assert!(store.receipts.mark("general", "bob", Receipt::Read, 1).await.unwrap());
        assert_eq!(store.conversations.list("bob", 10, None).await.unwrap().conversations.len(), 1);

        let item = InboxItem { id: "i".into(), body: realm.into() };
        assert!(store.inbox.push("carol", &item, Keep::IfOffline).await.unwrap().kept);
        assert_eq!(store.inbox.pending("carol", 10).await.unwrap().items, [item]);
        let written = store.documents.write("plan", realm, Some(0), &[]).await.unwrap();
        assert_eq!(written, Written::Stored { version: 1 });
    }
    for realm in REALMS {
        let store = bench.store.realm(realm);
        assert_eq!(read(&*store.log, None, None, 10).await.entries[0].body, realm);
        assert_eq!(store.documents.get("plan").await.unwrap().content, realm);
        assert_eq!(store.presence.list(10, None).await.unwrap().users.len(), 1);
        assert!(store.presence.disconnect("bob", "s").await.unwrap().last);
    }
}

pub(crate) async fn the_nameless_realm_is_the_common_one(bench: Bench) {
    append(&*bench.store.log, "here").await;
    let named = bench.store.realm("other").realm("");
    assert_eq!(read(&*named.log, None, None, 10).await.entries[0].body, "here");
}
