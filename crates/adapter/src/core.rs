//! What the parts of a cluster member share, and what it does with a message of another member.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use trunkline_hub::{CloseReason, Hub, Namespace, Packet, RoomName, Socket, Targets};

use crate::{
    broadcast,
    channels::{Channels, Purpose},
    describe::RemoteSocket,
    interest::Interests,
    limits::{ACK_TIMEOUT, MESSAGE_BYTES},
    link::{
        Side, Status,
        probe::Probe,
        queue::{Message, Queue},
    },
    metrics::{self, Drop, Kind},
    mode::Mode,
    request::{self, Request, RequestId, ToSocket, What},
    response::{self, Pending, Response},
    transcode::DecodeError,
};

#[derive(Debug)]
pub(crate) struct Core {
    pub hub: Hub,
    pub uid: String,
    pub channels: Channels,
    /// Whether answers go to the requester's own channel.
    pub specific_response_channel: bool,
    pub requests_timeout: Duration,
    /// Whether there are others at all.
    pub embedded: bool,
    pub queue: Queue,
    pub pending: Pending,
    pub status: Status,
    pub mode: Mode,
    /// Empty when the mode is to hear everything.
    pub interests: Arc<Interests>,
    pub probe: Probe,
    /// The publishing connection, for commands whose answer matters.
    pub commands: Mutex<Option<Commands>>,
    /// Whoever waits for clients' acks, until `leaving`.
    pub tasks: TaskTracker,
    pub leaving: CancellationToken,
    /// Who delivers what a message log completed; the hub, until somebody is named.
    pub stored: OnceLock<Sink>,
}

/// Delivers stored messages to this node's sockets in place of the hub, so that it can keep their order, leave out what
/// a socket has already, and notice what is missing.
pub trait StoredMessages: Send + Sync + 'static {
    /// A stored message came in: `id` names it, `packet` carries it, `targets` says who is to hear it. Called in the order
    /// of publication. Must not block.
    fn deliver(&self, namespace: &Namespace, id: &str, packet: Packet, targets: &Targets);
}

/// A sink that prints nothing.
pub(crate) struct Sink(pub Arc<dyn StoredMessages>);

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sink")
    }
}

/// A connection that prints nothing.
pub(crate) struct Commands(pub MultiplexedConnection);

impl std::fmt::Debug for Commands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Commands")
    }
}

/// What became of a message from outside.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Delivered, done or answered, to however many sockets are here.
    Handled,
    /// This member's own message, back again.
    Own,
    /// For a room, a namespace or a request that isn't here.
    NotHere,
    /// Not understood, and dropped.
    Malformed,
}

impl Core {
    pub(crate) fn set_commands(&self, connection: Option<MultiplexedConnection>) {
        *self.commands.lock() = connection.map(Commands);
    }

    /// Queues a message for the other members. Never waits.
    pub(crate) fn publish(&self, channel: String, payload: Bytes) {
        if self.embedded {
            return;
        }
        if let Err(reason) = self.queue.push(Message { channel, payload }) {
            metrics::dropped(reason, 1);
        }
    }

    /// Queues a message that is worth nothing later.
    pub(crate) fn publish_volatile(&self, channel: String, payload: Bytes) {
        if !self.embedded && !self.status.is_up(Side::Publisher) {
            metrics::dropped(Drop::Offline, 1);
            return;
        }
        self.publish(channel, payload);
    }

    /// Handles one message, whatever it is: anyone who reaches Redis may have written it.
    pub(crate) fn receive(self: &Arc<Self>, channel: &[u8], payload: &[u8]) -> Outcome {
        let purpose = std::str::from_utf8(channel).ok().and_then(|channel| self.channels.purpose(channel));
        let (kind, outcome) = match purpose {
            _ if payload.len() > MESSAGE_BYTES => (Kind::Other, Err(DecodeError::TooLarge)),
            None => (Kind::Other, Ok(Outcome::NotHere)),
            Some(Purpose::Broadcast { namespace, room }) => {
                (Kind::Broadcast, self.receive_broadcast(namespace, room, payload))
            }
            Some(Purpose::Request { namespace }) => (Kind::Request, self.receive_request(namespace, payload)),
            Some(Purpose::Response { .. }) => (Kind::Response, self.receive_response(payload)),
        };
        metrics::received(kind);
        outcome.unwrap_or_else(|error| {
            metrics::malformed(kind);
            tracing::debug!(channel = %String::from_utf8_lossy(channel), error = %error, "dropped a message of another node");
            Outcome::Malformed
        })
    }

