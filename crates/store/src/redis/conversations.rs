//! Lists of conversations, in Redis.

use super::log::{Found, RedisLog, parse_entries};
use super::scripts::{LISTED, NOTE_CONVERSATION, TAKE_PART};
use crate::conversations::{Place, page};
use crate::keys::Realm;
use crate::{ConversationPage, Conversations, LIST_KEPT, Listed, MAX_CONVERSATIONS, MAX_RECEIPTS, Result};
use ahash::{AHashMap, RandomState};
use async_trait::async_trait;
use futures_util::future::{join_all, try_join_all};
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// For so long this node does not tell Redis again that a user takes part in a conversation.
const NOTED_FOR: Duration = Duration::from_secs(60);

/// What is remembered as noted at most; then all of it is forgotten, and noted again.
const MAX_NOTED: usize = 50_000;

/// Who takes part where, as far as this node told Redis of late: so that not every message writes lists again. By a hash of
/// realm, user and conversation, which is asked for twice a message and need not be put together as text for that; of two that are
/// alike by chance, one is noted when the other's time is over.
#[derive(Default)]
pub(crate) struct Noted {
    hasher: RandomState,
    until: Mutex<AHashMap<u64, Instant>>,
}

impl Noted {
    fn key(&self, realm: &Realm, user: &str, conversation: &str) -> u64 {
        self.hasher.hash_one((realm, user, conversation))
    }

    fn is_fresh(&self, key: u64) -> bool {
        self.until.lock().get(&key).is_some_and(|until| *until > Instant::now())
    }

    fn remember(&self, key: u64) {
        let mut until = self.until.lock();
        if until.len() >= MAX_NOTED {
            until.clear();
        }
        until.insert(key, Instant::now() + NOTED_FOR);
    }
}

impl RedisLog {
    /// Puts `conversation` into the lists of `users`, if that was not done of late. A failure is logged and made up for by
    /// the next entry.
    pub(super) async fn note_participants(&self, users: &[String], conversation: &str) {
        // Most of the time, and then it takes no futures to find out.
        if users.iter().all(|user| self.noted.is_fresh(self.noted.key(&self.realm, user, conversation))) {
            return;
        }
        let notes = users.iter().map(async |user| {
            if let Err(error) = self.note(user, conversation).await {
                tracing::warn!(%error, "could not put a conversation into a user's list");
            }
        });
        join_all(notes).await;
    }

    async fn note(&self, user: &str, conversation: &str) -> Result<()> {
        let key = self.noted.key(&self.realm, user, conversation);
        if self.noted.is_fresh(key) {
            return Ok(());
        }
        let mut script = NOTE_CONVERSATION.key(self.realm.conversations(user));
        script.arg(conversation).arg(MAX_CONVERSATIONS).arg(LIST_KEPT.as_secs() * 1_000);
        self.link.script::<()>(&script).await?;
        self.noted.remember(key);
        Ok(())
    }

    /// The time of the newest message.
    async fn active_ms(&self, conversation: &str) -> Result<i64> {
        let mut command = redis::cmd("HGET");
        let at: Option<i64> = self.link.command(command.arg(self.realm.log_head(conversation)).arg("at")).await?;
        Ok(at.unwrap_or(0))
    }

    async fn listed(&self, user: &str, (active_ms, conversation): Place) -> Result<Listed> {
        let (id, realm) = (conversation.as_str(), &self.realm);
        let mut script = LISTED.key(realm.log(id));
        script.key(realm.log_head(id)).key(realm.standings(id)).key(realm.changes(id));
        script.key(realm.read(id)).key(realm.since(id)).arg(user);
        let (_, seq, unread, entries, standings): (String, u64, u64, _, _) = self.link.script(&script).await?;
        let last_message = parse_entries(id, Found(entries, standings))?.pop();
        Ok(Listed { conversation, last_message, unread, seq, active_ms })
    }
}

#[async_trait]
impl Conversations for RedisLog {
    async fn take_part(&self, conversation: &str, user: &str) -> Result<()> {
        let mut script = TAKE_PART.key(self.realm.log_head(conversation));
        script.key(self.realm.since(conversation)).arg(user).arg(MAX_RECEIPTS).arg(self.numbering_kept_ms());
        tokio::try_join!(self.link.script::<()>(&script), self.note(user, conversation))?;
        Ok(())
    }

    async fn names(&self, user: &str) -> Result<Vec<String>> {
        let mut command = redis::cmd("ZRANGE");
        self.link.command(command.arg(self.realm.conversations(user)).arg(0).arg(-1)).await
    }

    async fn list(&self, user: &str, limit: usize, cursor: Option<&str>) -> Result<ConversationPage> {
        let places = self.names(user).await?;
        let places = places.into_iter().map(async |name| Result::Ok((self.active_ms(&name).await?, name)));
        let mut places: Vec<Place> = try_join_all(places).await?;
        places.sort_by(|a, b| b.cmp(a));
        let (range, cursor) = page(&places, limit, cursor)?;
        let listed = places.into_iter().skip(range.start).take(range.len()).map(|place| self.listed(user, place));
        Ok(ConversationPage { conversations: try_join_all(listed).await?, cursor })
    }
}
