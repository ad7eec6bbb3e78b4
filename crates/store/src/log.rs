//! The messages of each conversation, numbered without gaps.

use crate::{Result, Waiting};
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::time::Duration;

/// How long a client message id is remembered, to recognise a message that is sent again.
pub const DUPLICATE_WINDOW: Duration = Duration::from_secs(15 * 60);

/// The largest page of [`MessageLog::read`].
pub const MAX_PAGE: usize = 1_000;

/// What a log keeps at most. It is trimmed while it is appended to, a bounded number of entries at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Entries of a conversation; at least 1.
    pub max_entries: u64,
    /// Age of an entry. A conversation that nobody wrote to for that long loses its entries, and after twice that its
    /// numbering: it then starts again with a new epoch.
    pub max_age: Duration,
}

impl Default for LogLimits {
    /// 10,000 entries, 30 days.
    fn default() -> Self {
        Self { max_entries: 10_000, max_age: Duration::from_secs(30 * 24 * 60 * 60) }
    }
}

impl LogLimits {
    pub(crate) fn max_entries(&self) -> u64 {
        self.max_entries.max(1)
    }

    /// In milliseconds, at most a century: far from what Redis or arithmetic could overflow on.
    pub(crate) fn max_age_ms(&self) -> i64 {
        const CENTURY: i64 = 100 * 365 * 24 * 60 * 60 * 1_000;
        i64::try_from(self.max_age.as_millis()).map_or(CENTURY, |ms| ms.clamp(1, CENTURY))
    }
}

/// A place in a log, or its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which log; empty where nothing was ever written.
    pub epoch: String,
    /// The number of an entry; 0 is before the first.
    pub seq: u64,
}

/// The place of an entry in the one order in which all logs were written and published: a greater number of the same
/// generation was written later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Of one run of one Redis. A restart or a failover may lose the latest entries, so numbers of two generations say
    /// nothing about each other.
    pub generation: String,
    /// Grows with every entry, from 1.
    pub number: u64,
}

impl Stamp {
    /// Reads what [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (generation, number) = text.split_once('.').filter(|(generation, _)| !generation.is_empty())?;
        Some(Self { generation: generation.to_owned(), number: parse_number(number)? })
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.number)
    }
}

/// The end of a log, and where its last entry stands among those of all logs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamped {
    /// The end.
    pub end: Position,
    /// `None` when the last entry has no stamp, or there is none.
    pub stamp: Option<Stamp>,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A message.
    Message,
    /// Gives an earlier message of the same sender another body, its own.
    Edit(Position),
    /// Takes an earlier message of the same sender back.
    Deletion(Position),
}

/// What became of a message, or of an edit with its message, until it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is as its sender wrote it.
    AsWritten,
    /// It was edited, last by entry `seq`. [`Entry::body`] is what that entry says.
    Edited {
        /// Number of the entry with the newest edit.
        seq: u64,
    },
    /// It was taken back by entry `seq`. [`Entry::body`] is empty: what it said is not given out any more.
    Deleted {
        /// Number of the entry that took it back.
        seq: u64,
    },
}

/// An entry to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// Where to.
    pub conversation: String,
    /// A message, or a change of one. A change is appended only if its target is a message of the same sender that is
    /// still in the log and was not taken back.
    pub kind: Kind,
    /// The user who wrote it.
    pub sender: String,
    /// Users who take part in the conversation by this message, so that it is in their lists: usually the sender, and of a
    /// direct conversation both; of a change nobody. See [`Conversations::take_part`](crate::Conversations::take_part).
    pub participants: Vec<String>,
    /// The sender's own name for it, unique per sender and conversation, by which a repetition is recognised.
    pub client_message_id: Option<String>,
    /// When, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// JSON text of an object with everything else; the store does not look into it.
    pub body: String,
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number: 1 for the first of a log, then one more each.
    pub seq: u64,
    /// The log's epoch when it was written; see [`LogPage::ancestors`].
    pub epoch: String,
    /// See [`message_id`].
    pub message_id: String,
    /// A message, or a change of one.
    pub kind: Kind,
    /// What became of it since.
    pub standing: Standing,
    /// The user who wrote it.
    pub sender: String,
    /// When, in milliseconds since 1970, as given to [`MessageLog::append`].
    pub timestamp_ms: i64,
    /// The sender's own name for it.
    pub client_message_id: Option<String>,
    /// As given to [`MessageLog::append`], or as edited since, or empty: see [`Standing`].
    pub body: String,
    /// Its place among the entries of all logs, with [`Limits::stamps`](crate::Limits::stamps).
    pub stamp: Option<Stamp>,
}

