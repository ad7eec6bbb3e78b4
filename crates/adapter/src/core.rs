//! What the parts of a cluster member share, and what it does with a message of another member.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use trunkline_hub::{Encoded, Hub, Namespace, Packet, RoomName, Run, Targets};
use trunkline_redis::Commands;

use crate::{
    arrivals::{Arrivals, Other},
    broadcast::{self, Broadcast},
    channels::{Channels, Purpose},
    interest::Interests,
    limits::MESSAGE_BYTES,
    link::{
        Side, Status,
        probe::Probe,
        queue::{Message, Queue},
    },
    metrics::{self, Drop, Kind},
    mode::Mode,
    request::{self, Request, What},
    response::Pending,
    serve::{Awaited, Listener},
    sharded::{Content, Envelope},
    template::TEMPLATE_UID,
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
    pub gather: Duration,
    /// Whether there are others at all.
    pub embedded: bool,
    pub queue: Queue,
    pub pending: Pending,
    pub status: Status,
    pub mode: Mode,
    /// Empty when the mode is to hear everything.
    pub interests: Arc<Interests>,
    pub probe: Probe,
    /// For what is published, and for commands whose answer matters. None when embedded.
    pub commands: Option<Commands>,
    /// Answers that others want and that are waited for.
    pub awaited: Awaited,
    /// Whoever waits for clients' acks, until `leaving`.
    pub tasks: TaskTracker,
    pub leaving: CancellationToken,
    /// Whom events between servers are for.
    pub listener: OnceLock<Listener>,
    /// Who delivers what a message log completed; the hub, until somebody is named.
    pub stored: OnceLock<Sink>,
}

/// Delivers stored messages to this node's sockets in place of the hub, so that it can keep their order, leave out what
/// a socket has already, and notice what is missing.
pub trait StoredMessages: Send + Sync + 'static {
    /// Stored messages for the members of `rooms` came in, one right behind the other. Called in the order of publication, by
    /// one task; when that may have missed something, the cluster's [`LinkState`](crate::LinkState) has changed before. Must
    /// not block.
    fn deliver(&self, namespace: &Namespace, rooms: &[RoomName], messages: Vec<Stored>);

    /// A stored message came in that no socket of this node [hears](Namespace::is_heard), by its id, targets and stamp, between
    /// those that are [delivered](Self::deliver). Whether that is all there is to it; if not it is delivered as the others are. This
    /// spares reading the event where a message comes back to its sender's node, and nobody else is there. Must not block.
    fn pass(&self, namespace: &Namespace, targets: &Targets, id: &str, stamp: Option<&str>) -> bool;
}

/// A stored message on its way to this node's sockets.
#[derive(Debug)]
pub struct Stored {
    /// Its id.
    pub id: String,
    /// Its place among those of all logs, if the log says.
    pub stamp: Option<String>,
    /// What carries it.
    pub packet: Packet,
    /// Rooms whose members do not hear it.
    pub except: Vec<RoomName>,
}

