//! The log of each conversation, in a Redis stream.

use super::conversations::Noted;
use super::scripts::{Append, READ};
use super::{Link, inbox};
use crate::keys::{self, Realm};
use crate::log::new_epoch;
use crate::{
    Appended, AppendedFor, DUPLICATE_WINDOW, Entry, Fill, InboxItem, Keep, Kind, Limits, LogLimits, LogPage, MAX_INBOX,
    MAX_RECEIPTS, MessageLog, NewEntry, Part, Position, Publication, ReadRange, Result, Stamp, Stamped, Standing,
    StoreError, Waiting, message_id,
};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use std::collections::HashMap;
use std::sync::Arc;
use trunkline_redis::Call;

/// The conversations of one realm, with receipts and lists.
pub(crate) struct RedisLog {
    pub(super) link: Arc<Link>,
    pub(super) realm: Realm,
    pub(super) limits: LogLimits,
    pub(super) noted: Arc<Noted>,
    stamps: bool,
    append: Append,
}

/// An entry of the stream, as Redis gives it: id, then fields.
type StreamEntry = (String, HashMap<String, String>);

/// Entries, and what became of some: place in the list (from 1), standing, body. See `standing.lua`.
#[derive(Default)]
pub(super) struct Found(pub(super) Vec<StreamEntry>, pub(super) Vec<(usize, String, String)>);

impl RedisLog {
    pub(crate) fn new(link: Arc<Link>, realm: Realm, limits: &Limits, noted: Arc<Noted>) -> Self {
        let (log, stamps) = (limits.log, limits.stamps);
        let append = Append::new(&[
            ("MAX_ENTRIES", log.max_entries().to_string()),
            ("MAX_AGE", log.max_age_ms().to_string()),
            ("REMEMBERED", DUPLICATE_WINDOW.as_millis().to_string()),
            ("MAX_RECEIPTS", MAX_RECEIPTS.to_string()),
            ("MAX_ITEMS", MAX_INBOX.to_string()),
            ("ITEMS_KEPT", inbox::kept_ms().to_string()),
            ("STAMPS", if stamps { keys::stamps() } else { String::new() }),
        ]);
        Self { link, realm, limits: log, noted, stamps, append }
    }

    /// How long numbering, and what refers to it, is kept.
    pub(super) fn numbering_kept_ms(&self) -> i64 {
        2 * self.limits.max_age_ms()
    }

    fn append_script(&self, entry: &NewEntry, publications: &[Publication], waiting: Option<&Waiting<'_>>) -> Call<'_> {
        let (conversation, realm) = (entry.conversation.as_str(), &self.realm);
        let script = if waiting.is_some() { &self.append.waiting } else { &self.append.plain };
        let mut script = script.key(realm.log(conversation));
        script.key(realm.log_head(conversation)).key(realm.standings(conversation)).key(realm.changes(conversation));
        script.key(realm.delivered(conversation)).key(realm.read(conversation));
        if let Some(id) = &entry.client_message_id {
            script.key(realm.duplicate(conversation, &entry.sender, id));
        }
        if let Some(waiting) = waiting {
            for key in inbox::keys_of(realm, waiting.user) {
                script.key(key);
            }
        }
        script.arg(new_epoch()).arg(conversation).arg(&entry.sender);
        script.arg(entry.client_message_id.as_deref().unwrap_or_default());
        script.arg(entry.timestamp_ms).arg(&entry.body);
        match &entry.kind {
            Kind::Message => script.arg("m").arg("").arg(0),
            Kind::Edit(target) => script.arg("e").arg(&target.epoch).arg(target.seq),
            Kind::Deletion(target) => script.arg("d").arg(&target.epoch).arg(target.seq),
        };
        script.arg(waiting.map_or("", |waiting| waiting.body));
        add_publications(&mut script, publications);
        script
    }

    async fn stamped_end(&self, conversation: &str) -> Result<Stamped> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.realm.log_head(conversation)).arg("epoch").arg("seq").arg("stamp");
        let (epoch, seq, stamp): (Option<String>, Option<u64>, Option<String>) = self.link.command(&command).await?;
        let end = Position { epoch: epoch.unwrap_or_default(), seq: seq.unwrap_or(0) };
        Ok(Stamped { end, stamp: stamp.as_deref().and_then(Stamp::parse) })
    }

    async fn append_with(
        &self,
        entry: &NewEntry,
        publications: &[Publication],
        waiting: Option<&Waiting<'_>>,
    ) -> Result<Appended> {
        let script = self.append_script(entry, publications, waiting);
        // A change may be refused, and whoever changes a message has written it.
        let participants = if entry.kind == Kind::Message { &*entry.participants } else { &[] };
        let noted = self.note_participants(participants, &entry.conversation);
        // What is appended stays so whatever becomes of the lists: the next entry notes again. On their way before it: whoever
        // finds the entry finds its conversation in the lists.
        let ((), answer) = tokio::join!(noted, self.link.script::<String>(&script));
        match &*answer? {
            "missing" => Err(StoreError::NotFound),
            "foreign" => Err(StoreError::NotTheSender),
            answer => parse_appended(&entry.conversation, answer)
                .ok_or_else(|| StoreError::corrupt(format!("answer {answer:?} to an append"))),
        }
    }
}