/// The place of an appended entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Its number.
    pub seq: u64,
    /// The log that `seq` belongs to. Made at random with the first entry; a log that is lost, or may have lost its end,
    /// goes on under another, so that nobody compares numbers of one with numbers of the other.
    pub epoch: String,
    /// See [`message_id`].
    pub message_id: String,
    /// The entry's time; for a duplicate that of the first.
    pub timestamp_ms: i64,
    /// The same sender already appended this client message id. Nothing was stored or published now; the other fields
    /// are those of the first time.
    pub duplicate: bool,
}

/// The outcome of [`MessageLog::append_for`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendedFor {
    /// As of [`MessageLog::append`].
    pub appended: Appended,
    /// It is in the log, but the inbox could not be reached: put it there with [`Inbox::push`](crate::Inbox::push).
    pub owed: bool,
}

/// Which entries to read. With neither bound, or only `before`, the newest that qualify; with `after`, the oldest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadRange {
    /// Only entries with a greater `seq`.
    pub after: Option<u64>,
    /// Only entries with a smaller `seq`.
    pub before: Option<u64>,
    /// How many at most; no more than [`MAX_PAGE`] in any case.
    pub limit: usize,
}

/// A page of a log, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// In ascending `seq`, without gaps.
    pub entries: Vec<Entry>,
    /// The log they belong to; empty while nothing was ever written.
    pub epoch: String,
    /// The newest `seq` of the log; 0 while nothing was ever written.
    pub seq: u64,
    /// Nothing between `after` and the first entry was trimmed, and nothing in the range after the last entry is missing.
    /// False too if `after` lies beyond `seq`: then the log lost its end.
    pub complete: bool,
    /// The epochs that the log had before, the newest first, each with the number of its last entry that survived.
    ///
    /// A Redis that crashes may lose the last entries that it acknowledged (which, depends on its persistence). Numbers
    /// would then be given out a second time, and a client that had seen the lost ones would not notice that it misses the
    /// new ones. So the first append after every restart or failover begins a new epoch and notes here where it branched
    /// off: a position up to there is as good as one in the new epoch, one beyond saw what was lost.
    pub ancestors: Vec<Position>,
}

impl LogPage {
    /// True if whoever has seen everything up to `position` has seen exactly the entries of this log up to its number, so
    /// that reading may go on from there. (They may be trimmed by now: see [`complete`](Self::complete).)
    pub fn honours(&self, position: &Position) -> bool {
        if position.seq == 0 {
            return true;
        }
        let branch = self.ancestors.iter().find(|ancestor| ancestor.epoch == position.epoch);
        let end = if position.epoch == self.epoch { Some(self.seq) } else { branch.map(|branch| branch.seq) };
        end.is_some_and(|end| position.seq <= end)
    }
}

/// A message to publish with an append, with holes for what only the append decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Where to.
    pub channel: Vec<u8>,
    /// Concatenated.
    pub parts: Vec<Part>,
}

/// A piece of a [`Publication`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// These bytes.
    Literal(Bytes),
    /// A value in msgpack.
    Fill(Fill),
}

/// What a hole is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// The entry's number, as the shortest unsigned integer.
    Seq,
    /// The log's epoch, as a string.
    Epoch,
    /// The message id, as a string.
    MessageId,
    /// The entry's [`Stamp`], as a string; empty when it has none.
    Stamp,
}

