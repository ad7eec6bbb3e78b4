//! Inboxes, in Redis.

use super::Link;
use super::scripts::{ACKNOWLEDGE, PENDING, PUSH};
use crate::inbox::check;
use crate::keys::{self, Realm};
use crate::{INBOX_KEPT, Inbox, InboxItem, InboxPage, Keep, MAX_INBOX, Pushed, Result, StoreError};
use async_trait::async_trait;
use std::sync::Arc;

/// Bytes of bodies that one answer has, about.
const BYTES_PER_PAGE: usize = 1024 * 1024;

pub(crate) struct RedisInbox {
    link: Arc<Link>,
    realm: Realm,
}

impl RedisInbox {
    pub(crate) fn new(link: Arc<Link>, realm: Realm) -> Self {
        Self { link, realm }
    }
}

pub(super) async fn push(link: &Link, realm: &Realm, user: &str, item: &InboxItem, keep: Keep) -> Result<Pushed> {
    check(item)?;
    let mut script = PUSH.call();
    for key in keys_of(realm, user) {
        script.key(key);
    }
    script.arg(&item.id).arg(&item.body).arg(if keep == Keep::IfOffline { "offline" } else { "always" });
    script.arg(MAX_INBOX).arg(kept_ms());
    let (online, kept, dropped) = link.script(&script).await?;
    Ok(Pushed { online, kept, dropped })
}

/// What a script needs to put something in: leases, nodes of the user, order, bodies.
pub(super) fn keys_of(realm: &Realm, user: &str) -> [String; 4] {
    let leases = keys::bucket_leases(keys::bucket(user));
    [leases, realm.user_nodes(user), realm.inbox(user), realm.inbox_bodies(user)]
}

/// [`INBOX_KEPT`] as scripts take it.
pub(super) fn kept_ms() -> u64 {
    INBOX_KEPT.as_secs() * 1_000
}

#[async_trait]
impl Inbox for RedisInbox {
    async fn push(&self, user: &str, item: &InboxItem, keep: Keep) -> Result<Pushed> {
        push(&self.link, &self.realm, user, item, keep).await
    }

    async fn pending(&self, user: &str, limit: usize) -> Result<InboxPage> {
        let mut script = PENDING.key(self.realm.inbox(user));
        script.key(self.realm.inbox_bodies(user)).arg(limit.min(MAX_INBOX)).arg(BYTES_PER_PAGE);
        let mut answer = self.link.script::<Vec<String>>(&script).await?.into_iter();
        let complete = answer.next().ok_or_else(|| StoreError::corrupt("no answer about an inbox"))? == "1";
        let mut items = Vec::new();
        while let (Some(id), Some(body)) = (answer.next(), answer.next()) {
            items.push(InboxItem { id, body });
        }
        Ok(InboxPage { items, complete })
    }

    async fn acknowledge(&self, user: &str, ids: &[String]) -> Result<u64> {
        let mut removed = 0;
        for ids in ids.chunks(MAX_INBOX) {
            let mut script = ACKNOWLEDGE.key(self.realm.inbox(user));
            let script = script.key(self.realm.inbox_bodies(user)).arg(ids);
            removed += self.link.script::<u64>(script).await?;
        }
        Ok(removed)
    }
}