/// A sink that prints nothing.
pub(crate) struct Sink(pub Arc<dyn StoredMessages>);

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sink")
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
    /// Sends events to everyone in the namespace, less the members of the rooms beside each. Never waits.
    pub(crate) fn emit_run(&self, namespace: &str, events: Vec<(Encoded, Vec<RoomName>)>) {
        let events: Vec<_> = events.into_iter().map(|(event, except)| (Packet::new(event), except)).collect();
        if let Some(namespace) = self.hub.namespace(namespace) {
            let run = events.iter().map(|(packet, except)| (packet, &except[..])).collect();
            namespace.deliver_run(&run, &[]);
        }
        for (packet, except) in events {
            let targets = Targets { rooms: Vec::new(), except };
            self.emit_elsewhere(namespace, packet.event(), &targets, false);
        }
    }

    /// Sends an event to the sockets of the other members. Never waits.
    pub(crate) fn emit_elsewhere(&self, namespace: &str, event: &Encoded, targets: &Targets, volatile: bool) {
        if self.embedded || namespace.contains('#') {
            return;
        }
        match self.encode(namespace, event, targets, volatile) {
            Ok(payload) => {
                let channel = self.broadcast_channel(namespace, targets);
                if volatile {
                    self.publish_volatile(channel, payload);
                } else {
                    self.publish(channel, payload);
                }
            }
            Err(error) => {
                metrics::dropped(Drop::Invalid, 1);
                tracing::warn!(namespace, error = %error, "an event can't go to the other nodes");
            }
        }
    }

    /// Queues a message for the other members. Never waits.
    pub(crate) fn publish(&self, channel: String, payload: Bytes) {
        self.queue_up(channel, payload, false);
    }

    /// Queues a message that is worth nothing later.
    pub(crate) fn publish_volatile(&self, channel: String, payload: Bytes) {
        if self.embedded || self.status.is_up(Side::Publisher) {
            self.queue_up(channel, payload, true);
        } else {
            metrics::dropped(Drop::Offline, 1);
        }
    }

    fn queue_up(&self, channel: String, payload: Bytes, volatile: bool) {
        if self.embedded {
            return;
        }
        if let Err(reason) = self.queue.push(Message { channel, payload, sharded: self.mode.is_sharded(), volatile }) {
            metrics::dropped(reason, 1);
        }
    }

    /// Handles one message, whatever it is: anyone who reaches Redis may have written it.
    ///
    /// A sharded member hears the classic channels too, for what message logs publish. A broadcast there is a list,
    /// which no message of the sharded adapter is.
    ///
    /// A broadcast that is for this node's sockets may be left in `arrivals`, for the caller to hand over.
    pub(crate) fn receive(self: &Arc<Self>, channel: &[u8], payload: &[u8], arrivals: &mut Arrivals) -> Outcome {
        let is_list = matches!(payload.first(), Some(0x90..=0x9f | 0xdc | 0xdd));
        if self.mode.is_sharded() && !is_list {
            self.receive_sharded(channel, payload, arrivals)
        } else {
            self.receive_classic(channel, payload, arrivals)
        }
    }

    /// [`receive`](Self::receive) of one message by itself.
    pub(crate) fn receive_one(self: &Arc<Self>, channel: &[u8], payload: &[u8]) -> Outcome {
        let mut arrivals = Arrivals::default();
        let outcome = self.receive(channel, payload, &mut arrivals);
        arrivals.hand_over(self);
        outcome
    }

    fn receive_classic(self: &Arc<Self>, channel: &[u8], payload: &[u8], arrivals: &mut Arrivals) -> Outcome {
        let purpose = std::str::from_utf8(channel).ok().and_then(|channel| self.channels.purpose(channel));
        let (kind, outcome) = match purpose {
            _ if payload.len() > MESSAGE_BYTES => (Kind::Other, Err(DecodeError::TooLarge)),
            None => (Kind::Other, Ok(Outcome::NotHere)),
            Some(Purpose::Broadcast { namespace, room }) => {
                (Kind::Broadcast, self.receive_broadcast(namespace, room, payload, arrivals))
            }
            Some(Purpose::Request { namespace }) => {
                arrivals.hand_over(self);
                (Kind::Request, self.receive_request(namespace, payload))
            }
            Some(Purpose::Response { .. }) => (Kind::Response, self.receive_response(payload)),
        };
        metrics::received(kind);
        outcome.unwrap_or_else(|error| malformed(kind, channel, &error))
    }

    fn receive_sharded(self: &Arc<Self>, channel: &[u8], payload: &[u8], arrivals: &mut Arrivals) -> Outcome {
        let purpose = std::str::from_utf8(channel).ok().and_then(|channel| self.channels.purpose(channel));
        let mut kind = Kind::Other;
        let outcome = match purpose {
            _ if payload.len() > MESSAGE_BYTES => Err(DecodeError::TooLarge),
            Some(Purpose::Broadcast { namespace, room }) => {
                self.receive_envelope(namespace, room, payload, &mut kind, arrivals)
            }
            _ => Ok(Outcome::NotHere),
        };
        metrics::received(kind);
        outcome.unwrap_or_else(|error| malformed(kind, channel, &error))
    }

    fn receive_envelope(
        self: &Arc<Self>,
        name: &str,
        room: Option<&str>,
        payload: &[u8],
        kind: &mut Kind,
        arrivals: &mut Arrivals,
    ) -> Result<Outcome, DecodeError> {
        let private = room == Some(&*self.uid);
        let here =
            self.hub.namespace(name).filter(|namespace| private || room.is_none_or(|room| namespace.has_room(room)));
        let Some(namespace) = here else { return Ok(Outcome::NotHere) };
        let envelope = Envelope::open(payload)?;
        *kind = match &envelope {
            envelope if envelope.is_answer() => Kind::Response,
            envelope if envelope.is_broadcast() => Kind::Broadcast,
            _ => Kind::Request,
        };
        // What a message log publishes is heard on the classic channels, in the log's order. This is for others.
        if [Some(&*self.uid), Some(TEMPLATE_UID)].contains(&envelope.uid.as_deref()) {
            return Ok(Outcome::Own);
        }
        // Servers before 8.3 don't say which; the channel does.
        if envelope.namespace.as_deref().is_some_and(|namespace| namespace != name) {
            return Ok(Outcome::NotHere);
        }
        match envelope.read()? {
            Content::Answer(id, answer) => {
                let ours = self.pending.receive_answer(id.as_ref(), answer);
                Ok(if ours { Outcome::Handled } else { Outcome::NotHere })
            }
            Content::Request(Request { id: None, what: What::Broadcast(broadcast), .. }) => {
                self.deliver(&namespace, *broadcast, arrivals);
                Ok(Outcome::Handled)
            }
            Content::Request(request) => {
                arrivals.hand_over(self);
                Ok(self.serve(name, request))
            }
        }
    }

    fn receive_broadcast(
        self: &Arc<Self>,
        name: &str,
        room: Option<&str>,
        payload: &[u8],
        arrivals: &mut Arrivals,
    ) -> Result<Outcome, DecodeError> {
        let Some(namespace) = self.hub.namespace(name) else { return Ok(Outcome::NotHere) };
        // Most one-room broadcasts are for other nodes: those aren't even decoded.
        if room.is_some_and(|room| !namespace.has_room(room)) {
            return Ok(Outcome::NotHere);
        }
        if broadcast::sender(payload)? == Some(self.uid.as_bytes()) {
            return Ok(Outcome::Own);
        }
        let broadcast = broadcast::unopened(payload)?;
        if broadcast.namespace() != name {
            return Ok(Outcome::NotHere);
        }
        if let Some((targets, id, stamp)) = broadcast.stored()
            && let Some(sink) = self.stored.get()
            && !namespace.is_heard(targets)
        {
            arrivals.hand_over(self);
            if sink.0.pass(&namespace, targets, id, stamp) {
                return Ok(Outcome::Handled);
            }
        }
        self.deliver(&namespace, broadcast.open()?, arrivals);
        Ok(Outcome::Handled)
    }

    /// A broadcast for this node's sockets. One that may be dropped, or wants acks, goes by itself.
    pub(crate) fn deliver(self: &Arc<Self>, namespace: &Namespace, broadcast: Broadcast, arrivals: &mut Arrivals) {
        let Broadcast { event, targets, stored, stamp, .. } = broadcast;
        if broadcast.numbered {
            arrivals.hand_over(self);
            self.deliver_numbered(namespace, event, &targets);
        } else if broadcast.flags.volatile {
            arrivals.hand_over(self);
            namespace.deliver(&Packet::new(event), &targets, true);
        } else {
            let Targets { rooms, except } = targets;
            let packet = Packet::new(event);
            match stored {
                Some(id) => arrivals.stored(self, namespace, rooms, Stored { id, stamp, packet, except }),
                None => arrivals.other(self, namespace, rooms, Other { packet, except }),
            }
        }
    }

    /// To whoever delivers stored messages, see [`StoredMessages`].
    pub(crate) fn deliver_stored(&self, namespace: &Namespace, rooms: &[RoomName], messages: Vec<Stored>) {
        if let Some(sink) = self.stored.get() {
            return sink.0.deliver(namespace, rooms, messages);
        }
        let run: Run<'_> = messages.iter().map(|message| (&message.packet, &message.except[..])).collect();
        namespace.deliver_run(&run, rooms);
    }

    fn receive_response(&self, payload: &[u8]) -> Result<Outcome, DecodeError> {
        self.pending.receive(payload).map(|ours| if ours { Outcome::Handled } else { Outcome::NotHere })
    }

    fn receive_request(self: &Arc<Self>, namespace: &str, payload: &[u8]) -> Result<Outcome, DecodeError> {
        let request = request::decode(payload)?;
        if request.uid.as_deref() == Some(&*self.uid) {
            return Ok(Outcome::Own);
        }
        Ok(self.serve(namespace, request))
    }
}

fn malformed(kind: Kind, channel: &[u8], error: &DecodeError) -> Outcome {
    metrics::malformed(kind, error.code());
    if metrics::OFTEN.passes() {
        let channel = String::from_utf8_lossy(channel);
        tracing::warn!(%channel, %error, "dropped a message of another node, as perhaps others in the last second");
    }
    Outcome::Malformed
}