#[async_trait]
impl MessageLog for RedisLog {
    async fn append(&self, entry: NewEntry, publications: &[Publication]) -> Result<Appended> {
        self.append_with(&entry, publications, None).await
    }

    async fn append_for(
        &self,
        entry: NewEntry,
        publications: &[Publication],
        waiting: &Waiting<'_>,
    ) -> Result<AppendedFor> {
        let fits = waiting.fits(&entry);
        // In a Cluster a script can't reach both, and an item is named after what the first decides.
        if fits && !self.link.is_cluster() {
            let appended = self.append_with(&entry, publications, Some(waiting)).await?;
            return Ok(AppendedFor { appended, owed: false });
        }
        let appended = self.append_with(&entry, publications, None).await?;
        if !fits {
            return Ok(AppendedFor { appended, owed: false });
        }
        let item = InboxItem { id: appended.message_id.clone(), body: waiting.body.to_owned() };
        // Of a duplicate too: the first may have come so far and no further.
        let pushed = inbox::push(&self.link, &self.realm, waiting.user, &item, Keep::IfOffline).await;
        Ok(AppendedFor { appended, owed: pushed.is_err() })
    }

    async fn read(&self, conversation: &str, range: ReadRange) -> Result<LogPage> {
        let mut script = READ.key(self.realm.log(conversation));
        script.key(self.realm.log_head(conversation)).key(self.realm.standings(conversation));
        add_range(&mut script, range);
        type Answer = (String, u64, String, Vec<StreamEntry>, Vec<(usize, String, String)>);
        let found: Option<Answer> = self.link.script(&script).await?;
        let Some((epoch, seq, past, entries, standings)) = found else {
            let complete = range.is_complete(0, None);
            let ancestors = Vec::new();
            return Ok(LogPage { entries: Vec::new(), epoch: String::new(), seq: 0, complete, ancestors });
        };

        let mut entries = parse_entries(conversation, Found(entries, standings))?;
        entries.sort_by_key(|entry| entry.seq);
        entries.truncate(range.limit());
        let ends = entries.first().zip(entries.last()).map(|(first, last)| (first.seq, last.seq));
        let ancestors = parse_ancestors(&past)
            .ok_or_else(|| StoreError::corrupt(format!("ancestors {past:?} of the log of {conversation:?}")))?;
        Ok(LogPage { complete: range.is_complete(seq, ends), entries, epoch, seq, ancestors })
    }

    async fn ends(&self, conversations: &[String]) -> Result<Vec<Position>> {
        let ends = self.stamped_ends(conversations).await?;
        Ok(ends.into_iter().map(|stamped| stamped.end).collect())
    }

    async fn stamped_ends(&self, conversations: &[String]) -> Result<Vec<Stamped>> {
        try_join_all(conversations.iter().map(|conversation| self.stamped_end(conversation))).await
    }

    async fn newest_stamp(&self) -> Result<Option<Stamp>> {
        if !self.stamps {
            return Ok(None);
        }
        let mut command = redis::cmd("HMGET");
        command.arg(keys::stamps()).arg("generation").arg("number");
        let (generation, number): (Option<String>, Option<u64>) = self.link.command(&command).await?;
        Ok(generation.zip(number).map(|(generation, number)| Stamp { generation, number }))
    }
}

/// `<seq> <epoch> <timestamp> <duplicate>`.
fn parse_appended(conversation: &str, text: &str) -> Option<Appended> {
    let mut words = text.split(' ');
    let (seq, epoch, timestamp_ms, duplicate) =
        (words.next()?.parse().ok()?, words.next()?, words.next()?, words.next()?);
    Some(Appended {
        seq,
        epoch: epoch.to_owned(),
        message_id: message_id(conversation, epoch, seq),
        timestamp_ms: timestamp_ms.parse().ok()?,
        duplicate: duplicate == "1",
    })
}

