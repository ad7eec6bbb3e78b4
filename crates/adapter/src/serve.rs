//! What this member does for others: requests about its sockets, done and answered.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use trunkline_hub::{CloseReason, Encoded, Namespace, Packet, RoomName, Socket, Targets};

use crate::{
    arrivals::Arrivals,
    broadcast::Broadcast,
    core::{Core, Outcome},
    describe::RemoteSocket,
    limits::{ACK_TIMEOUT, AWAITED},
    metrics::{self, Drop},
    request::{Request, RequestId, ToSocket, What},
    response::{self, Response},
    sharded,
};

/// Hears events that servers send each other, which no client sees: `serverSideEmit` of Node.
#[async_trait]
pub trait ServerEvents: Send + Sync + 'static {
    /// `event` is a name and its arguments. What is returned, JSON of one value, goes to a sender who wants answers; it
    /// gets an empty one for `None`.
    async fn event(&self, namespace: &str, event: Encoded) -> Option<String>;
}

/// A listener that prints nothing.
pub(crate) struct Listener(pub Arc<dyn ServerEvents>);

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

/// Bounds what is awaited for others, who may ask as fast as they can write.
#[derive(Debug)]
pub(crate) struct Awaited(Arc<Semaphore>);

impl Default for Awaited {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AWAITED)))
    }
}

impl Awaited {
    /// Room for so many answers, as long as it is held; `None`, counted, when there is too little.
    pub(crate) fn room(&self, answers: usize) -> Option<OwnedSemaphorePermit> {
        let room =
            u32::try_from(answers).ok().and_then(|answers| Arc::clone(&self.0).try_acquire_many_owned(answers).ok());
        if room.is_none() {
            metrics::unawaited(answers);
        }
        room
    }
}

/// To whom an answer goes.
#[derive(Clone, Copy)]
struct Requester<'a> {
    namespace: &'a str,
    uid: Option<&'a str>,
    id: Option<&'a RequestId>,
}

impl Core {
    /// Does what is asked and answers, once, when an answer is asked for.
    pub(crate) fn serve(self: &Arc<Self>, namespace: &str, request: Request) -> Outcome {
        let Request { uid, id, what } = request;
        let from = Requester { namespace, uid: uid.as_deref(), id: id.as_ref() };
        match what {
            What::Sockets(targets) => {
                self.answer(from, |id| Response::socket_ids(id, self.socket_ids(namespace, &targets)));
            }
            What::Rooms => self.answer(from, |id| Response::rooms(id, self.rooms(namespace))),
            What::Fetch(targets) => self.answer(from, |id| Response::sockets(id, self.describe(namespace, &targets))),
            What::Join(targets, rooms) => self.join(namespace, &targets, &rooms),
            What::Leave(targets, rooms) => self.leave(namespace, &targets, &rooms),
            What::Disconnect(targets, close) => self.disconnect(namespace, &targets, close),
            What::ToSocket(socket, what) => {
                let Some(socket) = self.hub.namespace(namespace).and_then(|namespace| namespace.socket(&socket)) else {
                    return Outcome::NotHere;
                };
                to_socket(&socket, what);
                self.answer(from, Response::done);
            }
            What::ServerSideEmit(event) => self.hear(from, event),
            What::Broadcast(broadcast) => self.collect_acks(from, *broadcast),
        }
        Outcome::Handled
    }

