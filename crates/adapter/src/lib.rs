//! Joins a [`Hub`] to a Socket.IO cluster over Redis, in the formats of Node's `@socket.io/redis-adapter`:
//! Node servers and emitters on the same Redis are members like any other.
//!
//! An emit goes to this node's sockets at once and into a bounded queue; a task publishes the queue in order. What
//! others publish is heard on one connection and handled by one consumer, in order too. In reading order:
//!
//! - [`Cluster`]: what the rest of the program sees
//! - [`Mode`]: which of Node's adapters a member is like
//! - `interest`: which rooms this node listens for
//! - `core`: what is done with a message of another member; `serve`: requests of others; `ask`: requests of ours
//! - `channels`, `broadcast`, `request`, `response`: names and messages; `sharded`: those of the sharded adapter
//! - `transcode`: JSON with attachments to msgpack and back
//! - [`Template`]: a broadcast that the message log completes and publishes
//! - `link`: the connections, and what happens when they are lost
//! - `describe`: a socket as other members see it
//!
//! The adapter knows nothing of chat, and trusts whoever can write to Redis only as far as never to panic, never to
//! wait and never to grow without bound.

mod arrivals;
mod ask;
#[doc(hidden)]
pub mod bench;
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
mod serve;
mod sharded;
mod template;
#[cfg(test)]
mod tests;
mod transcode;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::watch, time::timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use trunkline_hub::{Encoded, Hub, Packet, RoomName, Targets};
use trunkline_redis::{Commands, Topology};

pub use ask::{Acks, Fetched, Rooms, ServerAnswers};
pub use core::{Stored, StoredMessages};
pub use describe::RemoteSocket;
pub use link::{LastProbe, LinkState, Trouble};
pub use mode::{Listen, Mode, SubscriptionMode};
pub use serve::ServerEvents;
pub use template::{Fill, Filled, Part, Payload, Relay, TEMPLATE_UID, Template};
pub use transcode::EncodeError;

use crate::{
    channels::Channels,
    core::{Core, Sink},
    interest::Interests,
    limits::CLOSE_TIMEOUT,
    link::{Status, probe::Probe, publisher, queue::Queue, subscriber},
    metrics::Drop as Dropped,
    response::Pending,
    serve::{Awaited, Listener},
};