/// The log of each conversation.
#[async_trait]
pub trait MessageLog: Send + Sync {
    /// Numbers `entry`, stores it and publishes `publications`, as one step: for a conversation, the order of
    /// publications is the order of numbers, for every subscriber. A duplicate (see [`Appended::duplicate`]) changes and
    /// publishes nothing.
    ///
    /// # Errors
    /// [`Unavailable`](crate::StoreError::Unavailable): it may or may not have been stored; with a client message id it
    /// is safe to try again. For a change, [`NotFound`](crate::StoreError::NotFound) if there is no such message any more,
    /// and [`NotTheSender`](crate::StoreError::NotTheSender): nothing was stored.
    async fn append(&self, entry: NewEntry, publications: &[Publication]) -> Result<Appended>;

    /// Like [`append`](Self::append), and puts `waiting` into the inbox of its user, under the message id, if they have no
    /// open socket ([`Keep::IfOffline`](crate::Keep::IfOffline)). In one step and one round trip; in a Redis Cluster, where
    /// conversation and user lie on different servers, in a second one.
    ///
    /// # Errors
    /// Those of [`append`](Self::append). What happens behind that is told by [`AppendedFor::owed`].
    async fn append_for(
        &self,
        entry: NewEntry,
        publications: &[Publication],
        waiting: &Waiting<'_>,
    ) -> Result<AppendedFor>;

    /// Reads a page. Of a conversation nobody wrote to it is empty and complete.
    async fn read(&self, conversation: &str, range: ReadRange) -> Result<LogPage>;

    /// The ends of many logs, in the order asked, in one round trip.
    async fn ends(&self, conversations: &[String]) -> Result<Vec<Position>>;

    /// The same with stamps.
    async fn stamped_ends(&self, conversations: &[String]) -> Result<Vec<Stamped>>;

    /// The stamp that was given out last, in whatever log: everything that is read from now on has all entries up to it.
    /// `None` while there is none, or without [`Limits::stamps`](crate::Limits::stamps).
    async fn newest_stamp(&self) -> Result<Option<Stamp>>;
}

/// `<conversation>:<epoch>:<seq>`: names one entry for ever, and lets the server find it again.
pub fn message_id(conversation: &str, epoch: &str, seq: u64) -> String {
    [conversation, ":", epoch, ":", &seq.to_string()].concat()
}

/// The parts of a [`message_id`]: conversation (which may contain colons), epoch, seq. `None` for anything else.
pub fn parse_message_id(id: &str) -> Option<(&str, &str, u64)> {
    let (rest, seq) = id.rsplit_once(':')?;
    let (conversation, epoch) = rest.rsplit_once(':').filter(|(_, epoch)| !epoch.is_empty())?;
    let seq = parse_number(seq).filter(|seq| *seq > 0)?;
    Some((conversation, epoch, seq))
}

/// A number in the form that [`to_string`](ToString) gives it only: "+1" and "01" would be second names of one thing.
fn parse_number(text: &str) -> Option<u64> {
    let is_plain = text == "0" || !text.starts_with(['+', '0']);
    text.parse().ok().filter(|_| is_plain)
}

impl ReadRange {
    pub(crate) fn limit(&self) -> usize {
        self.limit.min(MAX_PAGE)
    }

    /// Whether a page with entries from `first` to `last` (`None` when it has none) of a log that ends at `seq` is all
    /// that [`LogPage::complete`] promises.
    pub(crate) fn is_complete(&self, seq: u64, page: Option<(u64, u64)>) -> bool {
        if self.after.is_some_and(|after| after > seq) {
            return false;
        }
        let end = self.before.map_or(seq, |before| before.saturating_sub(1).min(seq));
        let start = self.after.map(|after| after + 1);
        match page {
            Some((first, last)) => start.is_none_or(|start| first == start) && last == end,
            None => end < start.unwrap_or(1),
        }
    }
}

