//! Joins a [`Hub`] to a Socket.IO cluster over Redis, in the classic format of Node's `@socket.io/redis-adapter`:
//! Node servers and emitters on the same Redis are members like any other.
//!
//! An emit goes to this node's sockets at once and into a bounded queue; a task publishes the queue in order. What
//! others publish is heard on one connection and handled by one consumer, in order too. In reading order:
//!
//! - [`Cluster`]: what the rest of the program sees
//! - [`Mode`]: which of Node's adapters a member is like
//! - `interest`: which rooms this node listens for
//! - `core`: what is done with a message of another member
//! - `channels`, `broadcast`, `request`, `response`: names and messages
//! - `transcode`: JSON with attachments to msgpack and back
//! - [`Template`]: a broadcast that the message log completes and publishes
//! - `link`: the connections, and what happens when they are lost
//! - `describe`: a socket as other members see it
//!
//! The adapter knows nothing of chat, and trusts whoever can write to Redis only as far as never to panic, never to
//! wait and never to grow without bound.

mod broadcast;
mod channels;
mod core;
mod describe;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod interest;
mod limits;
mod link;
pub mod metrics;
mod mode;
mod request;
mod response;
mod template;
#[cfg(test)]
mod tests;
mod transcode;

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use trunkline_hub::{Encoded, Hub, Packet, RoomName, Targets};

pub use core::StoredMessages;
pub use describe::RemoteSocket;
pub use link::{LastProbe, LinkState, Trouble};
pub use mode::{Listen, Mode};
pub use template::{Fill, Part, Payload, TEMPLATE_UID, Template};
pub use transcode::EncodeError;

use crate::{
    channels::Channels,
    core::{Core, Sink},
    limits::CLOSE_TIMEOUT,
    link::{Status, probe::Probe, publisher, queue::Queue, subscriber},
    metrics::Drop as Dropped,
    request::Outgoing,
    response::{Answer, Pending},
};

/// How to join a cluster.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Any node of the Redis that all members share. `None`: embedded, this node is the whole cluster.
    pub redis: Option<redis::Client>,
    /// Which of Node's adapters to be like.
    pub mode: Mode,
    /// What all channel names start with; Node calls it `key`.
    pub prefix: String,
    /// This member's name. Unique in the cluster, without `#`: where it isn't usable a random one is taken.
    pub uid: String,
    /// How long to wait for other members' answers.
    pub requests_timeout: Duration,
    /// Whether to answer on the requester's own channel, which members before 7.1 don't hear.
    pub specific_response_channel: bool,
}

impl Default for ClusterOptions {
    /// Embedded, with Node's defaults and a random name.
    fn default() -> Self {
        Self {
            redis: None,
            mode: Mode::default(),
            prefix: "socket.io".to_owned(),
            uid: random_uid(),
            requests_timeout: Duration::from_secs(5),
            specific_response_channel: false,
        }
    }
}

/// Why a question to the cluster has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no connection to Redis now.
    #[error("not connected to the cluster")]
    Offline,
    /// Redis did not answer, or with an error.
    #[error("could not ask for the number of members")]
    Redis(#[source] redis::RedisError),
}

impl ClusterError {
    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Offline => true,
            Self::Redis(error) => error.is_io_error() || error.is_timeout() || error.is_connection_dropped(),
        }
    }
}

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

/// This node as a member of a cluster. Cheap to clone; with the last clone its tasks end.
#[derive(Clone, Debug)]
pub struct Cluster(Arc<Member>);

#[derive(Debug)]
struct Member {
    core: Arc<Core>,
    tasks: TaskTracker,
    /// Ends listening; everything else ends after it, in order.
    leave: CancellationToken,
    /// Ends publishing, whatever is still queued.
    abandon: CancellationToken,
    /// Members counted last, this one included: what to say is missing when nobody can be counted.
    counted: Mutex<usize>,
    _on_drop: (DropGuard, DropGuard),
}

