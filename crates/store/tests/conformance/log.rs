//! Numbers, order, duplicates, pages, trimming.

use crate::bench::Bench;
use bytes::Bytes;
use futures_util::future::join_all;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use trunkline_store::{
    Appended, Entry, Fill, Kind, Limits, LogLimits, LogPage, MessageLog, NewEntry, Part, Position, Publication,
    ReadRange, Stamp, Stamped, Standing, parse_message_id,
};

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

pub(crate) fn entry(body: &str) -> NewEntry {
    NewEntry {
        conversation: "general".into(),
        kind: Kind::Message,
        sender: "alice".into(),
        participants: vec![],
        client_message_id: None,
        timestamp_ms: now_ms(),
        body: body.into(),
    }
}

fn named(sender: &str, client_message_id: &str) -> NewEntry {
    NewEntry { sender: sender.into(), client_message_id: Some(client_message_id.into()), ..entry("{}") }
}

fn literal(text: &'static str) -> Part {
    Part::Literal(Bytes::from_static(text.as_bytes()))
}

fn to(channel: &str, parts: Vec<Part>) -> Publication {
    Publication { channel: channel.as_bytes().to_vec(), parts }
}

pub(crate) async fn append(log: &dyn MessageLog, body: &str) -> Appended {
    log.append(entry(body), &[]).await.unwrap()
}

pub(crate) async fn read(log: &dyn MessageLog, after: Option<u64>, before: Option<u64>, limit: usize) -> LogPage {
    log.read("general", ReadRange { after, before, limit }).await.unwrap()
}

fn seqs(page: &LogPage) -> Vec<u64> {
    page.entries.iter().map(|entry| entry.seq).collect()
}

pub(crate) async fn numbers_start_at_one_and_have_no_gaps(bench: Bench) {
    let log = &*bench.store.log;
    let first = append(log, "{}").await;
    assert_eq!((first.seq, first.duplicate), (1, false));
    assert!(!first.epoch.is_empty());
    let second = append(log, "{}").await;
    assert_eq!((second.seq, &second.epoch), (2, &first.epoch));
    assert_eq!(parse_message_id(&second.message_id), Some(("general", first.epoch.as_str(), 2)));

    let elsewhere = NewEntry { conversation: "other".into(), ..entry("{}") };
    assert_eq!(log.append(elsewhere, &[]).await.unwrap().seq, 1);
}

pub(crate) async fn parallel_appends_are_published_in_the_order_of_their_numbers(mut bench: Bench) {
    let log = &bench.store.log;
    let publications = [to("room", vec![Part::Fill(Fill::Seq)])];
    let appended = join_all((0..100).map(|_| log.append(entry("{}"), &publications))).await;
    let mut numbers: Vec<u64> = appended.into_iter().map(|appended| appended.unwrap().seq).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=100).collect::<Vec<_>>());

    let published: Vec<Vec<u8>> = bench.published(100).await.into_iter().map(|(_, payload)| payload).collect();
    // Numbers below 128 are their own msgpack.
    assert_eq!(published, (1..=100).map(|n| vec![n]).collect::<Vec<Vec<u8>>>());
    assert_eq!(seqs(&read(&*bench.store.log, None, None, 1_000).await), (1..=100).collect::<Vec<_>>());
}

pub(crate) async fn a_repeated_client_message_id_answers_the_first_result_and_publishes_nothing(mut bench: Bench) {
    let log = &bench.store.log;
    let publications = [to("room", vec![Part::Fill(Fill::Seq)])];
    let first = log.append(named("alice", "m1"), &publications).await.unwrap();
    let other = log.append(named("alice", "m2"), &publications).await.unwrap();
    assert_eq!((first.seq, other.seq), (1, 2));

    let later = NewEntry { timestamp_ms: 5, ..named("alice", "m1") };
    let again = log.append(later, &publications).await.unwrap();
    assert_eq!(again, Appended { duplicate: true, ..first });

    let racing = join_all((0..20).map(|_| log.append(named("alice", "m3"), &publications))).await;
    assert_eq!(racing.iter().filter(|appended| !appended.as_ref().unwrap().duplicate).count(), 1);
    assert!(racing.iter().all(|appended| appended.as_ref().unwrap().seq == 3));

    log.append(entry("{}"), &publications).await.unwrap();
    let published: Vec<u8> = bench.published(4).await.into_iter().flat_map(|(_, payload)| payload).collect();
    assert_eq!(published, [1, 2, 3, 4], "nothing was published twice");
}

