//! The log of each conversation, in memory.

use super::conversation::Conversation;
use super::inbox::MemoryInbox;
use super::lists::Lists;
use super::{Filled, now_ms, payload};
use crate::keys::Realm;
use crate::log::new_epoch;
use crate::{
    Appended, AppendedFor, InboxItem, Keep, Kind, Limits, LogLimits, LogPage, MessageLog, NewEntry, Position,
    Publication, Publish, ReadRange, Result, Stamp, Stamped, Waiting,
};
use ahash::AHashMap;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::sync::Arc;

/// Appends between two looks for conversations that nobody wrote to for long.
const APPENDS_PER_TIDYING: u64 = 10_000;

/// The conversations of one realm, with receipts and lists.
pub(crate) struct MemoryLog {
    pub(super) table: Arc<Table>,
    pub(super) realm: Realm,
    inbox: Arc<MemoryInbox>,
}

/// The conversations of all realms.
pub(crate) struct Table {
    publish: Publish,
    limits: LogLimits,
    /// The last one given out, with [`Limits::stamps`]. Its lock is held while an entry is published, which gives
    /// publications of all conversations the order of their stamps. Taken under that of a conversation.
    newest: Option<Mutex<Stamp>>,
    conversations: Mutex<Conversations>,
    pub(super) lists: Mutex<Lists>,
}

#[derive(Default)]
struct Conversations {
    by_id: AHashMap<String, Arc<Mutex<Conversation>>>,
    appends: u64,
}

impl MemoryLog {
    pub(crate) fn new(table: Arc<Table>, realm: Realm, inbox: Arc<MemoryInbox>) -> Self {
        Self { table, realm, inbox }
    }

    /// `keep` is called with the message id before anything is published.
    fn append_with(
        &self,
        entry: NewEntry,
        publications: &[Publication],
        keep: impl FnOnce(&str) -> Result<()>,
    ) -> Result<Appended> {
        let participants = if entry.kind == Kind::Message { entry.participants.clone() } else { Vec::new() };
        let conversation = entry.conversation.clone();
        let scoped = self.realm.scoped(&conversation);
        // Before: whoever finds the entry finds its conversation in the lists.
        for user in participants {
            self.table.lists.lock().note(self.realm.scoped(&user), &conversation);
        }
        self.table.change(&scoped, |log| self.table.append(log, entry, publications, keep))
    }
}

impl Table {
    pub(crate) fn new(publish: Publish, limits: &Limits) -> Self {
        let newest = limits.stamps.then(|| Mutex::new(Stamp { generation: new_epoch(), number: 0 }));
        Self { publish, limits: limits.log, newest, conversations: Mutex::default(), lists: Mutex::default() }
    }

    /// What `look` sees in a conversation; `None` if there is none of that name.
    pub(super) fn look<T>(&self, id: &str, look: impl FnOnce(&mut Conversation) -> T) -> Option<T> {
        let found = self.conversations.lock().by_id.get(id).cloned();
        found.map(|conversation| look(&mut conversation.lock()))
    }

    /// Lets `change` work on a conversation, made if need be.
    pub(super) fn change<T>(&self, id: &str, change: impl FnOnce(&mut Conversation) -> T) -> T {
        loop {
            let conversation = self.conversation(id);
            let mut conversation = conversation.lock();
            if !conversation.dropped {
                return change(&mut conversation);
            }
        }
    }

    /// The conversation, made if need be. Forgets abandoned ones now and then.
    fn conversation(&self, id: &str) -> Arc<Mutex<Conversation>> {
        let mut conversations = self.conversations.lock();
        conversations.appends += 1;
        if conversations.appends.is_multiple_of(APPENDS_PER_TIDYING) {
            conversations.drop_abandoned(now_ms().saturating_sub(2 * self.limits.max_age_ms()));
            self.lists.lock().drop_abandoned();
        }
        if let Some(conversation) = conversations.by_id.get(id) {
            return Arc::clone(conversation);
        }
        let conversation = Arc::new(Mutex::new(Conversation::new(now_ms())));
        conversations.by_id.insert(id.to_owned(), Arc::clone(&conversation));
        conversation
    }

