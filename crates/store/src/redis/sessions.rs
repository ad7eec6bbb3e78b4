//! Sessions, in Redis: a record for each socket, in a hash for each node that expires by itself after the node.

use super::Link;
use super::nodes::{RedisNodes, lease_ms};
use super::scripts::{SESSION_BEGIN, SESSION_DETACH, SESSION_ROOM, SESSION_TAKE};
use crate::keys;
use crate::sessions::new_id;
use crate::{MAX_SESSION_ROOMS, Position, Result, Session, Sessions, StoreError};
use async_trait::async_trait;
use std::sync::Arc;

pub(crate) struct RedisSessions {
    link: Arc<Link>,
    nodes: Arc<RedisNodes>,
}

impl RedisSessions {
    pub(crate) fn new(link: Arc<Link>, nodes: Arc<RedisNodes>) -> Self {
        Self { link, nodes }
    }

    /// The records of this node that session `id` is among.
    fn own(&self, id: &str) -> String {
        keys::sessions(keys::bucket(id), self.nodes.instance())
    }
}

#[async_trait]
impl Sessions for RedisSessions {
    fn new_id(&self) -> String {
        new_id()
    }

    async fn begin(&self, id: &str, session: &Session) -> Result<()> {
        let mut script = SESSION_BEGIN.key(keys::session_nodes(keys::bucket(id)));
        script.key(self.own(id)).key(keys::detached_session(id));
        script.arg(self.nodes.instance()).arg(id).arg(lease_ms() + self.nodes.recovery_window_ms());
        script.arg(&session.socket).arg(&session.user).arg(&session.namespace);
        for (room, seen) in session.rooms.iter().take(MAX_SESSION_ROOMS) {
            script.arg(room).arg(&seen.epoch).arg(seen.seq);
        }
        self.link.script(&script).await
    }

    async fn enter(&self, id: &str, room: &str, seen: &Position) -> Result<()> {
        let mut script = SESSION_ROOM.key(self.own(id));
        self.link.script(script.arg(id).arg(room).arg(MAX_SESSION_ROOMS).arg(&seen.epoch).arg(seen.seq)).await
    }

    async fn leave(&self, id: &str, room: &str) -> Result<()> {
        let mut script = SESSION_ROOM.key(self.own(id));
        self.link.script(script.arg(id).arg(room).arg(MAX_SESSION_ROOMS)).await
    }

    async fn detach(&self, id: &str) -> Result<()> {
        let window = self.nodes.recovery_window_ms();
        if window == 0 {
            return self.end(id).await;
        }
        let mut script = SESSION_DETACH.key(self.own(id));
        self.link.script(script.key(keys::detached_session(id)).arg(id).arg(window)).await
    }

    async fn end(&self, id: &str) -> Result<()> {
        let (mut own, mut detached) = (redis::cmd("HDEL"), redis::cmd("DEL"));
        own.arg(self.own(id)).arg(id);
        detached.arg(keys::detached_session(id));
        self.link.batch(&[own, detached]).await.map(drop)
    }

    async fn take(&self, id: &str) -> Result<Option<Session>> {
        let bucket = keys::bucket(id);
        let mut script = SESSION_TAKE.key(keys::session_nodes(bucket));
        script.key(keys::detached_session(id)).arg(id).arg(keys::sessions_prefix(bucket));
        let found: Option<Vec<String>> = self.link.script(&script).await?;
        found.map(parse).transpose()
    }
}

/// Socket, user, namespace, then room, epoch, seq of each room.
fn parse(record: Vec<String>) -> Result<Session> {
    let corrupt = || StoreError::corrupt("record of a session");
    let mut fields = record.into_iter();
    let mut next = || fields.next().ok_or_else(corrupt);
    let (socket, user, namespace) = (next()?, next()?, next()?);
    let mut rooms = Vec::new();
    while let (Some(room), Some(epoch), Some(seq)) = (fields.next(), fields.next(), fields.next()) {
        rooms.push((room, Position { epoch, seq: seq.parse().map_err(|_| corrupt())? }));
    }
    Ok(Session { socket, user, namespace, rooms })
}
