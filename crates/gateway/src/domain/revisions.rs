//! Edits and deletions: entries of the log like messages, by whoever sent the message.

use trunkline_hub::Targets;
use trunkline_protocol::{
    Code, Failure,
    native::{Changed, Deleted, Edited},
};
use trunkline_store::{Appended, Entry, Kind, NewEntry, Position, ReadRange, Standing, parse_message_id};

use super::{
    Caller, Domain, internal,
    messages::{self, Body, Broadcasts, Deletion},
    others_of_direct, store_failure, user_room,
};
use crate::{
    dialects::{Dialect, MessageWords},
    time::{iso, now_ms},
};

/// The places that a message id names.
pub(super) struct Named<'a> {
    pub(super) conversation: &'a str,
    pub(super) position: Position,
}

/// # Errors
/// `not_found` for what is no message id: there is no such message.
pub(super) fn named(message_id: &str) -> Result<Named<'_>, Failure> {
    let (conversation, epoch, seq) = parse_message_id(message_id).ok_or_else(no_message)?;
    Ok(Named { conversation, position: Position { epoch: epoch.to_owned(), seq } })
}

pub(super) fn no_message() -> Failure {
    Failure::new(Code::NotFound, "there is no such message")
}

impl Domain {
    /// Gives a message of the caller's another text.
    ///
    /// # Errors
    /// `forbidden` for somebody else's message, `not_found` when it is gone, and as [`Domain::send`].
    pub async fn edit(
        &self,
        caller: Caller<'_>,
        conversation: &str,
        message_id: &str,
        content: &str,
    ) -> Result<Changed, Failure> {
        let (target, original) = self.own_message(caller, conversation, message_id).await?;
        let mut body = Body::of(&original).ok_or_else(internal)?;
        body.content.content = content.to_owned();
        body.changed_by = caller.socket().map(|socket| socket.id().to_string());
        messages::check(&body.content, None)?;
        let timestamp_ms = now_ms();
        let edited = Edited {
            position: None,
            conversation_id: conversation.to_owned(),
            message_id: message_id.to_owned(),
            sender_id: caller.id().to_owned(),
            content: content.to_owned(),
            timestamp: iso(timestamp_ms),
        };
        let broadcasts = self.revision(caller, conversation, |dialect| dialect.edited(&edited))?;
        self.change(caller, conversation, Kind::Edit(target), body.json()?, timestamp_ms, &broadcasts).await
    }

    /// Takes a message of the caller's back.
    ///
    /// # Errors
    /// As [`Domain::edit`].
    pub async fn delete(&self, caller: Caller<'_>, conversation: &str, message_id: &str) -> Result<Changed, Failure> {
        caller.may_enter(conversation)?;
        let target = target(conversation, message_id)?;
        let timestamp_ms = now_ms();
        let deleted = Deleted {
            position: None,
            conversation_id: conversation.to_owned(),
            message_id: message_id.to_owned(),
            sender_id: caller.id().to_owned(),
            timestamp: iso(timestamp_ms),
        };
        let broadcasts = self.revision(caller, conversation, |dialect| dialect.deleted(&deleted))?;
        let body = Deletion { changed_by: caller.socket().map(|socket| socket.id().to_string()) };
        let body = serde_json::to_string(&body).map_err(|_| internal())?;
        self.change(caller, conversation, Kind::Deletion(target), body, timestamp_ms, &broadcasts).await
    }

    async fn own_message(
        &self,
        caller: Caller<'_>,
        conversation: &str,
        message_id: &str,
    ) -> Result<(Position, Entry), Failure> {
        caller.may_enter(conversation)?;
        let target = target(conversation, message_id)?;
        let original = self.entry(conversation, target.seq).await?;
        match original {
            Some(entry) if entry.message_id != message_id || entry.kind != Kind::Message => Err(no_message()),
            Some(entry) if matches!(entry.standing, Standing::Deleted { .. }) => Err(no_message()),
            Some(entry) if entry.sender != caller.id() => Err(not_yours()),
            Some(entry) => Ok((target, entry)),
            None => Err(no_message()),
        }
    }

    /// One entry of a log, if it is still there.
    pub(super) async fn entry(&self, conversation: &str, seq: u64) -> Result<Option<Entry>, Failure> {
        let range = ReadRange { after: Some(seq.saturating_sub(1)), before: None, limit: 1 };
        let page = self.store.log.read(conversation, range).await.map_err(|error| store_failure(&error))?;
        Ok(page.entries.into_iter().find(|entry| entry.seq == seq))
    }

    async fn change(
        &self,
        caller: Caller<'_>,
        conversation: &str,
        kind: Kind,
        body: String,
        timestamp_ms: i64,
        broadcasts: &Broadcasts,
    ) -> Result<Changed, Failure> {
        let entry = NewEntry {
            conversation: conversation.to_owned(),
            kind,
            sender: caller.id().to_owned(),
            participants: Vec::new(),
            client_message_id: None,
            timestamp_ms,
            body,
        };
        let appended = self.store.log.append(entry, &broadcasts.publications).await;
        let Appended { seq, epoch, message_id, .. } = appended.map_err(|error| store_failure(&error))?;
        self.relay_stored(&broadcasts.relays, &message_id, &epoch, seq);
        Ok(Changed { seq, epoch })
    }

    fn revision(
        &self,
        caller: Caller<'_>,
        conversation: &str,
        words: impl Fn(&dyn Dialect) -> Option<MessageWords>,
    ) -> Result<Broadcasts, Failure> {
        let audiences = match others_of_direct(caller.id(), conversation) {
            Some(other) if other == caller.id() => vec![caller.others(Targets::room(user_room(&other)))],
            Some(other) => vec![
                Targets::room(user_room(&other)),
                caller.others(Targets::room(user_room(caller.id()))).except(user_room(&other)),
            ],
            None => vec![caller.others(Targets::room(conversation))],
        };
        self.broadcasts(words, |_| audiences.clone())
    }
}

fn target(conversation: &str, message_id: &str) -> Result<Position, Failure> {
    let Named { conversation: named, position } = named(message_id)?;
    if named == conversation { Ok(position) } else { Err(no_message()) }
}

pub(super) fn not_yours() -> Failure {
    Failure::forbidden("this message is somebody else's")
}