/// A new log's epoch: short, since it travels with every message, and unlikely to come twice for one conversation.
pub(crate) fn new_epoch() -> String {
    format!("{:012x}", rand::random::<u64>() >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    #[test]
    fn a_message_id_is_read_back_whatever_the_conversation_is_called() {
        for conversation in ["general", "dm:alice:bob", "", ":", "a:b:1"] {
            let id = message_id(conversation, "0af3", 42);
            assert_eq!(parse_message_id(&id), Some((conversation, "0af3", 42)));
        }
    }

    #[test]
    fn a_stamp_is_read_back_and_nothing_else_is_one() {
        let stamp = Stamp { generation: "0af3".into(), number: 42 };
        assert_eq!(Stamp::parse(&stamp.to_string()), Some(stamp));
        for text in ["", "-", "a", "a.", ".1", "a.-1", "a.+1", "a.01", "a.1.2", "a.18446744073709551616"] {
            assert_eq!(Stamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn other_text_is_not_a_message_id() {
        for id in
            ["", "a", "a:b", "a:b:", "a:b:x", "a:b:-1", "a:b:+1", "a:b:01", "a:b:0", "a::1", "a:b:18446744073709551616"]
        {
            assert_eq!(parse_message_id(id), None, "{id}");
        }
    }

    proptest! {
        #[test]
        fn any_message_id_is_read_back_and_any_text_may_be_read(conversation in ".{0,9}", seq in 1_u64.., text in ".{0,9}") {
            let id = message_id(&conversation, "0af3", seq);
            prop_assert_eq!(parse_message_id(&id), Some((&*conversation, "0af3", seq)));
            if let Some((conversation, epoch, seq)) = parse_message_id(&text) {
                prop_assert_eq!(message_id(conversation, epoch, seq), text);
            }
        }

        /// Of a log that has entries `first..=seq`, a page is what a reader would take; complete is what it says.
        #[test]
        fn a_page_is_complete_exactly_if_nothing_in_its_range_is_missing(
            first in 1..8_u64, length in 0..8_u64, after in option::of(0..20_u64), before in option::of(0..20_u64), limit in 0..9_usize,
        ) {
            let seq = first + length - 1;
            let range = ReadRange { after, before, limit };
            let is_asked_for = |n: &u64| after.is_none_or(|after| *n > after) && before.is_none_or(|before| *n < before);
            let kept: Vec<u64> = (first..=seq).filter(is_asked_for).collect();
            let skipped = if after.is_some() { 0 } else { kept.len().saturating_sub(limit) };
            let page: Vec<u64> = kept.iter().copied().skip(skipped).take(limit).collect();
            let ends = page.first().copied().zip(page.last().copied());

            let ever_written = (1..=seq).filter(is_asked_for);
            let missing = match after {
                Some(after) => after > seq || ever_written.clone().any(|n| !page.contains(&n)),
                // The newest that qualify: what is before the page was not asked for.
                None => ever_written.max() != page.last().copied(),
            };
            prop_assert_eq!(range.is_complete(seq, ends), !missing, "page {:?} of {}..={}", page, first, seq);
        }

        #[test]
        fn a_position_is_honoured_exactly_up_to_where_its_log_and_this_one_are_the_same(
            branches in vec(0..20_u64, 0..5), end in 0..20_u64, of in 0..6_usize, seq in 0..25_u64,
        ) {
            let mut ends = branches;
            ends.push(end);
            ends.sort_unstable();
            let newest = ends.len() - 1;
            let at = |(n, seq): (usize, &u64)| Position { epoch: n.to_string(), seq: *seq };
            let ancestors = ends.iter().enumerate().take(newest).rev().map(at).collect();
            let page = LogPage {
                entries: vec![], epoch: newest.to_string(), seq: ends[newest], complete: true, ancestors,
            };
            let shared = ends.get(of).copied();
            let honoured = page.honours(&Position { epoch: of.to_string(), seq });
            prop_assert_eq!(honoured, seq == 0 || shared.is_some_and(|shared| seq <= shared));
        }
    }
}
