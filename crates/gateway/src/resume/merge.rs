//! The pure part of resuming: where a reader of a log stands, what a page of the log means for it, and how what came
//! live in the meantime goes behind that page, each message once.

use std::{collections::VecDeque, sync::Arc};

/// A place in a conversation's log: everything up to `seq` of the log named `epoch` is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The log that `seq` counts in; empty while nothing was ever written.
    pub epoch: Arc<str>,
    /// 0 before the first message.
    pub seq: u64,
}

impl Position {
    /// A place in the log named `epoch`.
    pub fn new(epoch: impl Into<Arc<str>>, seq: u64) -> Self {
        Self { epoch: epoch.into(), seq }
    }
}

/// What a page read after a position says about the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageHead<'a> {
    /// The log's name; empty while nothing was ever written.
    pub epoch: &'a str,
    /// The newest number of the log.
    pub newest: u64,
    /// The number of the first entry on the page.
    pub first: Option<u64>,
    /// The logs that this one goes on from, the newest first, each with the last number that they have in common.
    pub ancestors: &'a [Position],
}

impl PageHead<'_> {
    /// Up to which number a reader of the log `epoch` has seen the same entries; `None` if that is another log altogether.
    fn common(&self, epoch: &str) -> Option<u64> {
        if self.epoch == epoch {
            return Some(self.newest);
        }
        let branch = self.ancestors.iter().find(|ancestor| &*ancestor.epoch == epoch)?;
        // It may have lost more since than it has noted.
        Some(branch.seq.min(self.newest))
    }

    /// Whether a reader that stands at `at` has seen nothing that this log doesn't have.
    pub fn honours(&self, at: &Position) -> bool {
        // Who has nothing of a log has nothing of any other either.
        at.seq == 0 || self.common(&at.epoch).is_some_and(|common| at.seq <= common)
    }
}

/// How to go on from a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Continue {
    /// The page follows at once, in the page's log.
    Whole,
    /// Entries between the position and this number were trimmed: tell so, and go on from there with the page.
    Trimmed(u64),
    /// What was seen is not in this log, or there is none any more. Tell so, and read from this number.
    Lost(u64),
}

/// Why something is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The log no longer reaches back that far.
    Trimmed,
    /// The log that was counted in is lost, or its end is.
    Lost,
}

/// As much of another log is read; whoever misses more starts at its end, and reloads.
const READ_AGAIN: u64 = 500;

/// What to do with a page that was read after `at`.
pub fn follow(at: &Position, page: &PageHead<'_>) -> Continue {
    if !page.honours(at) {
        let common = page.common(&at.epoch).unwrap_or(0);
        return Continue::Lost(if page.newest - common <= READ_AGAIN { common } else { page.newest });
    }
    match page.first {
        Some(first) if first > at.seq + 1 => Continue::Trimmed(first - 1),
        None if page.newest > at.seq => Continue::Trimmed(page.newest),
        _ => Continue::Whole,
    }
}

/// Live messages that wait until what comes before them has been read from the log. Bounded: when it is full it keeps
/// nothing, and the log is read once more instead.
#[derive(Debug)]
pub struct Buffer<T> {
    epoch: Arc<str>,
    /// In ascending order, without repeats.
    messages: VecDeque<(u64, T)>,
    /// Something that is not in `messages` came.
    overflowed: bool,
}

/// Messages that one buffer holds.
const BUFFERED: usize = 512;

/// What [`Buffer::take_after`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Merged<T> {
    /// All that came after the position.
    Whole(Vec<(u64, T)>),
    /// There is more in the log than was read: read on.
    Short,
}

impl<T> Default for Buffer<T> {
    fn default() -> Self {
        Self { epoch: "".into(), messages: VecDeque::new(), overflowed: false }
    }
}

impl<T> Buffer<T> {
    /// Keeps a message. Messages come in ascending order; of two logs, the later counts.
    pub fn push(&mut self, epoch: &str, seq: u64, message: T) {
        if *self.epoch != *epoch {
            self.messages.clear();
            self.epoch = epoch.into();
        }
        if self.messages.back().is_some_and(|(last, _)| *last >= seq) {
            return;
        }
        if self.messages.len() == BUFFERED {
            self.messages = VecDeque::new();
            self.overflowed = true;
        }
        self.messages.push_back((seq, message));
    }

    /// The message that was pushed last.
    pub fn last_mut(&mut self) -> Option<&mut T> {
        self.messages.back_mut().map(|(_, message)| message)
    }

