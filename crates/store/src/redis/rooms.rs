//! Who is in which room, in Redis.
//!
//! A room and a node's list of its rooms lie in different slots, so they are written one after the other: the list
//! before the room when entering, after it when leaving. Whatever happens in between, what is in a room is in a list,
//! and so the sweep finds it.

use super::nodes::lease_ms;
use super::presence::RedisPresence;
use super::scripts::ENTER;
use crate::{Member, Result, StoreError, keys};
use std::collections::{BTreeMap, HashMap};

pub(super) async fn enter(presence: &RedisPresence, room: &str, user: &str, socket: &str) -> Result<()> {
    let (link, instance) = (&presence.link, presence.nodes.instance());
    let mut script = ENTER.key(keys::leases());
    script.key(keys::node_rooms(instance)).arg(instance).arg(lease_ms()).arg(keys::pair(socket, room));
    presence.nodes.note_lease(link.script(&script).await?);
    link.command(redis::cmd("HSET").arg(keys::room(room)).arg(socket).arg(keys::pair(instance, user))).await
}

pub(super) async fn leave(presence: &RedisPresence, room: &str, socket: &str) -> Result<()> {
    let (link, instance) = (&presence.link, presence.nodes.instance());
    link.command::<()>(redis::cmd("HDEL").arg(keys::room(room)).arg(socket)).await?;
    link.command(redis::cmd("SREM").arg(keys::node_rooms(instance)).arg(keys::pair(socket, room))).await
}

pub(super) async fn members(presence: &RedisPresence, room: &str) -> Result<Vec<Member>> {
    let sockets: HashMap<String, String> = presence.link.command(redis::cmd("HGETALL").arg(keys::room(room))).await?;
    let places = sockets.values().map(|place| {
        keys::split_pair(place).ok_or_else(|| StoreError::corrupt(format!("member {place:?} of room {room:?}")))
    });
    let places: Vec<(&str, &str)> = places.collect::<Result<_>>()?;
    let dead = presence.nodes.dead_among(places.iter().map(|(instance, _)| *instance).collect()).await?;

    let mut members: BTreeMap<&str, u32> = BTreeMap::new();
    for (_, user) in places.into_iter().filter(|(instance, _)| !dead.contains(*instance)) {
        *members.entry(user).or_default() += 1;
    }
    Ok(members.into_iter().map(|(user, sockets)| Member { user_id: user.to_owned(), sockets }).collect())
}