    /// Answers, if that is asked for, once the rooms that earlier requests opened are heard: who asked for a join and gets
    /// the answer to a later request can rely on it.
    fn answer<'a>(self: &Arc<Self>, to: Requester<'a>, response: impl FnOnce(&'a RequestId) -> Response<'a>) {
        let Some(id) = to.id else { return };
        let Some((channel, payload)) = self.addressed(to, &response(id)) else { return };
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

    /// Where an answer goes, and what is written there. `None` when the requester can't be reached.
    fn addressed(&self, to: Requester<'_>, response: &Response<'_>) -> Option<(String, Bytes)> {
        let payload = if self.mode.is_sharded() {
            sharded::response(&self.uid, to.namespace, response)?
        } else {
            response.encode()
        };
        Some((self.answers_to(to)?, payload))
    }

    fn answers_to(&self, to: Requester<'_>) -> Option<String> {
        match to.uid {
            uid if self.mode.is_sharded() => Some(self.channels.room(to.namespace, uid?)),
            Some(uid) if self.specific_response_channel => Some(self.channels.response_to(to.namespace, uid)),
            _ => Some(self.channels.response(to.namespace)),
        }
    }

    /// Hands an event between servers to whoever listens, and answers for them. With too much awaited nobody hears it.
    fn hear(self: &Arc<Self>, from: Requester<'_>, event: Option<Encoded>) {
        let event = event.filter(|_| self.listener.get().is_some());
        let Some((event, awaited)) = event.and_then(|event| Some((event, self.awaited.room(1)?))) else {
            self.answer_server_event(from, None);
            return;
        };
        let core = Arc::clone(self);
        let (namespace, uid) = (from.namespace.to_owned(), from.uid.map(str::to_owned));
        let id = from.id.cloned();
        self.tasks.spawn(async move {
            let _awaited = awaited;
            let Some(listener) = core.listener.get() else { return };
            let answer = core.leaving.run_until_cancelled(listener.0.event(&namespace, event)).await;
            let from = Requester { namespace: &namespace, uid: uid.as_deref(), id: id.as_ref() };
            core.answer_server_event(from, answer.flatten());
        });
    }

    fn answer_server_event(&self, to: Requester<'_>, answer: Option<String>) {
        let Some(id) = to.id else { return };
        // What is no JSON is no answer.
        let answer = answer.and_then(|json| RawValue::from_string(json).ok());
        let response = Response::server_side_emit(id, answer);
        if self.mode.is_sharded() {
            if let Some((channel, payload)) = self.addressed(to, &response) {
                self.publish(channel, payload);
            }
        } else {
            // Always on the channel that all members hear, unlike every other answer.
            self.publish(self.channels.response(to.namespace), response.encode());
        }
    }

    /// Delivers an event that wants acks: answers at once how many clients it goes to, and then each of their acks,
    /// as long as the requester waits. A client that doesn't answer is not mentioned again. With too much awaited the clients
    /// get the event, and their acks don't go back.
    fn collect_acks(self: &Arc<Self>, from: Requester<'_>, broadcast: Broadcast) {
        let name = from.namespace;
        let here = broadcast.namespace.as_deref().unwrap_or("/") == name;
        let Some(namespace) = self.hub.namespace(name).filter(|_| here) else {
            self.answer(from, |id| Response::client_count(id, 0));
            return;
        };
        let (Some(id), Some(channel)) = (from.id.cloned(), self.answers_to(from)) else {
            self.deliver_now(&namespace, broadcast);
            return;
        };
        let sockets = namespace.sockets(&broadcast.targets);
        // Before the first ack: the requester compares sums.
        if let Some((channel, payload)) = self.addressed(from, &Response::client_count(&id, sockets.len())) {
            self.publish(channel, payload);
        }
        if sockets.is_empty() {
            return;
        }
        let Some(awaited) = self.awaited.room(sockets.len()) else {
            self.deliver_now(&namespace, broadcast);
            return;
        };
        let timeout = broadcast.flags.timeout.unwrap_or(ACK_TIMEOUT).min(ACK_TIMEOUT);
        let (core, event, name) = (Arc::clone(self), broadcast.event, name.to_owned());
        self.tasks.spawn(async move {
            let _awaited = awaited;
            let mut acks: FuturesUnordered<_> =
                sockets.iter().map(|socket| socket.emit_with_ack(event.clone(), timeout)).collect();
            while let Some(Some(answer)) = core.leaving.run_until_cancelled(acks.next()).await {
                let Ok(args) = answer else { continue };
                let payload = if core.mode.is_sharded() {
                    sharded::broadcast_ack(&core.uid, &name, &id, &args)
                } else {
                    response::broadcast_ack(&id, &args)
                };
                match payload {
                    Ok(payload) => core.publish(channel.clone(), payload),
                    Err(error) => {
                        metrics::dropped(Drop::Invalid, 1);
                        tracing::debug!(error = %error, "a client's ack can't go to the node that asked");
                    }
                }
            }
        });
    }

    fn deliver_now(self: &Arc<Self>, namespace: &Namespace, broadcast: Broadcast) {
        let mut arrivals = Arrivals::default();
        self.deliver(namespace, broadcast, &mut arrivals);
        arrivals.hand_over(self);
    }

    /// Delivers an event that its sender numbered: the client's code is given a way to answer, as on a Node server. There
    /// is no way back for the answer, so nobody waits for it.
    pub(crate) fn deliver_numbered(self: &Arc<Self>, namespace: &Namespace, event: Encoded, targets: &Targets) {
        let sockets = namespace.sockets(targets);
        if sockets.is_empty() {
            return;
        }
        let Some(awaited) = self.awaited.room(sockets.len()) else {
            namespace.deliver(&Packet::new(event), targets, false);
            return;
        };
        let core = Arc::clone(self);
        self.tasks.spawn(async move {
            let _awaited = awaited;
            let mut acks: FuturesUnordered<_> =
                sockets.iter().map(|socket| socket.emit_with_ack(event.clone(), ACK_TIMEOUT)).collect();
            while let Some(Some(_)) = core.leaving.run_until_cancelled(acks.next()).await {}
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
