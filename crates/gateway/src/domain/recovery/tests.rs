//! What a client lacks of one conversation, page by page.

use trunkline_store::{Kind, Standing, message_id};

use super::*;

fn stamp(number: u64) -> Stamp {
    Stamp { generation: "g".into(), number }
}

fn entry(seq: u64, stamp: Option<Stamp>) -> Entry {
    Entry {
        seq,
        epoch: "e".into(),
        message_id: message_id("c", "e", seq),
        kind: Kind::Message,
        standing: Standing::AsWritten,
        sender: "ada".into(),
        timestamp_ms: 0,
        client_message_id: None,
        body: "{}".into(),
        stamp,
    }
}

/// Entries with these numbers and stamps, of a log that ends behind them.
fn page(entries: &[(u64, u64)]) -> LogPage {
    let entries: Vec<_> = entries.iter().map(|(seq, number)| entry(*seq, Some(stamp(*number)))).collect();
    LogPage { entries, epoch: "e".into(), seq: 100, complete: true, ancestors: Vec::new() }
}

fn at(seq: u64) -> Seen {
    Seen::At(Position::new("e", seq))
}

/// What is found in these pages, each the one before the last, with the offset 10 and 50 as the newest stamp.
fn lack(seen: &Seen, pages: Vec<LogPage>) -> Result<(Vec<u64>, u64), Doubt> {
    let known = Known::of(seen, &stamp(10));
    let mut lack = Lack { entries: VecDeque::new(), place: Position::new("e", 100) };
    let mut before = None;
    for page in pages {
        let last = page.entries.last().map(|entry| entry.seq);
        assert!(before.is_none() || last.is_none_or(|last| Some(last + 1) == before), "pages follow each other");
        before = lack.take(page, &known, &stamp(50))?;
        if before.is_none() {
            return Ok((lack.entries.iter().map(|entry| entry.seq).collect(), lack.place.seq));
        }
    }
    panic!("it wants to read on before {before:?}");
}

#[test]
fn what_has_a_later_stamp_than_the_offset_is_lacking() {
    assert_eq!(lack(&at(0), vec![page(&[(1, 4), (2, 10), (3, 11), (4, 30)])]), Ok((vec![3, 4], 4)));
    assert_eq!(lack(&at(0), vec![page(&[(3, 11), (4, 30)]), page(&[(2, 9)])]), Ok((vec![3, 4], 4)));
    assert_eq!(lack(&at(0), vec![page(&[(1, 11)])]), Ok((vec![1], 1)), "the whole log");
}

#[test]
fn what_was_there_when_it_joined_is_not_lacking() {
    assert_eq!(lack(&at(3), vec![page(&[(3, 20), (4, 30)])]), Ok((vec![4], 4)));
    assert_eq!(lack(&at(3), vec![page(&[(4, 30)])]), Ok((vec![4], 4)), "also when that is trimmed");
    let since = Seen::Since(stamp(25));
    assert_eq!(lack(&since, vec![page(&[(3, 20), (4, 30)])]), Ok((vec![4], 4)));
}

#[test]
fn what_is_newer_than_the_plan_comes_live() {
    assert_eq!(lack(&at(0), vec![page(&[(2, 9), (3, 50), (4, 51)])]), Ok((vec![3], 3)));
    assert_eq!(lack(&at(0), vec![page(&[(2, 9), (3, 51)])]), Ok((vec![], 2)));
}

#[test]
fn what_is_not_certain_is_in_doubt() {
    let nothing = || LogPage { entries: Vec::new(), ..page(&[]) };
    assert_eq!(lack(&at(1), vec![page(&[(3, 20)]), nothing()]), Err(Doubt::Trimmed), "2 is trimmed");
    assert_eq!(lack(&Seen::Since(stamp(1)), vec![page(&[(3, 20)]), nothing()]), Err(Doubt::Trimmed));
    let other_log = Seen::At(Position::new("f", 1));
    assert_eq!(lack(&other_log, vec![page(&[(2, 9), (3, 20)])]), Err(Doubt::Trimmed));
    let mut unstamped = page(&[(2, 9), (3, 20), (4, 21)]);
    unstamped.entries[1].stamp = None;
    assert_eq!(lack(&at(1), vec![unstamped]), Err(Doubt::Trimmed));
}

#[test]
fn what_an_earlier_redis_stamped_is_older_than_the_offset() {
    let mut restarted = page(&[(2, 90), (3, 20)]);
    restarted.entries[0].stamp = Some(Stamp { generation: "f".into(), number: 90 });
    assert_eq!(lack(&at(0), vec![restarted]), Ok((vec![3], 3)));
}
