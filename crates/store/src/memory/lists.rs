//! Lists of conversations, in memory.

use super::log::MemoryLog;
use super::now_ms;
use crate::conversations::{Place, page};
use crate::{ConversationPage, Conversations, LIST_KEPT, Listed, MAX_CONVERSATIONS, Result};
use ahash::AHashMap;
use async_trait::async_trait;

/// User, scoped → conversation → when the user was last active in it, in ms since 1970.
#[derive(Default)]
pub(super) struct Lists(AHashMap<String, AHashMap<String, i64>>);

impl Lists {
    pub(super) fn note(&mut self, user: String, conversation: &str) {
        let list = self.0.entry(user).or_default();
        list.insert(conversation.to_owned(), now_ms());
        if list.len() > MAX_CONVERSATIONS {
            let oldest = list.iter().min_by_key(|(_, active)| **active).map(|(conversation, _)| conversation.clone());
            if let Some(oldest) = oldest {
                list.remove(&oldest);
            }
        }
    }

    pub(super) fn drop_abandoned(&mut self) {
        let kept_ms = i64::try_from(LIST_KEPT.as_millis()).unwrap_or(i64::MAX);
        let oldest = now_ms().saturating_sub(kept_ms);
        self.0.retain(|_, list| list.values().any(|active| *active > oldest));
    }

    fn of(&self, user: &str) -> Vec<String> {
        self.0.get(user).into_iter().flat_map(|list| list.keys()).cloned().collect()
    }
}

#[async_trait]
impl Conversations for MemoryLog {
    async fn take_part(&self, conversation: &str, user: &str) -> Result<()> {
        self.table.change(&self.realm.scoped(conversation), |log| log.takes_part(user));
        self.table.lists.lock().note(self.realm.scoped(user), conversation);
        Ok(())
    }

    async fn names(&self, user: &str) -> Result<Vec<String>> {
        Ok(self.table.lists.lock().of(&self.realm.scoped(user)))
    }

    async fn list(&self, user: &str, limit: usize, cursor: Option<&str>) -> Result<ConversationPage> {
        let names = self.names(user).await?;
        let active = |id: &String| self.table.look(&self.realm.scoped(id), |log| log.active_ms).unwrap_or_default();
        let mut places: Vec<Place> = names.into_iter().map(|id| (active(&id), id)).collect();
        places.sort_by(|a, b| b.cmp(a));
        let (range, cursor) = page(&places, limit, cursor)?;
        let listed = places.into_iter().skip(range.start).take(range.len()).map(|(active_ms, conversation)| {
            let known = self
                .table
                .look(&self.realm.scoped(&conversation), |log| (log.seq, log.unread(user), log.newest_message()));
            let (seq, unread, last_message) = known.unwrap_or_default();
            Listed { conversation, last_message, unread, seq, active_ms }
        });
        Ok(ConversationPage { conversations: listed.collect(), cursor })
    }
}