pub(crate) async fn client_message_ids_of_two_senders_do_not_meet(bench: Bench) {
    let log = &bench.store.log;
    for (sender, id, seq) in [("a", "m", 1), ("b", "m", 2), ("a", "", 3), ("", "a", 4), ("a1", "m", 5), ("a", "1m", 6)]
    {
        let appended = log.append(named(sender, id), &[]).await.unwrap();
        assert_eq!((appended.seq, appended.duplicate), (seq, false), "{sender:?} {id:?}");
    }
    let elsewhere = NewEntry { conversation: "other".into(), ..named("a", "m") };
    assert!(!log.append(elsewhere, &[]).await.unwrap().duplicate);
    assert!(log.append(named("a", ""), &[]).await.unwrap().duplicate, "an empty id is an id");
}

pub(crate) async fn publications_are_filled_with_msgpack(mut bench: Bench) {
    let binary = Part::Literal(Bytes::from_static(b"\x00\xff\r\n"));
    let publications = [
        to("one", vec![literal("<"), Part::Fill(Fill::Seq), literal("|"), Part::Fill(Fill::Epoch), binary]),
        to("two", vec![Part::Fill(Fill::MessageId), Part::Fill(Fill::MessageId)]),
        to("empty", vec![]),
    ];
    let mut last = None;
    let numbers = 300;
    for _ in 0..numbers {
        last = Some(bench.store.log.append(entry("{}"), &publications).await.unwrap());
    }
    let last = last.unwrap();
    let published = bench.published(3 * numbers).await;

    let [first_byte, second_byte] = u16::try_from(last.seq).unwrap().to_be_bytes();
    let mut one = vec![b'<', 0xcd, first_byte, second_byte, b'|', 0xa0 + u8::try_from(last.epoch.len()).unwrap()];
    one.extend(last.epoch.bytes().chain(*b"\x00\xff\r\n"));
    let mut id = vec![0xa0 + u8::try_from(last.message_id.len()).unwrap()];
    id.extend(last.message_id.bytes());
    let expected = [(b"one".to_vec(), one), (b"two".to_vec(), id.repeat(2)), (b"empty".to_vec(), vec![])];
    assert_eq!(published[3 * (numbers - 1)..], expected);

    // The shortest form each: 127 in one byte, 128 in two, 256 in three.
    let length_of = |n: usize| published[3 * (n - 1)].1.len();
    assert_eq!((length_of(128) - length_of(127), length_of(256) - length_of(255)), (1, 1));
}

pub(crate) async fn entries_come_back_as_they_were_written(bench: Bench) {
    let log = &bench.store.log;
    let written = [
        NewEntry { timestamp_ms: now_ms(), ..named("älice", "") },
        NewEntry { body: "{\"a\":\"\u{0}\\n☎\"}".into(), ..entry("") },
        NewEntry { client_message_id: Some("{m}:1".into()), ..entry("") },
    ];
    for entry in &written {
        log.append(entry.clone(), &[]).await.unwrap();
    }
    let page = read(&**log, None, None, 10).await;
    assert_eq!(page.seq, 3);
    for ((entry, written), seq) in page.entries.into_iter().zip(written).zip(1..) {
        let expected = Entry {
            seq,
            epoch: page.epoch.clone(),
            kind: Kind::Message,
            standing: Standing::AsWritten,
            message_id: trunkline_store::message_id("general", &page.epoch, seq),
            sender: written.sender,
            timestamp_ms: written.timestamp_ms,
            client_message_id: written.client_message_id,
            body: written.body,
            stamp: None,
        };
        assert_eq!(entry, expected);
    }
}