    fn receive_broadcast(&self, name: &str, room: Option<&str>, payload: &[u8]) -> Result<Outcome, DecodeError> {
        let Some(namespace) = self.hub.namespace(name) else { return Ok(Outcome::NotHere) };
        // Most one-room broadcasts are for other nodes: those aren't even decoded.
        if room.is_some_and(|room| !namespace.has_room(room)) {
            return Ok(Outcome::NotHere);
        }
        if broadcast::sender(payload)? == Some(self.uid.as_bytes()) {
            return Ok(Outcome::Own);
        }
        let broadcast = broadcast::decode(payload)?;
        if broadcast.namespace.as_deref().unwrap_or("/") != name {
            return Ok(Outcome::NotHere);
        }
        let packet = Packet::new(broadcast.event);
        match (broadcast.stored, self.stored.get()) {
            (Some(id), Some(sink)) => sink.0.deliver(&namespace, &id, packet, &broadcast.targets),
            _ => drop(namespace.deliver(&packet, &broadcast.targets, broadcast.flags.volatile)),
        }
        Ok(Outcome::Handled)
    }

    fn receive_response(&self, payload: &[u8]) -> Result<Outcome, DecodeError> {
        self.pending.receive(payload).map(|ours| if ours { Outcome::Handled } else { Outcome::NotHere })
    }

