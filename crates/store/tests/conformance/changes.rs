//! Edits and deletions.

use crate::bench::Bench;
use crate::log::{entry, read};
use trunkline_store::{
    Appended, Entry, Fill, Kind, LogLimits, NewEntry, Part, Position, Publication, Standing, StoreError,
};

fn place(of: &Appended) -> Position {
    Position { epoch: of.epoch.clone(), seq: of.seq }
}

fn edit(of: &Appended, body: &str) -> NewEntry {
    NewEntry { kind: Kind::Edit(place(of)), ..entry(body) }
}

fn deletion(of: &Appended) -> NewEntry {
    NewEntry { kind: Kind::Deletion(place(of)), ..entry("{}") }
}

fn seen(entries: &[Entry]) -> Vec<(&str, Standing)> {
    entries.iter().map(|entry| (entry.body.as_str(), entry.standing)).collect()
}

pub(crate) async fn an_edit_is_an_entry_and_the_message_is_read_as_edited(mut bench: Bench) {
    let log = &bench.store.log;
    let message = log.append(entry("one"), &[]).await.unwrap();
    log.append(entry("other"), &[]).await.unwrap();
    let publication = Publication { channel: b"room".to_vec(), parts: vec![Part::Fill(Fill::Seq)] };
    let edited = log.append(edit(&message, "two"), &[publication]).await.unwrap();
    assert_eq!((edited.seq, &edited.epoch), (3, &message.epoch));
    assert_eq!(bench.published(1).await, [(b"room".to_vec(), vec![3])]);

    let page = read(&*bench.store.log, None, None, 10).await;
    assert_eq!(
        seen(&page.entries),
        [("two", Standing::Edited { seq: 3 }), ("other", Standing::AsWritten), ("two", Standing::AsWritten)]
    );
    assert_eq!(page.entries[2].kind, Kind::Edit(place(&message)));
    assert_eq!(page.entries[0].kind, Kind::Message);

    bench.store.log.append(edit(&message, "three"), &[]).await.unwrap();
    let first = read(&*bench.store.log, None, Some(2), 10).await.entries;
    assert_eq!(seen(&first), [("three", Standing::Edited { seq: 4 })], "on a page without the edit too");
}

pub(crate) async fn a_deleted_message_is_not_given_out_nor_what_it_said_before(bench: Bench) {
    let log = &*bench.store.log;
    let message = log.append(entry("one"), &[]).await.unwrap();
    log.append(edit(&message, "two"), &[]).await.unwrap();
    let deleted = log.append(deletion(&message), &[]).await.unwrap();
    assert_eq!(deleted.seq, 3);
    let page = read(log, None, None, 10).await;
    let gone = Standing::Deleted { seq: 3 };
    assert_eq!(seen(&page.entries), [("", gone), ("", gone), ("{}", Standing::AsWritten)]);
    assert_eq!(page.entries[2].kind, Kind::Deletion(place(&message)));
    for again in [edit(&message, "three"), deletion(&message)] {
        assert!(matches!(log.append(again, &[]).await.unwrap_err(), StoreError::NotFound));
    }
    assert_eq!(read(log, None, None, 10).await.seq, 3, "what is refused takes no number");
}

pub(crate) async fn only_the_sender_changes_a_message(bench: Bench) {
    let log = &*bench.store.log;
    let message = log.append(entry("one"), &[]).await.unwrap();
    for change in [edit(&message, "two"), deletion(&message)] {
        let foreign = NewEntry { sender: "mallory".into(), ..change };
        let refused = log.append(foreign, &[]).await.unwrap_err();
        assert!(matches!(refused, StoreError::NotTheSender) && !refused.retryable(), "{refused:?}");
    }
    assert_eq!(seen(&read(log, None, None, 10).await.entries), [("one", Standing::AsWritten)]);
}

pub(crate) async fn what_is_no_message_of_this_log_is_not_changed(bench: Bench) {
    let log = &*bench.store.log;
    let nowhere = Appended { seq: 1, epoch: "e".into(), message_id: String::new(), timestamp_ms: 0, duplicate: false };
    assert!(matches!(log.append(edit(&nowhere, "x"), &[]).await.unwrap_err(), StoreError::NotFound), "no log at all");
    let message = log.append(entry("one"), &[]).await.unwrap();
    let change = log.append(edit(&message, "two"), &[]).await.unwrap();
    let other_epoch = Appended { epoch: "other".into(), ..message.clone() };
    let beyond = Appended { seq: 9, ..message.clone() };
    let largest = Appended { seq: u64::MAX, ..message.clone() };
    let before = Appended { seq: 0, ..message.clone() };
    for target in [&change, &other_epoch, &beyond, &largest, &before] {
        let refused = log.append(deletion(target), &[]).await.unwrap_err();
        assert!(matches!(refused, StoreError::NotFound), "{target:?}: {refused:?}");
    }
    let short = bench.with_limits(LogLimits { max_entries: 2, ..LogLimits::default() });
    let message = short.log.append(entry("old"), &[]).await.unwrap();
    for _ in 0..2 {
        short.log.append(entry("new"), &[]).await.unwrap();
    }
    assert!(matches!(short.log.append(edit(&message, "x"), &[]).await.unwrap_err(), StoreError::NotFound), "trimmed");
}

pub(crate) async fn a_change_that_is_sent_again_is_recognised(bench: Bench) {
    let log = &*bench.store.log;
    let message = log.append(entry("one"), &[]).await.unwrap();
    let once = NewEntry { client_message_id: Some("c".into()), ..deletion(&message) };
    let first = log.append(once.clone(), &[]).await.unwrap();
    assert_eq!(log.append(once, &[]).await.unwrap(), Appended { duplicate: true, ..first });
}

pub(crate) async fn standings_go_with_their_entries(bench: Bench) {
    let store = bench.with_limits(LogLimits { max_entries: 3, ..LogLimits::default() });
    for round in 0..20 {
        let message = store.log.append(entry("one"), &[]).await.unwrap();
        store.log.append(edit(&message, "two"), &[]).await.unwrap();
        let page = read(&*store.log, Some(message.seq - 1), None, 10).await;
        assert_eq!(page.entries[0].body, "two", "round {round}");
    }
    let page = read(&*store.log, None, None, 10).await;
    assert_eq!(page.entries.len(), 3);
}
