//! Removing what dead nodes left behind in Redis.
//!
//! The election saves work, no more: each step is a script that takes an entry out before it looks at it, so that two
//! sweepers at once would still answer each user once.

use super::presence::{RedisPresence, last_seen_kept_ms};
use super::scripts::{ELECT, FORGET_NODE, LAPSED, SWEEP};
use crate::keys::{self, BUCKETS};
use crate::{GoneOffline, Result, StoreError};
use redis::Value;
use std::time::Duration;

/// For how long a sweeper that asks no more stays elected: a few of its calls.
const ELECTED_FOR: Duration = Duration::from_secs(5);

/// Entries taken by one script.
const ENTRIES_PER_STEP: usize = 200;

/// Steps of one call in a bucket, and in rooms.
const STEPS: usize = 100;

/// Dead nodes whose rooms are tidied in one call.
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
    for bucket in 0..BUCKETS {
        sweep_bucket(presence, bucket, gone).await?;
    }
    let mut lapsed = LAPSED.key(keys::leases());
    let dead: Vec<String> = presence.link.script(lapsed.arg(NODES_PER_CALL)).await?;
    for instance in dead {
        sweep_rooms(presence, &instance).await?;
    }
    Ok(())
}

async fn sweep_bucket(presence: &RedisPresence, bucket: u16, gone: &mut Vec<GoneOffline>) -> Result<()> {
    let mut script = SWEEP.key(keys::bucket_leases(bucket));
    script.key(keys::online(bucket));
    script.arg(keys::node_sockets_prefix(bucket)).arg(keys::user_nodes_prefix(bucket));
    script.arg(keys::last_seen_prefix(bucket)).arg(ENTRIES_PER_STEP).arg(last_seen_kept_ms());
    for _ in 0..STEPS {
        let mut answer = presence.link.script::<Vec<Value>>(&script).await?.into_iter();
        let more = answer.next().is_some_and(|more| more == Value::Int(1));
        while let (Some(user), Some(last_seen)) = (answer.next(), answer.next()) {
            let unexpected = |e: redis::ParsingError| StoreError::corrupt(format!("answer of a sweep: {e}"));
            gone.push(GoneOffline {
                realm: String::new(),
                user_id: redis::from_redis_value(user).map_err(unexpected)?,
                last_seen_ms: redis::from_redis_value(last_seen).map_err(unexpected)?,
            });
        }
        if !more {
            break;
        }
    }
    Ok(())
}

/// A room is tidied before the entry that names it goes, so that a sweeper that dies in between loses nothing.
async fn sweep_rooms(presence: &RedisPresence, instance: &str) -> Result<()> {
    let link = &presence.link;
    let of_node = keys::node_rooms(instance);
    for _ in 0..STEPS {
        let mut pick = redis::cmd("SRANDMEMBER");
        let entries: Vec<String> = link.command(pick.arg(&of_node).arg(ENTRIES_PER_STEP)).await?;
        if entries.is_empty() {
            break;
        }
        let removals = entries
            .iter()
            .filter_map(|entry| keys::split_pair(entry))
            .map(async |(socket, room)| link.command::<()>(redis::cmd("HDEL").arg(keys::room(room)).arg(socket)).await);
        futures_util::future::try_join_all(removals).await?;
        link.command::<()>(redis::cmd("SREM").arg(&of_node).arg(&entries)).await?;
    }
    let mut script = FORGET_NODE.key(keys::leases());
    link.script(script.key(of_node).key(keys::node_infos()).arg(instance)).await
}