impl Cluster {
    /// Joins. Returns at once: connections are made, and replaced when lost, by tasks that end with
    /// [`close`](Self::close) or the last clone. Serves the namespaces that `hub` has; call [`serve`](Self::serve)
    /// for each that is added later.
    ///
    /// # Panics
    /// Outside of a Tokio runtime, when there is a Redis.
    pub fn start(hub: Hub, options: ClusterOptions) -> Self {
        let uid = usable_uid(options.uid);
        let state = if options.redis.is_some() { LinkState::Connecting } else { LinkState::Embedded };
        let (leave, abandon) = (CancellationToken::new(), CancellationToken::new());
        let tasks = TaskTracker::new();
        let core = Arc::new(Core {
            channels: Channels::new(&options.prefix, &uid),
            hub,
            uid,
            specific_response_channel: options.specific_response_channel,
            requests_timeout: options.requests_timeout,
            embedded: options.redis.is_none(),
            queue: Queue::default(),
            pending: Pending::default(),
            status: Status::new(state),
            mode: options.mode,
            interests: Arc::default(),
            probe: Probe::default(),
            commands: Mutex::new(None),
            tasks: tasks.clone(),
            leaving: leave.clone(),
            stored: OnceLock::new(),
        });
        let cluster = Self(Arc::new(Member {
            _on_drop: (leave.clone().drop_guard(), abandon.clone().drop_guard()),
            tasks,
            counted: Mutex::new(1),
            core,
            leave,
            abandon,
        }));
        let core = &cluster.0.core;
        if !core.embedded && core.mode.by_room() && !core.hub.set_interest(Arc::clone(&core.interests) as _) {
            tracing::error!("this hub is in a cluster already, and joins are not told to a second one");
        }
        for namespace in core.hub.namespaces() {
            cluster.serve(namespace.name());
        }
        if let Some(client) = options.redis {
            cluster.spawn(client);
        }
        cluster
    }

    fn spawn(&self, client: redis::Client) {
        let Member { core, tasks, leave, abandon, .. } = &*self.0;
        let (incoming, consumer) = subscriber::incoming();
        tasks.spawn(subscriber::run(Arc::clone(core), client.clone(), incoming, leave.clone()));
        tasks.spawn({
            // What was heard before leaving is still answered: the queue closes after the last of it.
            let core = Arc::clone(core);
            let abandon = abandon.clone();
            async move {
                abandon.run_until_cancelled(consumer.run(Arc::clone(&core))).await;
                core.queue.close();
            }
        });
        tasks.spawn({
            let core = Arc::clone(core);
            let abandon = abandon.clone();
            async move {
                abandon.run_until_cancelled(publisher::run(Arc::clone(&core), client)).await;
                core.queue.close();
                let left = core.queue.clear();
                if left > 0 {
                    metrics::dropped(Dropped::Closed, left);
                }
            }
        });
    }

    /// Takes part for a namespace, now and after every reconnect. Subscribing happens in the background;
    /// [`ready`](Self::ready) tells when it is done. A name with `#` can't be told from another namespace's room
    /// on the wire: it stays local, with a warning.
    pub fn serve(&self, namespace: &str) {
        if namespace.contains('#') {
            tracing::warn!(namespace, "a namespace with # in its name can't be shared with other nodes");
            return;
        }
        let core = &self.0.core;
        if core.mode.by_room() {
            core.interests.serve(namespace, &core.hub);
        }
        core.status.serve(namespace);
    }

    /// Waits until Redis has confirmed every subscription and can be published to. Whether that was so before `deadline`
    /// had passed. Embedded: always, at once.
    pub async fn ready(&self, deadline: Duration) -> bool {
        self.0.core.embedded || timeout(deadline, self.0.core.status.ready()).await.is_ok()
    }

    /// Sends an event to the sockets of all nodes that `targets` names: to this node's at once, whatever Redis does,
    /// and to the others' in the order of the calls. Never waits.
    ///
    /// The other nodes miss it, and `trunkline_adapter_dropped_total` counts it, when too much is queued, when it is
    /// `volatile` and there is no connection, when a connection is lost before Redis confirms it, or when it is no
    /// valid event. What is queued while Redis is away goes out when it is back.
    pub fn emit(&self, namespace: &str, event: Encoded, targets: &Targets, volatile: bool) {
        let core = &self.0.core;
        let remote = (!core.embedded && !namespace.contains('#'))
            .then(|| broadcast::encode(&core.uid, namespace, &event, targets, volatile));
        if let Some(namespace) = core.hub.namespace(namespace) {
            namespace.deliver(&Packet::new(event), targets, volatile);
        }
        match remote {
            Some(Ok(payload)) => {
                let channel = core.channels.broadcast(namespace, &targets.rooms);
                if volatile {
                    core.publish_volatile(channel, payload);
                } else {
                    core.publish(channel, payload);
                }
            }
            Some(Err(error)) => {
                metrics::dropped(Dropped::Invalid, 1);
                tracing::warn!(namespace, error = %error, "an event can't go to the other nodes");
            }
            None => {}
        }
    }

