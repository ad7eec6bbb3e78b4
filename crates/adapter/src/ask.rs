//! What this member asks of the others: to do something with their sockets, or to tell of them.

use std::{collections::BTreeSet, time::Duration};

use redis::{Value, from_redis_value};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};
use trunkline_hub::{Encoded, RoomName, Targets};

use crate::{
    Cluster, ClusterError, EncodeError, RemoteSocket, broadcast,
    core::Core,
    limits::{self, ACK_TIMEOUT},
    metrics,
    request::Outgoing,
    response::Answer,
    sharded,
};

/// What [`Cluster::fetch`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The sockets, of this node first.
    pub sockets: Vec<RemoteSocket>,
    /// Members that did not answer in time, so their sockets are missing. Without a connection, how many there were
    /// when last counted, or 1.
    pub missing: usize,
}

/// What [`Cluster::rooms`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rooms {
    /// Each room once, in order of name; the rooms of single sockets, named by their ids, are among them.
    pub rooms: Vec<String>,
    /// As in [`Fetched`].
    pub missing: usize,
}

/// What clients answered to [`Cluster::emit_with_acks`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acks {
    /// JSON of the first argument of each answer, with its attachments; empty text where there was none. This node's first.
    pub answers: Vec<Encoded>,
    /// Clients that got the event, as far as their nodes said so.
    pub clients: usize,
    /// As in [`Fetched`]: how many clients these have is not known.
    pub missing: usize,
}

/// What other servers answered to [`Cluster::server_side_emit_with_ack`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerAnswers {
    /// JSON of each answer; empty text where there was none.
    pub answers: Vec<Encoded>,
    /// As in [`Fetched`].
    pub missing: usize,
}

/// A room without members: the shortest request that every member answers is about it. Clients' rooms have names.
const NOBODY: &str = "";

/// How long to wait for members that have not answered before, once all others have.
const GRACE: Duration = Duration::from_millis(200);

/// Members that are counted and do not answer: a host that lost its power is subscribed until Redis gives up on its
/// connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Silent {
    /// So many.
    missing: usize,
    /// Of so many. Another count is another cluster.
    of: usize,
}

impl Silent {
    /// How many of `others` are worth waiting for until the end.
    fn awaited(self, others: usize) -> usize {
        if self.of == others { others.saturating_sub(self.missing) } else { others }
    }
}

impl Cluster {
    /// Puts the sockets of all nodes that `targets` names into `rooms`, and returns when they are in and hear what is
    /// sent there; or after `requests_timeout`, should a node not answer.
    pub async fn join(&self, namespace: &str, targets: &Targets, rooms: &[RoomName]) {
        if rooms.is_empty() {
            return;
        }
        let core = &self.0.core;
        core.join(namespace, targets, rooms);
        core.request(namespace, &Outgoing::join(&core.uid, targets, rooms));
        core.interests.settled().await;
        // A join is not answered; a later request is, after the join is done.
        let nobody = Targets::room(NOBODY);
        self.ask(namespace, |id, core| core.request(namespace, &Outgoing::fetch(&core.uid, id, &nobody))).await;
    }

    /// Takes the sockets of all nodes that `targets` names out of `rooms`: this node's before it returns, the others' before
    /// any emit that comes later. Nobody confirms it.
    pub async fn leave(&self, namespace: &str, targets: &Targets, rooms: &[RoomName]) {
        if rooms.is_empty() {
            return;
        }
        let core = &self.0.core;
        // The others first: here `targets` may name one of the rooms that are left.
        core.request(namespace, &Outgoing::leave(&core.uid, targets, rooms));
        core.leave(namespace, targets, rooms);
    }

    /// Disconnects the sockets of all nodes that `targets` names from the namespace. With `close` their connections are
    /// closed too, after which stock clients come back by themselves.
    pub async fn disconnect(&self, namespace: &str, targets: &Targets, close: bool) {
        let core = &self.0.core;
        core.request(namespace, &Outgoing::disconnect(&core.uid, targets, close));
        core.disconnect(namespace, targets, close);
    }

    /// Describes the sockets of all nodes that `targets` names. Waits for other members' answers no longer than
    /// `requests_timeout`, and returns what came by then.
    pub async fn fetch(&self, namespace: &str, targets: &Targets) -> Fetched {
        let (answers, missing) =
            self.ask(namespace, |id, core| core.request(namespace, &Outgoing::fetch(&core.uid, id, targets))).await;
        let mut sockets = self.0.core.describe(namespace, targets);
        sockets.extend(answers.into_iter().flat_map(|answer| answer.sockets));
        Fetched { sockets, missing }
    }