    fn append(
        &self,
        log: &mut Conversation,
        entry: NewEntry,
        publications: &[Publication],
        keep: impl FnOnce(&str) -> Result<()>,
    ) -> Result<Appended> {
        if let Some(first) = log.duplicate_of(&entry) {
            return Ok(first);
        }
        let place = log.place(&entry)?;
        let mut newest = self.newest.as_ref().map(Mutex::lock);
        let stamp = newest.as_ref().map(|newest| Stamp { number: newest.number + 1, ..Stamp::clone(newest) });
        let written = stamp.as_ref().map(Stamp::to_string).unwrap_or_default();
        let Appended { seq, epoch, message_id, .. } = &place;
        let filled = Filled { seq: *seq, epoch, message_id, stamp: &written };
        let payloads = publications.iter().map(|publication| payload(publication, filled));
        let payloads: Vec<Vec<u8>> = payloads.collect::<Result<_>>()?;
        keep(&place.message_id)?;
        if let (Some(newest), Some(stamp)) = (&mut newest, &stamp) {
            newest.number = stamp.number;
        }
        log.append(entry, &place, stamp, &self.limits);
        for (publication, payload) in publications.iter().zip(payloads) {
            (self.publish)(&publication.channel, &payload);
        }
        Ok(place)
    }
}

#[async_trait]
impl MessageLog for MemoryLog {
    async fn append(&self, entry: NewEntry, publications: &[Publication]) -> Result<Appended> {
        self.append_with(entry, publications, |_| Ok(()))
    }

    async fn append_for(
        &self,
        entry: NewEntry,
        publications: &[Publication],
        waiting: &Waiting<'_>,
    ) -> Result<AppendedFor> {
        let fits = waiting.fits(&entry);
        let appended = self.append_with(entry, publications, |id| {
            if fits {
                let item = InboxItem { id: id.to_owned(), body: waiting.body.to_owned() };
                self.inbox.put(waiting.user, &item, Keep::IfOffline)?;
            }
            Ok(())
        })?;
        Ok(AppendedFor { appended, owed: false })
    }

    async fn read(&self, conversation: &str, range: ReadRange) -> Result<LogPage> {
        let page = self.table.look(&self.realm.scoped(conversation), |log| {
            let entries = log.page(range);
            let ends = entries.first().zip(entries.last()).map(|(first, last)| (first.seq, last.seq));
            let complete = range.is_complete(log.seq, ends);
            let Position { epoch, seq } = log.end();
            // What is in memory is lost as a whole or not at all.
            LogPage { entries, epoch, seq, complete, ancestors: Vec::new() }
        });
        let complete = range.is_complete(0, None);
        let nothing = LogPage { entries: Vec::new(), epoch: String::new(), seq: 0, complete, ancestors: Vec::new() };
        Ok(page.unwrap_or(nothing))
    }

    async fn ends(&self, conversations: &[String]) -> Result<Vec<Position>> {
        let end = |id: &String| self.table.look(&self.realm.scoped(id), |log| log.end()).unwrap_or_default();
        Ok(conversations.iter().map(end).collect())
    }

    async fn stamped_ends(&self, conversations: &[String]) -> Result<Vec<Stamped>> {
        let end = |id: &String| {
            let stamped = |log: &mut Conversation| Stamped { end: log.end(), stamp: log.stamp.clone() };
            self.table.look(&self.realm.scoped(id), stamped).unwrap_or_default()
        };
        Ok(conversations.iter().map(end).collect())
    }

    async fn newest_stamp(&self) -> Result<Option<Stamp>> {
        let newest = self.table.newest.as_ref().map(|newest| newest.lock().clone());
        Ok(newest.filter(|newest| newest.number > 0))
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