/// The arguments that `publish.lua` reads. Parts that the publication before has in the same place are sent once: the same event
/// for other hearers differs only behind its payload.
pub(super) fn add_publications(call: &mut Call<'_>, publications: &[Publication]) {
    let mut before: &[Part] = &[];
    for Publication { channel, parts } in publications {
        let kind = |(place, part): (usize, &Part)| match part {
            part if before.get(place) == Some(part) => 'P',
            Part::Literal(_) => 'L',
            Part::Fill(Fill::Seq) => 'S',
            Part::Fill(Fill::Epoch) => 'E',
            Part::Fill(Fill::MessageId) => 'M',
            Part::Fill(Fill::Stamp) => 'T',
        };
        let layout: String = parts.iter().enumerate().map(kind).collect();
        call.arg(channel).arg(&layout);
        for (part, kind) in parts.iter().zip(layout.chars()) {
            if let (Part::Literal(bytes), 'L') = (part, kind) {
                call.arg(&bytes[..]);
            }
        }
        before = parts;
    }
}

/// The arguments of `read.lua`: with `after`, from there upwards; else from the end downwards.
fn add_range(script: &mut Call<'_>, range: ReadRange) {
    // 0 names no entry, so `before: 0` or 1 finds nothing, as it should. COUNT 0 would mean everything.
    let end = range.before.map_or_else(|| "+".to_owned(), |before| before.saturating_sub(1).to_string());
    let count = range.limit().max(1);
    match range.after {
        Some(after) => script.arg("XRANGE").arg(after.saturating_add(1)).arg(end),
        None => script.arg("XREVRANGE").arg(end).arg("-"),
    };
    script.arg(count);
}

/// Entries as they stand.
pub(super) fn parse_entries(conversation: &str, Found(entries, standings): Found) -> Result<Vec<Entry>> {
    let entries = entries.into_iter().map(|entry| parse_entry(conversation, entry));
    let mut entries: Vec<Entry> = entries.collect::<Result<_>>()?;
    for (place, standing, body) in standings {
        let corrupt = || StoreError::corrupt(format!("standing {standing:?} in the log of {conversation:?}"));
        let entry = place.checked_sub(1).and_then(|place| entries.get_mut(place)).ok_or_else(corrupt)?;
        entry.standing = parse_standing(&standing).ok_or_else(corrupt)?;
        entry.body = body;
    }
    Ok(entries)
}

fn parse_entry(conversation: &str, (id, mut fields): StreamEntry) -> Result<Entry> {
    let corrupt = || StoreError::corrupt(format!("entry {id} of the log of {conversation:?}"));
    let seq = id.strip_suffix("-0").and_then(|seq| seq.parse().ok()).ok_or_else(corrupt)?;
    let timestamp_ms = fields.remove("t").and_then(|t| t.parse().ok()).ok_or_else(corrupt)?;
    let epoch = fields.remove("e").ok_or_else(corrupt)?;
    let target = fields.remove("o").map(|target| parse_target(&target).ok_or_else(corrupt)).transpose()?;
    Ok(Entry {
        seq,
        message_id: message_id(conversation, &epoch, seq),
        epoch,
        kind: match (fields.remove("k").as_deref(), target) {
            (None, None) => Kind::Message,
            (Some("e"), Some(target)) => Kind::Edit(target),
            (Some("d"), Some(target)) => Kind::Deletion(target),
            _ => return Err(corrupt()),
        },
        standing: Standing::AsWritten,
        sender: fields.remove("s").ok_or_else(corrupt)?,
        timestamp_ms,
        client_message_id: fields.remove("c"),
        body: fields.remove("b").ok_or_else(corrupt)?,
        stamp: fields.remove("n").as_deref().and_then(Stamp::parse),
    })
}

/// `<seq> <epoch>`.
fn parse_target(text: &str) -> Option<Position> {
    let (seq, epoch) = text.split_once(' ')?;
    Some(Position { epoch: epoch.to_owned(), seq: seq.parse().ok()? })
}

/// `e<seq>` or `d<seq>`.
fn parse_standing(text: &str) -> Option<Standing> {
    match text.split_at_checked(1)? {
        ("e", seq) => Some(Standing::Edited { seq: seq.parse().ok()? }),
        ("d", seq) => Some(Standing::Deleted { seq: seq.parse().ok()? }),
        _ => None,
    }
}

/// `<epoch> <seq>,<epoch> <seq>…`, the newest first.
fn parse_ancestors(text: &str) -> Option<Vec<Position>> {
    let ancestor = |text: &str| {
        let (epoch, seq) = text.split_once(' ')?;
        Some(Position { epoch: epoch.to_owned(), seq: seq.parse().ok()? })
    };
    text.split(',').filter(|text| !text.is_empty()).map(ancestor).collect()
}
