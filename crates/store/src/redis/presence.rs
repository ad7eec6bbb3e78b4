//! Who is online, in Redis.

use super::nodes::{RedisNodes, lease_ms};
use super::scripts::{CONNECT, DISCONNECT, GET};
use super::{Link, rooms, sweep};
use crate::keys::{self, BUCKETS, Realm};
use crate::{
    Connected, Disconnected, GoneOffline, Joined, LAST_SEEN_KEPT, MAX_USERS, MembersPage, Presence, PresencePage,
    Result, StoreError, UserPresence,
};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Users asked for with one script, so that a long list does not hold Redis up.
const USERS_PER_SCRIPT: usize = 128;

pub(crate) struct RedisPresence {
    pub(super) link: Arc<Link>,
    pub(super) nodes: Arc<RedisNodes>,
    pub(super) realm: Realm,
    /// Users online in each bucket, as this node heard last; and since when all of it is known.
    counts: Mutex<(Option<Instant>, [u64; BUCKETS as usize])>,
}

/// For so long a connect believes what this node heard about the other buckets, so that thousands at once don't ask for
/// the same.
const COUNTS_BELIEVED: Duration = Duration::from_secs(1);

impl RedisPresence {
    pub(crate) fn new(link: Arc<Link>, nodes: Arc<RedisNodes>, realm: Realm) -> Self {
        Self { link, nodes, realm, counts: Mutex::default() }
    }

    /// Asks for the users online in each bucket.
    async fn refresh_counts(&self) -> Result<()> {
        let asked = Instant::now();
        let ask = |bucket| {
            let mut count = redis::cmd("ZCARD");
            count.arg(self.realm.online(bucket));
            count
        };
        let counts = self.link.batch(&(0..BUCKETS).map(ask).collect::<Vec<_>>()).await?;
        let corrupt = |error| StoreError::corrupt(format!("the count of users online: {error}"));
        let counts: Vec<u64> =
            counts.into_iter().map(|count| redis::from_redis_value(count).map_err(corrupt)).collect::<Result<_>>()?;
        let mut known = self.counts.lock();
        known.0 = Some(asked);
        known.1.iter_mut().zip(counts).for_each(|(known, count)| *known = count);
        Ok(())
    }

    /// Does so if this node did not of late. Of thousands who ask at once, one does; the others believe what is known.
    async fn refresh_old_counts(&self) -> Result<()> {
        let before = {
            let mut known = self.counts.lock();
            match known.0 {
                Some(asked) if asked.elapsed() < COUNTS_BELIEVED => return Ok(()),
                Some(_) => known.0.replace(Instant::now()),
                // Nothing is known that could be believed.
                None => None,
            }
        };
        let refreshed = self.refresh_counts().await;
        if refreshed.is_err() {
            self.counts.lock().0 = before;
        }
        refreshed
    }

    fn note_count(&self, bucket: u16, count: u64) {
        if let Some(known) = self.counts.lock().1.get_mut(usize::from(bucket)) {
            *known = count;
        }
    }

    fn known_count(&self) -> u64 {
        self.counts.lock().1.iter().sum()
    }

    /// Presence of `users`, all of one bucket, each with its position in the answer.
    async fn get_in_bucket(&self, bucket: u16, users: &[(usize, &String)]) -> Result<Vec<(usize, UserPresence)>> {
        let mut script = GET.key(keys::bucket_leases(bucket));
        for (_, user) in users {
            script.key(self.realm.user_nodes(user)).key(self.realm.last_seen(user));
        }
        let found: Vec<(u32, String)> = self.link.script(&script).await?;
        let presence = users.iter().zip(found).map(|((position, user), (sockets, last_seen))| {
            let (user_id, last_seen_ms) = ((*user).clone(), last_seen.parse().ok());
            (*position, UserPresence { user_id, online: sockets > 0, last_seen_ms, sockets })
        });
        Ok(presence.collect())
    }

    /// Up to `limit` users announced as online in `bucket`, by name, those behind `after`.
    async fn online_in_bucket(&self, bucket: u16, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        let start = after.map_or_else(|| "-".to_owned(), |user| format!("({user}"));
        let mut command = redis::cmd("ZRANGEBYLEX");
        command.arg(self.realm.online(bucket)).arg(start).arg("+").arg("LIMIT").arg(0).arg(limit);
        self.link.command(&command).await
    }
}

#[async_trait]
impl Presence for RedisPresence {
    async fn connect(&self, user: &str, socket: &str) -> Result<Connected> {
        let (bucket, instance) = (keys::bucket(user), self.nodes.instance());
        let mut script = CONNECT.key(keys::bucket_leases(bucket));
        script.key(self.realm.online(bucket)).key(keys::node_sockets(bucket, instance));
        script.key(self.realm.user_nodes(user)).key(keys::socket_names(bucket));
        script.arg(instance).arg(lease_ms()).arg(keys::pair(socket, &self.realm.scoped(user))).arg(user);
        script.arg(self.realm.scoped(socket));
        let connected = self.link.script::<(bool, bool, u64)>(&script);
        let ((first, held, here), ()) = tokio::try_join!(connected, self.refresh_old_counts())?;
        self.nodes.note_lease(held);
        self.note_count(bucket, here);
        Ok(Connected { first, online_users: self.known_count() })
    }