    /// Encodes `[event, payload]` for `targets` with holes for the payload's filled fields. Nothing is delivered: that
    /// happens on every node, this one too, when the completed message comes back through Redis or
    /// [`inject`](Self::inject).
    ///
    /// # Errors
    /// The payload is not the JSON it has to be or has one of the filled fields, the event's name is one of Socket.IO's
    /// own, or it is too large.
    pub fn template(
        &self,
        namespace: &str,
        event: &str,
        payload: &Payload<'_>,
        targets: &Targets,
    ) -> Result<Template, EncodeError> {
        let channel = self.0.core.channels.broadcast(namespace, &targets.rooms);
        template::encode(channel, namespace, event, payload, targets)
    }

    /// Names who delivers stored messages, see [`template`](Self::template), to this node's sockets. The first call counts.
    pub fn deliver_stored_by(&self, sink: Arc<dyn StoredMessages>) {
        let _ = self.0.core.stored.set(Sink(sink));
    }

    /// Handles a message as if Redis had delivered it. Messages injected from several threads have no order.
    pub fn inject(&self, channel: &[u8], payload: &[u8]) {
        self.0.core.receive(channel, payload);
    }

    /// Puts the sockets of all nodes that `targets` names into `rooms`, and returns when they are in and hear what is
    /// sent there; or after `requests_timeout`, should a node not answer.
    pub async fn join(&self, namespace: &str, targets: &Targets, rooms: &[RoomName]) {
        if rooms.is_empty() {
            return;
        }
        let core = &self.0.core;
        core.join(namespace, targets, rooms);
        core.publish(core.channels.request(namespace), Outgoing::join(&core.uid, targets, rooms).encode());
        core.interests.settled().await;
        // A join is not answered; a later request is, after the join is done.
        let nobody = Targets::room(NOBODY);
        self.ask(namespace, |id| Outgoing::fetch(&core.uid, id, &nobody).encode()).await;
    }

    /// Takes the sockets of all nodes that `targets` names out of `rooms`, as [`join`](Self::join) puts them in.
    pub async fn leave(&self, namespace: &str, targets: &Targets, rooms: &[RoomName]) {
        if rooms.is_empty() {
            return;
        }
        let core = &self.0.core;
        // The others first: here `targets` may name one of the rooms that are left.
        core.publish(core.channels.request(namespace), Outgoing::leave(&core.uid, targets, rooms).encode());
        core.leave(namespace, targets, rooms);
    }

    /// Disconnects the sockets of all nodes that `targets` names from the namespace. With `close` their connections are
    /// closed too, after which stock clients come back by themselves.
    pub async fn disconnect(&self, namespace: &str, targets: &Targets, close: bool) {
        let core = &self.0.core;
        core.publish(core.channels.request(namespace), Outgoing::disconnect(&core.uid, targets, close).encode());
        core.disconnect(namespace, targets, close);
    }

    /// Describes the sockets of all nodes that `targets` names. Waits for other members' answers no longer than
    /// `requests_timeout`, and returns what came by then.
    pub async fn fetch(&self, namespace: &str, targets: &Targets) -> Fetched {
        let core = &self.0.core;
        let (answers, missing) = self.ask(namespace, |id| Outgoing::fetch(&core.uid, id, targets).encode()).await;
        let mut sockets = core.describe(namespace, targets);
        sockets.extend(answers.into_iter().flat_map(|answer| answer.sockets));
        Fetched { sockets, missing }
    }