/// How to join a cluster.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The Redis that all members share. `None`: embedded, this node is the whole cluster.
    pub redis: Option<Topology>,
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
    /// How long what arrives for many of this node's sockets gathers at least, under load; beyond 100 ms the same as 100.
    /// Nothing else that arrives overtakes it.
    pub gather: Duration,
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
            gather: Duration::ZERO,
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
    Redis(#[source] trunkline_redis::Error),
    /// The event can't be sent.
    #[error("could not encode the event")]
    Invalid(#[source] EncodeError),
}

impl ClusterError {
    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Offline => true,
            Self::Redis(error) => error.retryable(),
            Self::Invalid(_) => false,
        }
    }
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
    /// Members that did not answer the last request.
    silent: Mutex<ask::Silent>,
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
        let interests = match options.mode {
            Mode::Classic(_) => Interests::with_family(hub.id_prefix()),
            // Sharded channels have no patterns.
            Mode::Sharded(_) => Interests::default(),
        };
        let core = Arc::new(Core {
            channels: Channels::new(&options.prefix, &uid),
            hub,
            uid,
            specific_response_channel: options.specific_response_channel,
            requests_timeout: options.requests_timeout,
            gather: options.gather,
            embedded: options.redis.is_none(),
            queue: Queue::default(),
            pending: Pending::default(),
            status: Status::new(state),
            mode: options.mode,
            interests: Arc::new(interests),
            probe: Probe::default(),
            commands: options.redis.as_ref().map(Commands::new),
            tasks: tasks.clone(),
            leaving: leave.clone(),
            awaited: Awaited::default(),
            listener: OnceLock::new(),
            stored: OnceLock::new(),
        });
        let cluster = Self(Arc::new(Member {
            _on_drop: (leave.clone().drop_guard(), abandon.clone().drop_guard()),
            tasks,
            counted: Mutex::new(1),
            silent: Mutex::default(),
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
        if let (Some(topology), Some(commands)) = (options.redis, core.commands.clone()) {
            cluster.spawn(topology, commands);
        }
        cluster
    }

    fn spawn(&self, topology: Topology, commands: Commands) {
        let Member { core, tasks, leave, abandon, .. } = &*self.0;
        tasks.spawn({
            let (core, leave, abandon) = (Arc::clone(core), leave.clone(), abandon.clone());
            async move {
                abandon.run_until_cancelled(subscriber::run(Arc::clone(&core), topology, leave)).await;
                // What was heard before leaving is answered: the queue closes after the last of it.
                core.queue.close();
            }
        });
        tasks.spawn({
            let (core, abandon) = (Arc::clone(core), abandon.clone());
            async move {
                abandon.run_until_cancelled(publisher::run(Arc::clone(&core), commands)).await;
                core.queue.close();
                metrics::dropped(Dropped::Closed, core.queue.clear());
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

    /// Takes no part for a namespace any more: unsubscribes from all that [`serve`](Self::serve) and its rooms brought
    /// along. In the background, and after it others no longer wait for this member there. For namespaces that nobody is in
    /// and that are gone from the hub.
    pub fn unserve(&self, namespace: &str) {
        let core = &self.0.core;
        core.interests.unserve(namespace);
        core.status.unserve(namespace);
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
        let packet = Packet::new(event);
        if let Some(namespace) = self.0.core.hub.namespace(namespace) {
            namespace.deliver(&packet, targets, volatile);
        }
        self.0.core.emit_elsewhere(namespace, packet.event(), targets, volatile);
    }

    /// [`emit`](Self::emit) of several events to everyone in the namespace, less the members of the rooms beside each. Whoever
    /// hears all of them is visited once for all.
    pub fn emit_run(&self, namespace: &str, events: Vec<(Encoded, Vec<RoomName>)>) {
        self.0.core.emit_run(namespace, events);
    }

    /// Encodes `[event, payload]` for each of `audiences`, with holes for the payload's filled fields. Nothing is delivered: that
    /// happens on every node, this one too, when a completed message comes back through Redis or
    /// [`inject`](Self::inject).
    ///
    /// # Errors
    /// The payload is not the JSON it has to be or has one of the filled fields, the event's name is one of Socket.IO's
    /// own, or it is too large.
    pub fn templates(
        &self,
        namespace: &str,
        event: &str,
        payload: &Payload<'_>,
        audiences: &[Targets],
    ) -> Result<Vec<Template>, EncodeError> {
        let core = &self.0.core;
        let with_channel =
            audiences.iter().map(|targets| (core.channels.broadcast(namespace, &targets.rooms), targets));
        let mut templates = template::encode(namespace, event, payload, with_channel)?;
        if core.mode.is_sharded() {
            for (template, targets) in templates.iter_mut().zip(audiences) {
                let channel = core.broadcast_channel(namespace, targets);
                template.relay = Some(template::relay(channel, namespace, event, payload, targets)?);
            }
        }
        Ok(templates)
    }

    /// Publishes a stored message once more for those who don't hear what a message log publishes: Node servers with the
    /// sharded adapter. Call it after the append, with what the log filled in. Never waits; without such servers' adapter it
    /// does nothing.
    pub fn relay(&self, relay: &Relay, filled: &Filled<'_>) {
        self.0.core.publish(relay.channel.clone(), relay.fill(filled));
    }

    /// Names who delivers stored messages, see [`templates`](Self::templates), to this node's sockets. The first call counts.
    pub fn deliver_stored_by(&self, sink: Arc<dyn StoredMessages>) {
        let _ = self.0.core.stored.set(Sink(sink));
    }

    /// Names who hears the events that servers send each other. The first call counts.
    pub fn listen(&self, listener: Arc<dyn ServerEvents>) {
        let _ = self.0.core.listener.set(Listener(listener));
    }

    /// Handles a message as if Redis had delivered it. Messages injected from several threads have no order.
    pub fn inject(&self, channel: &[u8], payload: &[u8]) {
        self.0.core.receive_one(channel, payload);
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

/// The name that `@socket.io/redis-emitter` gives all its messages.
const EMITTER_UID: &str = "emitter";

fn random_uid() -> String {
    format!("{:016x}", rand::random::<u64>())
}