    async fn disconnect(&self, user: &str, socket: &str) -> Result<Disconnected> {
        let (bucket, instance) = (keys::bucket(user), self.nodes.instance());
        let mut script = DISCONNECT.key(keys::bucket_leases(bucket));
        script.key(self.realm.online(bucket)).key(keys::node_sockets(bucket, instance));
        script.key(self.realm.user_nodes(user)).key(self.realm.last_seen(user)).key(keys::socket_names(bucket));
        script.arg(instance).arg(keys::pair(socket, &self.realm.scoped(user))).arg(user).arg(last_seen_kept_ms());
        script.arg(self.realm.scoped(socket));
        let (last, last_seen_ms, here) = self.link.script(&script).await?;
        self.note_count(bucket, here);
        Ok(Disconnected { last, last_seen_ms })
    }

    async fn count(&self) -> Result<u64> {
        self.refresh_counts().await?;
        Ok(self.known_count())
    }

    async fn recent_count(&self) -> Result<u64> {
        self.refresh_old_counts().await?;
        Ok(self.known_count())
    }

    async fn get(&self, users: &[String]) -> Result<Vec<UserPresence>> {
        let mut by_bucket: BTreeMap<u16, Vec<(usize, &String)>> = BTreeMap::new();
        for (position, user) in users.iter().enumerate() {
            by_bucket.entry(keys::bucket(user)).or_default().push((position, user));
        }
        let mut asked = Vec::new();
        for (bucket, users) in &by_bucket {
            asked.extend(users.chunks(USERS_PER_SCRIPT).map(|chunk| self.get_in_bucket(*bucket, chunk)));
        }
        let mut found: Vec<_> = try_join_all(asked).await?.into_iter().flatten().collect();
        found.sort_by_key(|(position, _)| *position);
        Ok(found.into_iter().map(|(_, presence)| presence).collect())
    }

    async fn list(&self, limit: usize, cursor: Option<&str>) -> Result<PresencePage> {
        let limit = limit.clamp(1, MAX_USERS);
        let (mut bucket, mut after) = parse_cursor(cursor)?;
        let mut names: Vec<String> = Vec::new();
        let mut next = None;
        while bucket < BUCKETS {
            let wanted = limit - names.len();
            let found = self.online_in_bucket(bucket, after.as_deref(), wanted).await?;
            let is_full = found.len() == wanted;
            names.extend(found);
            if is_full {
                next = names.last().map(|user| format!("{bucket}:{user}"));
                break;
            }
            (bucket, after) = (bucket + 1, None);
        }
        // Users of a node that died are listed until the sweep; they are not online.
        let (presence, count) = tokio::try_join!(self.get(&names), self.count())?;
        let users = presence.into_iter().filter(|user| user.online).collect();
        Ok(PresencePage { users, count, cursor: next })
    }

    async fn enter(&self, room: &str, user: &str, socket: &str) -> Result<bool> {
        rooms::enter(self, room, user, socket, 0).await.map(|(first, _)| first)
    }

    async fn join(&self, room: &str, user: &str, socket: &str, guard: &[String]) -> Result<Joined> {
        rooms::join(self, room, user, socket, guard).await
    }

    async fn any_socket(&self, names: &[String]) -> Result<bool> {
        rooms::any_socket(self, &names.iter().collect::<Vec<_>>()).await
    }

    async fn leave(&self, room: &str, user: &str, socket: &str) -> Result<()> {
        rooms::leave(self, room, user, socket).await
    }

    async fn members(&self, room: &str, limit: usize, cursor: Option<&str>) -> Result<MembersPage> {
        rooms::members(self, room, limit, cursor).await
    }

    async fn sweep(&self) -> Result<Vec<GoneOffline>> {
        sweep::sweep(self).await
    }
}

/// Where a page starts: bucket, and the user that the page before ended with.
fn parse_cursor(cursor: Option<&str>) -> Result<(u16, Option<String>)> {
    let Some(cursor) = cursor else { return Ok((0, None)) };
    let (bucket, user) = cursor.split_once(':').ok_or(StoreError::InvalidCursor)?;
    let bucket = bucket.parse().ok().filter(|bucket| *bucket < BUCKETS).ok_or(StoreError::InvalidCursor)?;
    Ok((bucket, Some(user.to_owned())))
}

/// [`LAST_SEEN_KEPT`] as scripts take it.
pub(super) fn last_seen_kept_ms() -> u64 {
    LAST_SEEN_KEPT.as_secs() * 1_000
}