    /// Names the rooms that have members on any node, as [`fetch`](Self::fetch) describes sockets. The sharded adapter has no
    /// request for that: there all sockets are described, which costs as much as it says.
    pub async fn rooms(&self, namespace: &str) -> Rooms {
        let core = &self.0.core;
        let mut rooms: BTreeSet<String> = core.rooms(namespace).iter().map(ToString::to_string).collect();
        let everyone = Targets::everyone();
        let (answers, missing) = self
            .ask(namespace, |id, core| {
                let ask = if core.mode.is_sharded() {
                    Outgoing::fetch(&core.uid, id, &everyone)
                } else {
                    Outgoing::rooms(&core.uid, id)
                };
                core.request(namespace, &ask);
            })
            .await;
        for answer in answers {
            rooms.extend(answer.rooms);
            rooms.extend(answer.sockets.into_iter().flat_map(|socket| socket.rooms));
        }
        Rooms { rooms: rooms.into_iter().collect(), missing }
    }

    /// Sends an event that clients are to answer to the sockets of all nodes that `targets` names, and returns when all have
    /// answered, or what came within `timeout` (a minute at most).
    ///
    /// # Errors
    /// It is no valid event, so nobody got it.
    pub async fn emit_with_acks(
        &self,
        namespace: &str,
        event: Encoded,
        targets: &Targets,
        timeout: Duration,
    ) -> Result<Acks, ClusterError> {
        let core = &self.0.core;
        let timeout = timeout.min(ACK_TIMEOUT);
        let deadline = Instant::now() + timeout;
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let mut waiting = core.pending.register();
        let payload = core.encode_request(&waiting.id, namespace, &event, targets, timeout_ms);
        let (members, others) = self.others(namespace).await;
        let payload = payload.map_err(ClusterError::Invalid)?;
        if others > 0 {
            core.publish(core.request_channel(namespace), payload);
        }
        let sockets = core.hub.namespace(namespace).map_or_else(Vec::new, |namespace| namespace.sockets(targets));
        let local = sockets.iter().map(async |socket| socket.emit_with_ack(event.clone(), timeout).await.ok());
        let remote = async {
            let (mut acks, mut told) = (Acks::default(), 0);
            while told < others || acks.answers.len() < acks.clients {
                let Ok(Some(answer)) = timeout_at(deadline, waiting.next()).await else { break };
                match answer.clients {
                    Some(clients) => {
                        told += 1;
                        acks.clients += clients;
                    }
                    None => acks.answers.push(answer.value.unwrap_or_else(|| Encoded::new("", Vec::new()))),
                }
            }
            acks.missing = members.saturating_sub(told);
            acks
        };
        let (local, mut acks) = tokio::join!(futures_util::future::join_all(local), remote);
        acks.clients += sockets.len();
        let mut answers: Vec<Encoded> = local.into_iter().flatten().map(|args| first_argument(&args)).collect();
        answers.append(&mut acks.answers);
        acks.answers = answers;
        Ok(acks)
    }

    /// Sends an event to the other servers, whose clients don't see it.
    ///
    /// # Errors
    /// `event` is no JSON array.
    pub fn server_side_emit(&self, namespace: &str, event: &Encoded) -> Result<(), ClusterError> {
        let core = &self.0.core;
        let event = server_event(event)?;
        core.request(namespace, &Outgoing::server_side_emit(&core.uid, None, event));
        Ok(())
    }

    /// Sends an event to the other servers and returns what they answer within `requests_timeout`.
    ///
    /// # Errors
    /// `event` is no JSON array.
    pub async fn server_side_emit_with_ack(
        &self,
        namespace: &str,
        event: &Encoded,
    ) -> Result<ServerAnswers, ClusterError> {
        let event = server_event(event)?;
        let (answers, missing) = self
            .ask(namespace, |id, core| {
                core.request(namespace, &Outgoing::server_side_emit(&core.uid, Some(id), event));
            })
            .await;
        let answers = answers.into_iter().map(|answer| answer.value.unwrap_or_else(|| Encoded::new("", Vec::new())));
        Ok(ServerAnswers { answers: answers.collect(), missing })
    }

    /// How many members serve a namespace, this one included while it is connected. Embedded: 1.
    ///
    /// # Errors
    /// Redis can't be asked now. A member that crashed counts until Redis notices.
    pub async fn server_count(&self, namespace: &str) -> Result<usize, ClusterError> {
        let core = &self.0.core;
        let Some(commands) = &core.commands else { return Ok(1) };
        let mut count = redis::cmd("PUBSUB");
        count.arg(if core.mode.is_sharded() { "SHARDNUMSUB" } else { "NUMSUB" }).arg(core.request_channel(namespace));
        // Each node of a Redis Cluster knows its own subscribers.
        let counts = commands.every_node::<Value>(&count).await.map_err(ClusterError::Redis)?;
        let members = counts.into_iter().filter_map(|counted| from_redis_value::<(String, usize)>(counted).ok());
        let members = members.map(|(_, members)| members).sum();
        *self.0.counted.lock() = members;
        Ok(members)
    }

