//! The log of each conversation, in memory.

use super::now_ms;
use crate::log::new_epoch;
use crate::{
    Appended, DUPLICATE_WINDOW, Entry, Fill, LogLimits, LogPage, MessageLog, NewEntry, Part, Publication, Publish,
    ReadRange, Result, StoreError, message_id,
};
use ahash::AHashMap;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// Entries that one append removes at most for being too many or too old.
const TRIM_PER_APPEND: usize = 64;

/// Appends between two looks for conversations that nobody wrote to for long.
const APPENDS_PER_TIDYING: u64 = 10_000;

pub(crate) struct MemoryLog {
    publish: Publish,
    limits: LogLimits,
    conversations: Mutex<Conversations>,
}

#[derive(Default)]
struct Conversations {
    by_id: AHashMap<String, Arc<Mutex<Conversation>>>,
    appends: u64,
}

/// A log. Its lock is held while it publishes, which gives publications the order of the numbers.
struct Conversation {
    epoch: String,
    seq: u64,
    /// Numbered without gaps; the last has number `seq`, unless all were trimmed.
    entries: VecDeque<Entry>,
    sent: Sent,
    written_ms: i64,
    /// Out of the table: whoever waited for the lock must look again.
    dropped: bool,
}

impl MemoryLog {
    pub(crate) fn new(publish: Publish, limits: LogLimits) -> Self {
        Self { publish, limits, conversations: Mutex::default() }
    }

    /// The conversation, made if need be. Forgets abandoned ones now and then.
    fn conversation(&self, id: &str) -> Arc<Mutex<Conversation>> {
        let mut conversations = self.conversations.lock();
        conversations.appends += 1;
        if conversations.appends.is_multiple_of(APPENDS_PER_TIDYING) {
            conversations.drop_abandoned(now_ms().saturating_sub(2 * self.limits.max_age_ms()));
        }
        if let Some(conversation) = conversations.by_id.get(id) {
            return Arc::clone(conversation);
        }
        let conversation = Arc::new(Mutex::new(Conversation::new(now_ms())));
        conversations.by_id.insert(id.to_owned(), Arc::clone(&conversation));
        conversation
    }

    fn append_to(&self, log: &mut Conversation, entry: NewEntry, publications: &[Publication]) -> Result<Appended> {
        let sent = entry.client_message_id.clone().map(|id| (entry.sender.clone(), id));
        if let Some(first) = sent.as_ref().and_then(|key| log.sent.find(key)) {
            return Ok(Appended { duplicate: true, ..first });
        }
        let seq = log.seq + 1;
        let message_id = message_id(&entry.conversation, &log.epoch, seq);
        let appended = Appended {
            seq,
            epoch: log.epoch.clone(),
            message_id: message_id.clone(),
            timestamp_ms: entry.timestamp_ms,
            duplicate: false,
        };
        let payloads = publications.iter().map(|publication| payload(publication, &appended));
        let payloads: Vec<Vec<u8>> = payloads.collect::<Result<_>>()?;

        let NewEntry { sender, client_message_id, timestamp_ms, body, .. } = entry;
        log.entries.push_back(Entry { seq, message_id, sender, timestamp_ms, client_message_id, body });
        log.seq = seq;
        log.written_ms = now_ms();
        if let Some(key) = sent {
            log.sent.remember(key, appended.clone());
        }
        log.trim(&self.limits);
        for (publication, payload) in publications.iter().zip(payloads) {
            (self.publish)(&publication.channel, &payload);
        }
        Ok(appended)
    }
}

#[async_trait]
impl MessageLog for MemoryLog {
    async fn append(&self, entry: NewEntry, publications: &[Publication]) -> Result<Appended> {
        loop {
            let conversation = self.conversation(&entry.conversation);
            let mut log = conversation.lock();
            if !log.dropped {
                return self.append_to(&mut log, entry, publications);
            }
        }
    }

    async fn read(&self, conversation: &str, range: ReadRange) -> Result<LogPage> {
        let found = self.conversations.lock().by_id.get(conversation).cloned();
        let log = found.as_ref().map(|log| log.lock()).filter(|log| log.seq > 0);
        let Some(log) = log else {
            let complete = range.is_complete(0, None);
            return Ok(LogPage { entries: Vec::new(), epoch: String::new(), seq: 0, complete });
        };
        let entries = log.page(range);
        let ends = entries.first().zip(entries.last()).map(|(first, last)| (first.seq, last.seq));
        Ok(LogPage { complete: range.is_complete(log.seq, ends), entries, epoch: log.epoch.clone(), seq: log.seq })
    }
}

impl Conversations {
    fn drop_abandoned(&mut self, before_ms: i64) {
        self.by_id.retain(|_, conversation| {
            // One that is locked is in use.
            let Some(mut log) = conversation.try_lock() else { return true };
            log.dropped = log.written_ms < before_ms;
            !log.dropped
        });
    }
}

impl Conversation {
    fn new(now: i64) -> Self {
        Self {
            epoch: new_epoch(),
            seq: 0,
            entries: VecDeque::new(),
            sent: Sent::default(),
            written_ms: now,
            dropped: false,
        }
    }

    fn trim(&mut self, limits: &LogLimits) {
        let most = usize::try_from(limits.max_entries()).unwrap_or(usize::MAX);
        let oldest = now_ms().saturating_sub(limits.max_age_ms());
        for _ in 0..TRIM_PER_APPEND {
            let too_old = self.entries.front().is_some_and(|entry| entry.timestamp_ms <= oldest);
            if !too_old && self.entries.len() <= most {
                break;
            }
            self.entries.pop_front();
        }
    }

    fn page(&self, range: ReadRange) -> Vec<Entry> {
        let start = range.after.map_or(0, |after| self.entries.partition_point(|entry| entry.seq <= after));
        let end =
            range.before.map_or(self.entries.len(), |before| self.entries.partition_point(|entry| entry.seq < before));
        let all = end.saturating_sub(start);
        let skipped = if range.after.is_some() { 0 } else { all.saturating_sub(range.limit()) };
        self.entries.iter().skip(start + skipped).take(all.min(range.limit())).cloned().collect()
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

/// The bytes of a publication, its holes filled as `append.lua` fills them.
fn payload(publication: &Publication, appended: &Appended) -> Result<Vec<u8>> {
    let mut payload = Vec::new();
    for part in &publication.parts {
        match part {
            Part::Literal(bytes) => {
                payload.extend_from_slice(bytes);
                Ok(())
            }
            Part::Fill(Fill::Seq) => rmp::encode::write_uint(&mut payload, appended.seq).map(drop),
            Part::Fill(Fill::Epoch) => rmp::encode::write_str(&mut payload, &appended.epoch),
            Part::Fill(Fill::MessageId) => rmp::encode::write_str(&mut payload, &appended.message_id),
        }
        .map_err(|e| StoreError::unavailable(io::Error::from(e)))?;
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_that_nobody_writes_to_is_forgotten() {
        let mut conversations = Conversations::default();
        for (id, written_ms) in [("old", 10), ("new", 20)] {
            conversations.by_id.insert(id.into(), Arc::new(Mutex::new(Conversation::new(written_ms))));
        }
        let old = conversations.by_id.get("old").cloned().unwrap();
        conversations.drop_abandoned(15);
        assert_eq!(conversations.by_id.keys().collect::<Vec<_>>(), ["new"]);
        assert!(old.lock().dropped, "an append that waits for its lock must not write into it");
    }
}