/// After, before, limit; the numbers of the page, and whether it is complete.
type Case = (Option<u64>, Option<u64>, usize, Range<u64>, bool);

pub(crate) async fn a_page_says_whether_anything_is_missing(bench: Bench) {
    let log = &*bench.store.log;
    for _ in 0..10 {
        append(log, "{}").await;
    }
    let cases: [Case; 13] = [
        (None, None, 3, 8..11, true),
        (None, None, 50, 1..11, true),
        (None, Some(4), 2, 2..4, true),
        (None, Some(100), 2, 9..11, true),
        (Some(0), None, 50, 1..11, true),
        (Some(7), None, 3, 8..11, true),
        (Some(7), None, 2, 8..10, false),
        (Some(2), Some(6), 50, 3..6, true),
        (Some(2), Some(6), 2, 3..5, false),
        (Some(9), None, 50, 10..11, true),
        (Some(10), None, 50, 0..0, true),
        (None, Some(1), 50, 0..0, true),
        (Some(3), None, 0, 0..0, false),
    ];
    for (after, before, limit, numbers, complete) in cases {
        let page = read(log, after, before, limit).await;
        let case = format!("after {after:?} before {before:?} limit {limit}");
        assert_eq!((seqs(&page), page.complete), (numbers.collect(), complete), "{case}");
        assert_eq!(page.seq, 10, "{case}");
    }
}

pub(crate) async fn a_log_keeps_its_newest_entries(bench: Bench) {
    let store = bench.with_limits(LogLimits { max_entries: 5, ..LogLimits::default() });
    for _ in 0..8 {
        append(&*store.log, "{}").await;
    }
    let page = read(&*store.log, None, None, 50).await;
    assert_eq!((seqs(&page), page.seq), ((4..=8).collect(), 8));
    assert!(read(&*store.log, Some(3), None, 50).await.complete, "nothing after 3 was trimmed");
    let trimmed = read(&*store.log, Some(2), None, 50).await;
    assert_eq!((seqs(&trimmed), trimmed.complete), ((4..=8).collect(), false), "3 was trimmed");
    let gone = read(&*store.log, Some(0), Some(3), 50).await;
    assert_eq!((seqs(&gone), gone.complete), (vec![], false));
}

pub(crate) async fn a_log_drops_entries_that_are_too_old(bench: Bench) {
    let hour = Duration::from_secs(3_600);
    let store = bench.with_limits(LogLimits { max_age: hour, ..LogLimits::default() });
    let ago = |hours: i64| NewEntry { timestamp_ms: now_ms() - hours * 3_600_000, ..entry("{}") };
    for hours in [3, 2, 0, 0] {
        store.log.append(ago(hours), &[]).await.unwrap();
    }
    let page = read(&*store.log, None, None, 50).await;
    assert_eq!(seqs(&page), [3, 4]);
    assert!(!read(&*store.log, Some(1), None, 50).await.complete);
    assert!(read(&*store.log, Some(2), None, 50).await.complete);
    assert_eq!(append(&*store.log, "{}").await.seq, 5, "numbers go on");
}

pub(crate) async fn a_conversation_nobody_wrote_to_is_empty_and_complete(bench: Bench) {
    let page = read(&*bench.store.log, None, None, 50).await;
    assert_eq!(page, LogPage { entries: vec![], epoch: String::new(), seq: 0, complete: true, ancestors: vec![] });
    assert!(read(&*bench.store.log, Some(0), None, 50).await.complete);
}