    /// Names the rooms that have members on any node, as [`fetch`](Self::fetch) describes sockets.
    pub async fn rooms(&self, namespace: &str) -> Rooms {
        let core = &self.0.core;
        let (answers, missing) = self.ask(namespace, |id| Outgoing::rooms(&core.uid, id).encode()).await;
        let mut rooms: BTreeSet<String> = core.rooms(namespace).iter().map(ToString::to_string).collect();
        rooms.extend(answers.into_iter().flat_map(|answer| answer.rooms));
        Rooms { rooms: rooms.into_iter().collect(), missing }
    }

    /// How many members serve a namespace, this one included while it is connected. Embedded: 1.
    ///
    /// # Errors
    /// Redis can't be asked now. A member that crashed counts until Redis notices.
    pub async fn server_count(&self, namespace: &str) -> Result<usize, ClusterError> {
        let core = &self.0.core;
        if core.embedded {
            return Ok(1);
        }
        let commands = core.commands.lock().as_ref().map(|commands| commands.0.clone());
        let mut commands = commands.ok_or(ClusterError::Offline)?;
        let channel = core.channels.request(namespace);
        let counted: (String, usize) = redis::cmd("PUBSUB")
            .arg("NUMSUB")
            .arg(channel)
            .query_async(&mut commands)
            .await
            .map_err(ClusterError::Redis)?;
        *self.0.counted.lock() = counted.1;
        Ok(counted.1)
    }

    /// Asks all other members, and returns their answers and how many did not answer.
    async fn ask(&self, namespace: &str, request: impl FnOnce(&str) -> bytes::Bytes) -> (Vec<Answer>, usize) {
        let core = &self.0.core;
        if core.embedded {
            return (Vec::new(), 0);
        }
        let Ok(members) = self.server_count(namespace).await else {
            return (Vec::new(), (*self.0.counted.lock()).saturating_sub(1).max(1));
        };
        if !core.status.hears(namespace) {
            // Not counted itself, and deaf to answers.
            return (Vec::new(), members);
        }
        let others = members.saturating_sub(1);
        if others == 0 {
            return (Vec::new(), 0);
        }
        let deadline = Instant::now() + core.requests_timeout;
        let mut waiting = core.pending.register();
        core.publish(core.channels.request(namespace), request(&waiting.id));
        let mut answers = Vec::with_capacity(others.min(limits::ANSWERS));
        while answers.len() < others {
            match timeout_at(deadline, waiting.next()).await {
                Ok(Some(answer)) => answers.push(answer),
                Ok(None) | Err(_) => break,
            }
        }
        let missing = others - answers.len();
        if missing > 0 {
            metrics::unanswered();
            tracing::warn!(namespace, missing, "some nodes did not answer in time");
        }
        (answers, missing)
    }

    /// How this node is joined to the others, now and from now on.
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.0.core.status.state()
    }

    /// When a message to ourselves came back last: the sign that the link works in both directions.
    pub fn last_probe(&self) -> Option<LastProbe> {
        self.0.core.probe.last()
    }

    /// Leaves: unsubscribes, so that others no longer wait for this member, answers what it heard until then, publishes
    /// what is queued, and ends all tasks. Takes 5 s at most; what Redis has not taken by then is counted as
    /// dropped. Emits go to this node's sockets only from then on.
    pub async fn close(&self) {
        let Member { core, tasks, leave, abandon, .. } = &*self.0;
        tasks.close();
        leave.cancel();
        if timeout(2 * CLOSE_TIMEOUT, tasks.wait()).await.is_err() {
            tracing::warn!("left the cluster with messages unpublished");
        }
        abandon.cancel();
        core.queue.close();
        tasks.wait().await;
    }
}

/// A member with a name that others use would ignore their messages.
fn usable_uid(uid: String) -> String {
    let usable = !uid.is_empty() && !uid.contains('#') && uid != TEMPLATE_UID && uid != EMITTER_UID;
    if usable { uid } else { random_uid() }
}

/// A room without members: the shortest request that every member answers is about it. Clients' rooms have names.
const NOBODY: &str = "";

/// The name that `@socket.io/redis-emitter` gives all its messages.
const EMITTER_UID: &str = "emitter";

fn random_uid() -> String {
    format!("{:016x}", rand::random::<u64>())
}