    /// Whether nothing came.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && !self.overflowed
    }

    /// Takes out what follows `at` without a gap: all of it, or nothing.
    pub fn take_after(&mut self, at: &Position) -> Merged<T> {
        if self.messages.is_empty() {
            // What overflowed was dropped, and nothing says how far it went.
            return if std::mem::take(&mut self.overflowed) { Merged::Short } else { Merged::Whole(Vec::new()) };
        }
        if self.epoch != at.epoch {
            // One of the two logs is gone, and only the log itself knows which.
            self.messages.clear();
            self.overflowed = false;
            return Merged::Short;
        }
        let known = self.messages.partition_point(|(seq, _)| *seq <= at.seq);
        self.messages.drain(..known);
        let mut next = at.seq;
        let whole = self.messages.iter().all(|(seq, _)| {
            next += 1;
            *seq == next
        });
        if !whole {
            return Merged::Short;
        }
        self.overflowed = false;
        Merged::Whole(std::mem::take(&mut self.messages).into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(epoch: &str, newest: u64, first: Option<u64>) -> PageHead<'_> {
        PageHead { epoch, newest, first, ancestors: &[] }
    }

    #[test]
    fn a_page_is_followed_only_where_nothing_is_missing() {
        let at = Position::new("e", 5);
        assert_eq!(follow(&at, &page("e", 9, Some(6))), Continue::Whole);
        assert_eq!(follow(&at, &page("e", 5, None)), Continue::Whole);
        assert_eq!(follow(&at, &page("e", 9, Some(8))), Continue::Trimmed(7));
        assert_eq!(follow(&at, &page("e", 9, None)), Continue::Trimmed(9));
        assert_eq!(follow(&at, &page("e", 3, None)), Continue::Lost(3));
        assert_eq!(follow(&at, &page("f", 3, None)), Continue::Lost(0));
        assert_eq!(follow(&at, &page("f", 30_000, None)), Continue::Lost(30_000));
        assert_eq!(follow(&at, &page("", 0, None)), Continue::Lost(0));
    }

    #[test]
    fn a_log_that_goes_on_under_another_name_is_followed_up_to_where_it_branched_off() {
        let ancestors = [Position::new("e", 5), Position::new("d", 2)];
        let page = PageHead { ancestors: &ancestors, ..page("f", 9, Some(6)) };
        assert_eq!(follow(&Position::new("e", 5), &page), Continue::Whole);
        assert_eq!(follow(&Position::new("e", 6), &page), Continue::Lost(5));
        assert_eq!(follow(&Position::new("d", 3), &page), Continue::Lost(2));
        assert_eq!(follow(&Position::new("c", 1), &page), Continue::Lost(0));
    }

    #[test]
    fn who_has_nothing_can_follow_any_log_from_its_start() {
        for epoch in ["", "e"] {
            let at = Position::new(epoch, 0);
            assert_eq!(follow(&at, &page("f", 2, Some(1))), Continue::Whole);
            assert_eq!(follow(&at, &page("f", 9, Some(4))), Continue::Trimmed(3));
            assert_eq!(follow(&at, &page("", 0, None)), Continue::Whole);
        }
    }

    #[test]
    fn messages_of_another_log_are_not_taken_for_these() {
        let mut buffer = Buffer::default();
        buffer.push("f", 6, ());
        assert_eq!(buffer.take_after(&Position::new("e", 5)), Merged::Short);
        assert_eq!(buffer.take_after(&Position::new("f", 6)), Merged::Whole(vec![]));
    }

    proptest! {
        /// A log of `length` is read up to `read`, from where pages go on; live messages since `since` were kept, some
        /// of them lost on the way.
        #[test]
        fn page_and_buffer_together_are_the_log_or_say_that_they_are_not(
            length in 0u64..1_500, read in 0u64..1_500, since in 0u64..1_500, lost in proptest::collection::btree_set(0u64..1_500, 0..3),
        ) {
            let read = read.min(length);
            let mut buffer = Buffer::default();
            let live: Vec<u64> = (since.min(length) + 1..=length).filter(|seq| !lost.contains(seq)).collect();
            live.iter().for_each(|seq| buffer.push("e", *seq, *seq));
            let end = live.last().copied().unwrap_or(read).max(read);
            match buffer.take_after(&Position::new("e", read)) {
                Merged::Whole(rest) => {
                    let expected: Vec<_> = (read + 1..=end).map(|seq| (seq, seq)).collect();
                    prop_assert_eq!(rest, expected);
                }
                Merged::Short => {
                    let whole = live.len() < BUFFERED && (read + 1..=end).all(|seq| live.contains(&seq));
                    prop_assert!(!whole, "everything was there");
                }
            }
        }
    }
}
