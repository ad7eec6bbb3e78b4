//! The log of each conversation, in a Redis stream.

use super::Link;
use super::scripts::{APPEND, READ};
use crate::log::new_epoch;
use crate::{
    Appended, DUPLICATE_WINDOW, Entry, Fill, Kind, LogLimits, LogPage, MessageLog, NewEntry, Part, Position,
    Publication, ReadRange, Result, Standing, StoreError, keys, message_id,
};
use async_trait::async_trait;
use redis::ScriptInvocation;
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) struct RedisLog {
    link: Arc<Link>,
    limits: LogLimits,
}

/// An entry of the stream, as Redis gives it: id, then fields.
type StreamEntry = (String, HashMap<String, String>);

impl RedisLog {
    pub(crate) fn new(link: Arc<Link>, limits: LogLimits) -> Self {
        Self { link, limits }
    }
}

#[async_trait]
impl MessageLog for RedisLog {
    async fn append(&self, entry: NewEntry, publications: &[Publication]) -> Result<Appended> {
        if entry.kind != Kind::Message {
            return Err(StoreError::unavailable("not in Redis yet"));
        }
        let conversation = entry.conversation.as_str();
        let mut script = APPEND.key(keys::log(conversation));
        script.key(keys::log_head(conversation));
        if let Some(id) = &entry.client_message_id {
            script.key(keys::duplicate(conversation, &entry.sender, id));
        }
        script.arg(new_epoch()).arg(conversation).arg(&entry.sender);
        script.arg(entry.client_message_id.as_deref().unwrap_or_default());
        script.arg(entry.timestamp_ms).arg(&entry.body);
        script.arg(self.limits.max_entries()).arg(self.limits.max_age_ms()).arg(DUPLICATE_WINDOW.as_secs() * 1_000);
        add_publications(&mut script, publications);

        let (seq, epoch, timestamp_ms, duplicate): (u64, String, i64, bool) = self.link.script(&script).await?;
        let message_id = message_id(conversation, &epoch, seq);
        Ok(Appended { seq, epoch, message_id, timestamp_ms, duplicate })
    }

    async fn read(&self, conversation: &str, range: ReadRange) -> Result<LogPage> {
        let mut script = READ.key(keys::log(conversation));
        script.key(keys::log_head(conversation));
        add_range(&mut script, range);
        let found: Option<(String, u64, Vec<StreamEntry>)> = self.link.script(&script).await?;
        let Some((epoch, seq, found)) = found else {
            let complete = range.is_complete(0, None);
            let ancestors = Vec::new();
            return Ok(LogPage { entries: Vec::new(), epoch: String::new(), seq: 0, complete, ancestors });
        };

        let entries = found.into_iter().map(|entry| parse_entry(conversation, &epoch, entry));
        let mut entries: Vec<Entry> = entries.collect::<Result<_>>()?;
        entries.sort_by_key(|entry| entry.seq);
        entries.truncate(range.limit());
        let ends = entries.first().zip(entries.last()).map(|(first, last)| (first.seq, last.seq));
        Ok(LogPage { complete: range.is_complete(seq, ends), entries, epoch, seq, ancestors: Vec::new() })
    }

    async fn ends(&self, conversations: &[String]) -> Result<Vec<Position>> {
        let end = async |id: &String| {
            let mut command = redis::cmd("HMGET");
            let found: (Option<String>, Option<u64>) =
                self.link.command(command.arg(keys::log_head(id)).arg("epoch").arg("seq")).await?;
            Ok(Position { epoch: found.0.unwrap_or_default(), seq: found.1.unwrap_or(0) })
        };
        futures_util::future::try_join_all(conversations.iter().map(end)).await
    }
}

/// The arguments that `append.lua` reads at its end.
fn add_publications(script: &mut ScriptInvocation<'_>, publications: &[Publication]) {
    for publication in publications {
        script.arg(&publication.channel).arg(publication.parts.len());
        for part in &publication.parts {
            match part {
                Part::Literal(bytes) => script.arg("L").arg(&bytes[..]),
                Part::Fill(Fill::Seq) => script.arg("S"),
                Part::Fill(Fill::Epoch) => script.arg("E"),
                Part::Fill(Fill::MessageId) => script.arg("M"),
            };
        }
    }
}

/// The arguments of `read.lua`: with `after`, from there upwards; else from the end downwards.
fn add_range(script: &mut ScriptInvocation<'_>, range: ReadRange) {
    // 0 names no entry, so `before: 0` or 1 finds nothing, as it should. COUNT 0 would mean everything.
    let end = range.before.map_or_else(|| "+".to_owned(), |before| before.saturating_sub(1).to_string());
    let count = range.limit().max(1);
    match range.after {
        Some(after) => script.arg("XRANGE").arg(after.saturating_add(1)).arg(end),
        None => script.arg("XREVRANGE").arg(end).arg("-"),
    };
    script.arg(count);
}

fn parse_entry(conversation: &str, epoch: &str, (id, mut fields): StreamEntry) -> Result<Entry> {
    let corrupt = || StoreError::corrupt(format!("entry {id} of the log of {conversation:?}"));
    let seq = id.strip_suffix("-0").and_then(|seq| seq.parse().ok()).ok_or_else(corrupt)?;
    let timestamp_ms = fields.remove("t").and_then(|t| t.parse().ok()).ok_or_else(corrupt)?;
    Ok(Entry {
        seq,
        epoch: epoch.to_owned(),
        message_id: message_id(conversation, epoch, seq),
        kind: Kind::Message,
        standing: Standing::AsWritten,
        sender: fields.remove("s").ok_or_else(corrupt)?,
        timestamp_ms,
        client_message_id: fields.remove("c"),
        body: fields.remove("b").ok_or_else(corrupt)?,
    })
}