    /// Does what is asked and answers, once, when an answer is asked for.
    fn receive_request(self: &Arc<Self>, namespace: &str, payload: &[u8]) -> Result<Outcome, DecodeError> {
        let Request { uid, id, what } = request::decode(payload)?;
        if uid.as_deref() == Some(&*self.uid) {
            return Ok(Outcome::Own);
        }
        let answer = |response: Option<Response<'_>>| {
            if let Some(response) = response {
                self.answer(self.response_channel(namespace, uid.as_deref()), response.encode());
            }
            Ok(Outcome::Handled)
        };
        let id = id.as_ref();
        match what {
            What::Sockets(targets) => {
                answer(id.map(|id| Response::socket_ids(id, self.socket_ids(namespace, &targets))))
            }
            What::Rooms => answer(id.map(|id| Response::rooms(id, self.rooms(namespace)))),
            What::Fetch(targets) => answer(id.map(|id| Response::sockets(id, self.describe(namespace, &targets)))),
            What::Join(targets, rooms) => {
                self.join(namespace, &targets, &rooms);
                Ok(Outcome::Handled)
            }
            What::Leave(targets, rooms) => {
                self.leave(namespace, &targets, &rooms);
                Ok(Outcome::Handled)
            }
            What::Disconnect(targets, close) => {
                self.disconnect(namespace, &targets, close);
                Ok(Outcome::Handled)
            }
            What::ToSocket(socket, what) => {
                let Some(socket) = self.hub.namespace(namespace).and_then(|namespace| namespace.socket(&socket)) else {
                    return Ok(Outcome::NotHere);
                };
                to_socket(&socket, what);
                answer(id.map(Response::done))
            }
            What::ServerSideEmit => {
                // Always on the channel that all members hear, unlike every other answer.
                if let Some(id) = id {
                    self.publish(self.channels.response(namespace), Response::server_side_emit(id).encode());
                }
                Ok(Outcome::Handled)
            }
            What::Broadcast(broadcast) => {
                self.collect_acks(namespace, uid.as_deref(), id, *broadcast);
                Ok(Outcome::Handled)
            }
        }
    }

    /// Answers a request, once the rooms that earlier requests opened are heard: who asked for a join and gets the answer
    /// to a later request can rely on it.
    fn answer(self: &Arc<Self>, channel: String, payload: Bytes) {
        if self.interests.is_settled() {
            self.publish(channel, payload);
            return;
        }
        let core = Arc::clone(self);
        self.tasks.spawn(async move {
            core.interests.settled().await;
            core.publish(channel, payload);
        });
    }

    fn response_channel(&self, namespace: &str, requester: Option<&str>) -> String {
        match requester {
            Some(uid) if self.specific_response_channel => self.channels.response_to(namespace, uid),
            _ => self.channels.response(namespace),
        }
    }

    /// Delivers an event that wants acks: answers at once how many clients it goes to, and then each of their acks,
    /// as long as the requester waits. A client that doesn't answer is not mentioned again.
    fn collect_acks(
        self: &Arc<Self>,
        name: &str,
        requester: Option<&str>,
        id: Option<&RequestId>,
        broadcast: broadcast::Broadcast,
    ) {
        let here = broadcast.namespace.as_deref().unwrap_or("/") == name;
        let Some(namespace) = self.hub.namespace(name).filter(|_| here) else {
            if let Some(id) = id {
                self.publish(self.response_channel(name, requester), Response::client_count(id, 0).encode());
            }
            return;
        };
        let Some(id) = id.cloned() else {
            namespace.deliver(&Packet::new(broadcast.event), &broadcast.targets, broadcast.flags.volatile);
            return;
        };
        let sockets = namespace.sockets(&broadcast.targets);
        let channel = self.response_channel(name, requester);
        // Before the first ack: the requester compares sums.
        self.publish(channel.clone(), Response::client_count(&id, sockets.len()).encode());
        if sockets.is_empty() {
            return;
        }
        let timeout = broadcast.flags.timeout.unwrap_or(ACK_TIMEOUT).min(ACK_TIMEOUT);
        let (core, event) = (Arc::clone(self), broadcast.event);
        self.tasks.spawn(async move {
            let mut acks: FuturesUnordered<_> =
                sockets.iter().map(|socket| socket.emit_with_ack(event.clone(), timeout)).collect();
            while let Some(Some(answer)) = core.leaving.run_until_cancelled(acks.next()).await {
                let Ok(args) = answer else { continue };
                match response::broadcast_ack(&id, &args) {
                    Ok(payload) => core.publish(channel.clone(), payload),
                    Err(error) => {
                        metrics::dropped(Drop::Invalid, 1);
                        tracing::debug!(error = %error, "a client's ack can't go to the node that asked");
                    }
                }
            }
        });
    }

    fn sockets(&self, namespace: &str, targets: &Targets) -> Vec<Socket> {
        self.hub.namespace(namespace).map_or_else(Vec::new, |namespace| namespace.sockets(targets))
    }

    fn socket_ids(&self, namespace: &str, targets: &Targets) -> Vec<String> {
        self.sockets(namespace, targets).iter().map(|socket| socket.id().to_string()).collect()
    }

    pub(crate) fn rooms(&self, namespace: &str) -> Vec<RoomName> {
        self.hub.namespace(namespace).map_or_else(Vec::new, |namespace| namespace.rooms())
    }

    pub(crate) fn describe(&self, namespace: &str, targets: &Targets) -> Vec<RemoteSocket> {
        self.sockets(namespace, targets).iter().map(RemoteSocket::of).collect()
    }

    pub(crate) fn join(&self, namespace: &str, targets: &Targets, rooms: &[RoomName]) {
        for socket in self.sockets(namespace, targets) {
            for room in rooms {
                socket.join(Arc::clone(room));
            }
        }
    }

    pub(crate) fn leave(&self, namespace: &str, targets: &Targets, rooms: &[RoomName]) {
        for socket in self.sockets(namespace, targets) {
            for room in rooms {
                socket.leave(room);
            }
        }
    }

    pub(crate) fn disconnect(&self, namespace: &str, targets: &Targets, close: bool) {
        for socket in self.sockets(namespace, targets) {
            socket.close(close_reason(close));
        }
    }
}

fn to_socket(socket: &Socket, what: ToSocket) {
    match what {
        ToSocket::Join(room) => {
            socket.join(room);
        }
        ToSocket::Leave(room) => {
            socket.leave(&room);
        }
        ToSocket::Disconnect(close) => socket.close(close_reason(close)),
    }
}

fn close_reason(close: bool) -> CloseReason {
    if close { CloseReason::ServerClose } else { CloseReason::ServerDisconnect }
}