    /// How many other members there are, and of how many an answer can be heard.
    async fn others(&self, namespace: &str) -> (usize, usize) {
        let core = &self.0.core;
        if core.embedded {
            return (0, 0);
        }
        match self.server_count(namespace).await {
            Ok(members) if core.status.hears(namespace) => (members.saturating_sub(1), members.saturating_sub(1)),
            // Not counted itself, and deaf to answers.
            Ok(members) => (members, 0),
            Err(_) => ((*self.0.counted.lock()).saturating_sub(1).max(1), 0),
        }
    }

    /// Asks all other members, and returns their answers and how many did not answer. Those that did not answer the last
    /// time are not waited for as long as the others.
    async fn ask(&self, namespace: &str, publish: impl FnOnce(&str, &Core)) -> (Vec<Answer>, usize) {
        let core = &self.0.core;
        let (members, others) = self.others(namespace).await;
        if others == 0 {
            return (Vec::new(), members);
        }
        let mut deadline = Instant::now() + core.requests_timeout;
        let awaited = self.0.silent.lock().awaited(others);
        let mut waiting = core.pending.register();
        publish(&waiting.id, core);
        let mut answers = Vec::with_capacity(others.min(limits::ANSWERS));
        while answers.len() < others {
            if answers.len() == awaited {
                deadline = deadline.min(Instant::now() + GRACE);
            }
            match timeout_at(deadline, waiting.next()).await {
                Ok(Some(answer)) => answers.push(answer),
                Ok(None) | Err(_) => break,
            }
        }
        let missing = others - answers.len();
        *self.0.silent.lock() = Silent { missing, of: others };
        if missing > 0 {
            metrics::unanswered();
            tracing::warn!(namespace, missing, "some nodes did not answer in time");
        }
        (answers, missing)
    }
}

impl Core {
    /// Publishes a request, in the words of the adapter that this member is like.
    fn request(&self, namespace: &str, request: &Outgoing<'_>) {
        let payload = if self.mode.is_sharded() {
            sharded::request(&self.uid, namespace, request)
        } else {
            Some(request.encode())
        };
        if let Some(payload) = payload {
            self.publish(self.request_channel(namespace), payload);
        }
    }

    /// Where requests go. Who subscribes to it is counted as a member.
    fn request_channel(&self, namespace: &str) -> String {
        if self.mode.is_sharded() { self.channels.everyone(namespace) } else { self.channels.request(namespace) }
    }

    /// Where a broadcast goes: one to a single room to that room's own channel, if it has one.
    pub(crate) fn broadcast_channel(&self, namespace: &str, targets: &Targets) -> String {
        match &*targets.rooms {
            [room] if self.mode.has_channel(room) => self.channels.room(namespace, room),
            _ => self.channels.everyone(namespace),
        }
    }

    pub(crate) fn encode(
        &self,
        namespace: &str,
        event: &Encoded,
        targets: &Targets,
        volatile: bool,
    ) -> Result<bytes::Bytes, EncodeError> {
        if self.mode.is_sharded() {
            sharded::broadcast(&self.uid, namespace, event, targets, volatile, None)
        } else {
            broadcast::encode(&self.uid, namespace, event, targets, volatile)
        }
    }

    fn encode_request(
        &self,
        id: &str,
        namespace: &str,
        event: &Encoded,
        targets: &Targets,
        timeout_ms: u64,
    ) -> Result<bytes::Bytes, EncodeError> {
        if self.mode.is_sharded() {
            sharded::broadcast(&self.uid, namespace, event, targets, false, Some((id, timeout_ms)))
        } else {
            broadcast::encode_request(&self.uid, id, namespace, event, targets, timeout_ms)
        }
    }
}

fn server_event(event: &Encoded) -> Result<&RawValue, ClusterError> {
    let parsed = serde_json::from_str(&event.text).map_err(|error| ClusterError::Invalid(EncodeError::Json(error)))?;
    match event.event_name() {
        Some(_) => Ok(parsed),
        None => Err(ClusterError::Invalid(EncodeError::NotAnEvent)),
    }
}

/// Of an ack's list of arguments.
fn first_argument(args: &Encoded) -> Encoded {
    let first = serde_json::from_str::<Vec<&RawValue>>(&args.text).ok();
    let first = first.and_then(|args| args.first().map(|first| first.get().to_owned())).unwrap_or_default();
    Encoded::new(first, args.attachments.clone())
}
