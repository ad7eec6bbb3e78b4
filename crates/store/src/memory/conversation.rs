//! One conversation in memory: its entries, what became of them, and how far its users are.

use super::now_ms;
use crate::log::new_epoch;
use crate::{
    Appended, DUPLICATE_WINDOW, Entry, Kind, LogLimits, MAX_RECEIPTS, Marks, NewEntry, Position, ReadRange, Receipt,
    Result, Stamp, Standing, StoreError, message_id,
};
use ahash::AHashMap;
use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

/// Entries that one append removes at most for being too many or too old.
const TRIM_PER_APPEND: usize = 64;

/// Its lock is held while it publishes, which gives publications the order of the numbers.
pub(super) struct Conversation {
    pub(super) epoch: String,
    pub(super) seq: u64,
    /// As they were written, numbered without gaps; the last has number `seq`, unless all were trimmed.
    entries: VecDeque<Entry>,
    /// Of the newest entry.
    pub(super) stamp: Option<Stamp>,
    sent: Sent,
    /// Of messages still in `entries`, by number: what became of them.
    standings: AHashMap<u64, Standing>,
    /// Numbers of the entries that are changes.
    changes: BTreeSet<u64>,
    /// Number of the newest message; 0 if there was none.
    last_message: u64,
    marks: AHashMap<String, Marks>,
    /// The end of the log when a user first took part.
    since: AHashMap<String, u64>,
    /// Time of the newest message.
    pub(super) active_ms: i64,
    pub(super) written_ms: i64,
    /// Out of the table: whoever waited for the lock must look again.
    pub(super) dropped: bool,
}

impl Conversation {
    pub(super) fn new(now: i64) -> Self {
        Self {
            epoch: new_epoch(),
            seq: 0,
            entries: VecDeque::new(),
            stamp: None,
            sent: Sent::default(),
            standings: AHashMap::new(),
            changes: BTreeSet::new(),
            last_message: 0,
            marks: AHashMap::new(),
            since: AHashMap::new(),
            active_ms: 0,
            written_ms: now,
            dropped: false,
        }
    }

    pub(super) fn end(&self) -> Position {
        let epoch = if self.seq == 0 { String::new() } else { self.epoch.clone() };
        Position { epoch, seq: self.seq }
    }

    /// What this entry was the first time it came.
    pub(super) fn duplicate_of(&mut self, entry: &NewEntry) -> Option<Appended> {
        let key = (entry.sender.clone(), entry.client_message_id.clone()?);
        self.sent.find(&key).map(|first| Appended { duplicate: true, ..first })
    }

    /// The place that `entry` will have, if it may have one.
    pub(super) fn place(&self, entry: &NewEntry) -> Result<Appended> {
        if let Kind::Edit(target) | Kind::Deletion(target) = &entry.kind {
            let message = self.entry(target.seq).filter(|found| found.epoch == target.epoch);
            let message = message.filter(|found| found.kind == Kind::Message).ok_or(StoreError::NotFound)?;
            if matches!(self.standings.get(&target.seq), Some(Standing::Deleted { .. })) {
                return Err(StoreError::NotFound);
            }
            if message.sender != entry.sender {
                return Err(StoreError::NotTheSender);
            }
        }
        let seq = self.seq + 1;
        Ok(Appended {
            seq,
            epoch: self.epoch.clone(),
            message_id: message_id(&entry.conversation, &self.epoch, seq),
            timestamp_ms: entry.timestamp_ms,
            duplicate: false,
        })
    }

    pub(super) fn append(&mut self, entry: NewEntry, at: &Appended, stamp: Option<Stamp>, limits: &LogLimits) {
        let NewEntry { kind, sender, client_message_id, timestamp_ms, body, .. } = entry;
        let seq = at.seq;
        match &kind {
            Kind::Message => (self.last_message, self.active_ms) = (seq, timestamp_ms),
            Kind::Edit(target) => drop(self.standings.insert(target.seq, Standing::Edited { seq })),
            Kind::Deletion(target) => drop(self.standings.insert(target.seq, Standing::Deleted { seq })),
        }
        if kind != Kind::Message {
            self.changes.insert(seq);
        }
        if let Some(id) = &client_message_id {
            self.sent.remember((sender.clone(), id.clone()), at.clone());
        }
        self.seq = seq;
        self.stamp.clone_from(&stamp);
        self.written_ms = now_ms();
        self.mark(&sender, Receipt::Read, seq);
        self.entries.push_back(Entry {
            seq,
            epoch: at.epoch.clone(),
            message_id: at.message_id.clone(),
            kind,
            standing: Standing::AsWritten,
            sender,
            timestamp_ms,
            client_message_id,
            body,
            stamp,
        });
        self.trim(limits);
    }

