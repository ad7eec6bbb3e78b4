//! Removing what dead nodes left behind in Redis.
//!
//! The election saves work, no more: each step is a script that takes an entry out before it looks at it, so that two
//! sweepers at once would still answer each user once.
//!
//! Everybody else waits while Redis works on a step, so steps are short, and there is never more than one under way.

use super::presence::{RedisPresence, last_seen_kept_ms};
use super::scripts::{ELECT, FORGET_NODES, SWEEP, SWEEP_ROOMS, SWEPT};
use crate::keys::{self, BUCKETS, Realm, Seat};
use crate::{GoneOffline, Result, StoreError};
use redis::{Cmd, Value};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// For how long a sweeper that asks no more stays elected: a few of its calls.
const ELECTED_FOR: Duration = Duration::from_secs(5);

/// Sockets taken, or seats freed, in one step: half a millisecond or so (`cargo bench -p trunkline-store` prints it), so
/// that a server several times slower still keeps nobody waiting for long.
const PER_STEP: usize = 48;

/// After so long a call does not go on: the next one does.
const LONGEST: Duration = Duration::from_secs(2);

/// Dead nodes that one call takes off the list.
const NODES_PER_CALL: usize = 16;

pub(super) async fn sweep(presence: &RedisPresence) -> Result<Vec<GoneOffline>> {
    if !elected(presence).await? {
        return Ok(Vec::new());
    }
    let mut gone = Vec::new();
    match sweep_all(presence, &mut gone).await {
        // They are offline in Redis already: not to answer them now would be never to announce them.
        Err(error) if !gone.is_empty() => tracing::warn!(%error, found = gone.len(), "sweep ended early"),
        outcome => outcome?,
    }
    Ok(gone)
}

async fn elected(presence: &RedisPresence) -> Result<bool> {
    let mut script = ELECT.key(keys::sweeper());
    script.arg(presence.nodes.instance()).arg(ELECTED_FOR.as_secs() * 1_000);
    presence.link.script(&script).await
}

async fn sweep_all(presence: &RedisPresence, gone: &mut Vec<GoneOffline>) -> Result<()> {
    let end = Instant::now() + LONGEST;
    // Another one first each time: what is never finished in one is no reason not to begin with the others.
    let first = rand::random_range(0..BUCKETS);
    for bucket in (first..BUCKETS).chain(0..first) {
        sweep_bucket(presence, bucket, end, gone).await?;
    }
    let mut script = FORGET_NODES.key(keys::leases());
    presence.link.script(script.key(keys::node_infos()).arg(NODES_PER_CALL)).await
}

async fn sweep_bucket(presence: &RedisPresence, bucket: u16, end: Instant, gone: &mut Vec<GoneOffline>) -> Result<()> {
    let mut script = SWEEP.key(keys::bucket_leases(bucket));
    script.key(keys::socket_names(bucket));
    script.arg(keys::node_sockets_prefix(bucket)).arg(keys::user_nodes_prefix(bucket));
    script.arg(keys::last_seen_prefix(bucket)).arg(keys::online_prefix(bucket));
    script.arg(PER_STEP).arg(last_seen_kept_ms());
    while Instant::now() < end {
        let mut answer = presence.link.script::<Vec<Value>>(&script).await?.into_iter();
        let (Some(instance), Some(left), Some(seen)) = (answer.next(), answer.next(), answer.next()) else {
            break;
        };
        let (instance, left): (String, u64) = (parse(instance)?, parse(left)?);
        let last_seen_ms = parse(seen)?;
        for scoped in answer {
            let scoped: String = parse(scoped)?;
            let (realm, user) = keys::split_pair(&scoped)
                .ok_or_else(|| StoreError::corrupt(format!("user {scoped:?} of a node that died")))?;
            gone.push(GoneOffline { realm: realm.to_owned(), user_id: user.to_owned(), last_seen_ms });
        }
        if left == 0 {
            sweep_rooms(presence, bucket, &instance, end).await?;
        }
    }
    Ok(())
}

/// A room is tidied before the entry that names it goes, so that a sweeper that dies in between loses nothing. Ends when the node
/// is back; what was taken from it by then it reports again.
async fn sweep_rooms(presence: &RedisPresence, bucket: u16, instance: &str, end: Instant) -> Result<()> {
    let (link, of_node) = (&presence.link, keys::node_rooms(bucket, instance));
    let mut tidied: Vec<String> = Vec::new();
    while Instant::now() < end {
        let mut script = SWEEP_ROOMS.key(keys::bucket_leases(bucket));
        script.key(&of_node).arg(instance).arg(PER_STEP).arg(&tidied);
        tidied = link.script(&script).await?;
        if tidied.is_empty() {
            break;
        }
        link.batch(&removals(&tidied, instance)).await?;
    }
    let mut script = SWEPT.key(keys::bucket_leases(bucket));
    script.key(keys::node_sockets(bucket, instance)).key(of_node);
    link.script(script.arg(instance)).await
}

/// Commands that free the seats of these [`node_rooms`](keys::node_rooms), one for each room.
fn removals(entries: &[String], instance: &str) -> Vec<Cmd> {
    let mut by_room: BTreeMap<(&str, &str), Cmd> = BTreeMap::new();
    for (socket, user, realm, room) in entries.iter().filter_map(|entry| keys::parse_node_room(entry)) {
        let seat = Seat { user: user.to_owned(), instance: instance.to_owned(), socket: socket.to_owned() };
        let removal = by_room.entry((realm, room)).or_insert_with(|| {
            let mut removal = redis::cmd("ZREM");
            removal.arg(Realm::named(realm).room(room));
            removal
        });
        removal.arg(seat.to_text());
    }
    by_room.into_values().collect()
}

fn parse<T: redis::FromRedisValue>(value: Value) -> Result<T> {
    redis::from_redis_value(value).map_err(|e| StoreError::corrupt(format!("answer of a sweep: {e}")))
}