pub(crate) async fn a_cursor_beyond_the_end_is_not_complete(bench: Bench) {
    let log = &*bench.store.log;
    assert!(!read(log, Some(1), None, 50).await.complete);
    append(log, "{}").await;
    for after in [2, u64::MAX - 1, u64::MAX] {
        let page = read(log, Some(after), None, 50).await;
        assert_eq!((seqs(&page), page.complete), (vec![], false), "after {after}");
    }
    assert!(read(log, None, Some(u64::MAX), 50).await.complete);
}

pub(crate) async fn the_ends_of_many_logs_are_read_at_once(bench: Bench) {
    let log = &*bench.store.log;
    let first = append(log, "{}").await;
    append(log, "{}").await;
    let elsewhere = log.append(NewEntry { conversation: "other".into(), ..entry("{}") }, &[]).await.unwrap();
    let ends = log.ends(&["other".into(), "nowhere".into(), "general".into()]).await.unwrap();
    let end = |epoch: &str, seq| Position { epoch: epoch.into(), seq };
    assert_eq!(ends, [end(&elsewhere.epoch, 1), end("", 0), end(&first.epoch, 2)]);
    assert_eq!(log.ends(&[]).await.unwrap(), []);

    let page = read(log, None, None, 10).await;
    assert!(page.honours(&ends[2]) && page.honours(&end("", 0)));
    assert!(!page.honours(&end(&first.epoch, 3)) && !page.honours(&end("other", 1)));
}

pub(crate) async fn stamps_put_all_logs_into_the_order_in_which_they_were_published(mut bench: Bench) {
    let store = bench.with_limits(Limits { stamps: true, ..Limits::default() });
    let log = &store.log;
    assert_eq!(log.newest_stamp().await.unwrap(), None);
    let publications = [to("room", vec![Part::Fill(Fill::Stamp)])];
    let conversations = ["a", "b", "c"].map(str::to_owned);
    let entries = (0..60).map(|n| NewEntry { conversation: conversations[n % 3].clone(), ..entry("{}") });
    join_all(entries.map(|entry| log.append(entry, &publications)))
        .await
        .into_iter()
        .for_each(|done| drop(done.unwrap()));
    let published = bench.published(60).await.into_iter().map(|(_, payload)| rmp_text(&payload));
    let published: Vec<Option<Stamp>> = published.map(|text| Stamp::parse(&text)).collect();
    if bench.is_cluster() {
        assert!(published.iter().all(Option::is_none), "several masters have no order");
        return assert_eq!(log.newest_stamp().await.unwrap(), None);
    }
    let published: Vec<Stamp> = published.into_iter().map(Option::unwrap).collect();
    assert!(published.windows(2).all(|pair| pair[0].generation == pair[1].generation));
    assert!(published.windows(2).all(|pair| pair[0].number < pair[1].number), "{published:?}");
    assert_eq!(log.newest_stamp().await.unwrap().as_ref(), published.last());

    let ends = log.stamped_ends(&conversations).await.unwrap();
    let mut stored = Vec::new();
    for (conversation, Stamped { end, stamp }) in conversations.iter().zip(ends) {
        let page = log.read(conversation, ReadRange { limit: 100, ..ReadRange::default() }).await.unwrap();
        assert_eq!(end, Position { epoch: page.epoch, seq: 20 });
        let stamps: Vec<Stamp> = page.entries.into_iter().map(|entry| entry.stamp.unwrap()).collect();
        assert_eq!(stamp.as_ref(), stamps.last());
        assert!(stamps.windows(2).all(|pair| pair[0].number < pair[1].number));
        stored.extend(stamps);
    }
    stored.sort_by_key(|stamp| stamp.number);
    assert_eq!(stored, published, "what was published is what was stored");

    let plain = append(&*bench.store.log, "{}").await;
    let page = read(&*bench.store.log, None, None, 1).await;
    assert_eq!((page.seq, page.entries[0].stamp.clone()), (plain.seq, None), "without the setting there are none");
}

/// A short msgpack string.
fn rmp_text(payload: &[u8]) -> String {
    rmp::decode::read_str_from_slice(payload).unwrap().0.to_owned()
}