    fn trim(&mut self, limits: &LogLimits) {
        let most = usize::try_from(limits.max_entries()).unwrap_or(usize::MAX);
        let oldest = now_ms().saturating_sub(limits.max_age_ms());
        for _ in 0..TRIM_PER_APPEND {
            let too_old = self.entries.front().is_some_and(|entry| entry.timestamp_ms <= oldest);
            if !too_old && self.entries.len() <= most {
                break;
            }
            if let Some(entry) = self.entries.pop_front() {
                self.standings.remove(&entry.seq);
                self.changes.remove(&entry.seq);
            }
        }
    }

    pub(super) fn page(&self, range: ReadRange) -> Vec<Entry> {
        let start = range.after.map_or(0, |after| self.entries.partition_point(|entry| entry.seq <= after));
        let end =
            range.before.map_or(self.entries.len(), |before| self.entries.partition_point(|entry| entry.seq < before));
        let all = end.saturating_sub(start);
        let skipped = if range.after.is_some() { 0 } else { all.saturating_sub(range.limit()) };
        let page = self.entries.iter().skip(start + skipped).take(all.min(range.limit()));
        page.map(|entry| self.as_it_stands(entry)).collect()
    }

    /// The newest message, as it stands now.
    pub(super) fn newest_message(&self) -> Option<Entry> {
        self.entry(self.last_message).map(|entry| self.as_it_stands(entry))
    }

    fn entry(&self, seq: u64) -> Option<&Entry> {
        let first = self.entries.front()?.seq;
        self.entries.get(usize::try_from(seq.checked_sub(first)?).ok()?)
    }

    fn as_it_stands(&self, entry: &Entry) -> Entry {
        let (subject, is_edit) = match &entry.kind {
            Kind::Message => (entry.seq, false),
            Kind::Edit(target) => (target.seq, true),
            Kind::Deletion(_) => return entry.clone(),
        };
        let mut entry = entry.clone();
        match self.standings.get(&subject) {
            Some(standing @ Standing::Deleted { .. }) => {
                entry.standing = *standing;
                entry.body.clear();
            }
            Some(standing @ Standing::Edited { seq }) if !is_edit => {
                entry.standing = *standing;
                entry.body = self.entry(*seq).map(|edit| edit.body.clone()).unwrap_or_default();
            }
            _ => {}
        }
        entry
    }

    /// True if it moved.
    pub(super) fn mark(&mut self, user: &str, receipt: Receipt, seq: u64) -> bool {
        let seq = seq.min(self.seq);
        if seq == 0 {
            return false;
        }
        let marks = self.marks.entry(user.to_owned()).or_default();
        let before = *marks;
        marks.delivered = marks.delivered.max(seq);
        if receipt == Receipt::Read {
            marks.read = marks.read.max(seq);
        }
        let moved = match receipt {
            Receipt::Delivered => marks.delivered > before.delivered,
            Receipt::Read => marks.read > before.read,
        };
        if self.marks.len() > MAX_RECEIPTS {
            let furthest_behind = self.marks.iter().min_by_key(|(_, marks)| marks.delivered).map(|(user, _)| user);
            if let Some(user) = furthest_behind.cloned() {
                self.marks.remove(&user);
            }
        }
        moved
    }

    pub(super) fn marks(&self, user: &str) -> Marks {
        self.marks.get(user).copied().unwrap_or_default()
    }

    /// Users whose mark, as `which` picks it, is at `seq` or beyond.
    pub(super) fn users_at(&self, seq: u64, which: impl Fn(&Marks) -> u64) -> Vec<String> {
        // Who has marked only the other thing stands at 0 here, which is not to have come anywhere.
        let there = self.marks.iter().filter(|(_, marks)| which(marks) >= seq.max(1));
        let users: BTreeSet<&String> = there.map(|(user, _)| user).collect();
        users.into_iter().cloned().collect()
    }

    pub(super) fn takes_part(&mut self, user: &str) {
        let seq = self.seq;
        if self.since.len() < MAX_RECEIPTS {
            self.since.entry(user.to_owned()).or_insert(seq);
        }
    }

    pub(super) fn unread(&self, user: &str) -> u64 {
        let seen = self.marks(user).read.max(self.since.get(user).copied().unwrap_or(0));
        self.seq.saturating_sub(seen) - self.changes.range(seen + 1..).count() as u64
    }
}

/// Sender and client message id.
type SentKey = (String, String);

/// What was appended under which client message id, for [`DUPLICATE_WINDOW`].
#[derive(Default)]
struct Sent {
    first: AHashMap<SentKey, Appended>,
    /// Each key of `first` once, the oldest first.
    order: VecDeque<(Instant, SentKey)>,
}

impl Sent {
    fn find(&mut self, key: &SentKey) -> Option<Appended> {
        while self.order.front().is_some_and(|(sent, _)| sent.elapsed() > DUPLICATE_WINDOW) {
            if let Some((_, old)) = self.order.pop_front() {
                self.first.remove(&old);
            }
        }
        self.first.get(key).cloned()
    }

    fn remember(&mut self, key: SentKey, appended: Appended) {
        self.order.push_back((Instant::now(), key.clone()));
        self.first.insert(key, appended);
    }
}
