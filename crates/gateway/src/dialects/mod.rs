//! Dialects: one file each turns events into commands of the domain, and effects into events.
//!
//! [`Gatekeeper`] is what the hub calls for every namespace: it lets clients in and hands their events to the
//! namespace's dialect.

pub mod conversations;
pub mod native;
pub mod online_users;
pub mod rooms;
pub mod showcase;
mod wire;

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::{Value, value::RawValue};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use trunkline_adapter::{Fill, Payload};
use trunkline_hub::{
    CloseReason, Encoded, Event, Gather, Handler, Handshake, Namespace, Packet, Recovery, Refusal, RoomName, Socket,
    Targets,
};
use trunkline_protocol::{
    Code, Failure, ids,
    native::{Deleted, Edited, Message, Stored},
};

use crate::{
    auth::AuthError,
    config::Rate,
    domain::{Ask, Domain, Effect, Limits, Session, Verdict},
    metrics,
    resume::Recoverable,
};

/// One way of naming what happens. What has a default is for those dialects that need it.
#[async_trait]
pub trait Dialect: Send + Sync + 'static {
    /// A socket is let in: what it is told here leaves together with the answer to CONNECT. Must not block.
    fn welcome(&self, _socket: &Socket) {}

    /// A socket is in: greet it with what takes asking. Nothing that it sent has been handled yet.
    async fn greet(&self, _domain: &Arc<Domain>, _socket: &Socket) {}

    /// A socket sent an event.
    async fn event(&self, domain: &Arc<Domain>, socket: &Socket, event: Event);

    /// This event is not handled: `why` says that the socket sends faster than it is served or may.
    fn refused(&self, socket: &Socket, event: Event, why: Failure);

    /// Something that the client asked for by connecting could not be done: `what` names it, as it stands in `auth`.
    fn failed(&self, _socket: &Socket, _what: &str, _failure: &Failure) {}

    /// The last word to a socket that is closed for `reason`.
    fn farewell(&self, reason: CloseReason) -> Option<Encoded>;

    /// An effect as this dialect's event; `None` when it has no word for it.
    fn words(&self, effect: Effect<'_>) -> Option<Encoded>;

    /// A new message as this dialect's event, less what only the store knows. `socket` is the one that sent it, if it was
    /// one; it need not be of this dialect.
    fn message(&self, message: &Message, socket: Option<&Socket>) -> Option<MessageWords>;

    /// A message that its sender changed, as this dialect's event; `seq` and `epoch` are filled in by the store.
    fn edited(&self, _: &Edited) -> Option<MessageWords> {
        None
    }

    /// A message that its sender took back, as [`edited`](Self::edited).
    fn deleted(&self, _: &Deleted) -> Option<MessageWords> {
        None
    }

    /// A document's new content, as this dialect's event; the version is filled in by the store, as `Fill::Seq`.
    fn document_edited(&self, _: &EditedDocument<'_>) -> Option<MessageWords> {
        None
    }

    /// A socket is gone. Its rooms can still be read; the domain has told the others already.
    async fn gone(&self, _domain: &Arc<Domain>, _socket: &Socket) {}

    /// How a client without credentials that we believe is refused.
    fn refusal(&self, error: AuthError) -> Refusal {
        error.into()
    }

    /// Whether somebody without a name may come in as a guest. Asked under `--auth insecure-query` only.
    fn admits_guests(&self) -> bool {
        false
    }

    /// Whether its sockets are told the users online: [`Effect::OnlineUsers`] and [`Effect::OnlineChanges`].
    fn wants_online_users(&self) -> bool {
        false
    }

    /// Which of its events are gathered for a client that asks for it as it connects.
    fn gathers(&self, _: &Handshake) -> Option<Gather> {
        None
    }

    /// An event that every socket is sent again and again, and the time in between.
    fn heartbeat(&self) -> Option<(Duration, Encoded)> {
        None
    }

    /// How often a socket may send events, if this dialect has a rule of its own besides `--rate-limit`.
    /// `--rate-limit off` switches it off.
    fn rate(&self) -> Option<EventRate> {
        None
    }
}

/// Sends `event` to every socket of these namespaces on this node, again after each `period`, until `stop`.
pub async fn heartbeat(
    namespaces: impl Fn() -> Vec<Namespace>,
    period: Duration,
    event: Encoded,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        for namespace in namespaces() {
            // Each namespace encodes its own name into it.
            namespace.deliver(&Packet::new(event.clone()), &Targets::everyone(), true);
        }
    }
}

/// A dialect's own rule of how often a socket may send, see [`Dialect::rate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRate {
    /// The event that counts; `None`: all.
    pub event: Option<&'static str>,
    /// How many of them in a row, and in `period`.
    pub events: NonZeroU32,
    /// The time in which as many come to be allowed again.
    pub period: Duration,
}

/// What [`Dialect::document_edited`] puts into words.
#[derive(Clone, Copy, Debug)]
pub struct EditedDocument<'a> {
    /// Which one.
    pub document: &'a str,
    /// All of it.
    pub content: &'a str,
    /// Where the editor's cursor is, as the editor's client says it.
    pub cursor: Option<&'a RawValue>,
    /// Who edited it.
    pub user: &'a str,
}

/// An event around something that is stored, see [`Dialect::message`].
#[derive(Debug)]
pub struct MessageWords {
    /// The event's name.
    pub event: &'static str,
    /// The message as JSON: an object, or any value when nothing is filled in.
    pub payload: String,
    /// The fields that the store adds to it.
    pub filled: &'static [(&'static str, Fill)],
    /// A JSON object to send the message in, and the name of the field for it.
    pub envelope: Option<(String, &'static str)>,
    /// Which of the sender's own sockets hear it.
    pub echo: Echo,
}

/// Which of a sender's own sockets hear what one of them sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// None because they are the sender's; those that joined the conversation do, but for the sending one.
    Members,
    /// All but the sending one, of a direct message too.
    Others,
    /// The sending one too.
    All,
}

impl MessageWords {
    /// The whole event around a message that stands at `stored`: what comes out of the template.
    pub fn complete(&self, stored: &Stored) -> Option<Encoded> {
        let mut payload: Value = serde_json::from_str(&self.payload).ok()?;
        for (field, fill) in self.filled {
            let value = match fill {
                Fill::Seq => stored.seq.into(),
                Fill::Epoch => stored.epoch.as_str().into(),
                Fill::MessageId => stored.id.as_str().into(),
                // Nothing that a client sees.
                Fill::Stamp => continue,
            };
            payload.as_object_mut()?.insert((*field).to_owned(), value);
        }
        if let Some((outer, field)) = &self.envelope {
            let mut outer: Value = serde_json::from_str(outer).ok()?;
            outer.as_object_mut()?.insert((*field).to_owned(), payload);
            payload = outer;
        }
        Some(Encoded::event(self.event, &payload))
    }

    /// For the adapter's template.
    pub fn as_payload(&self) -> Payload<'_> {
        let payload = Payload::new(&self.payload, self.filled);
        match &self.envelope {
            Some((outer, field)) => payload.inside(outer, field),
            None => payload,
        }
    }

    /// As an event, when nothing is left to be filled in.
    pub fn into_event(self) -> Encoded {
        let name = Value::from(self.event);
        let text = match self.envelope {
            None => format!("[{name},{}]", self.payload),
            Some((outer, field)) => {
                let (field, fields) = (Value::from(field), outer.trim_end().trim_end_matches('}'));
                let comma = if fields.ends_with('{') { "" } else { "," };
                format!("[{name},{fields}{comma}{field}:{}}}]", self.payload)
            }
        };
        Encoded::new(text, Vec::new())
    }
}

/// Lets clients into one namespace, and speaks its dialect with them.
pub struct Gatekeeper {
    domain: Arc<Domain>,
    dialect: Arc<dyn Dialect>,
    rules: Rules,
}

/// What holds in a namespace whatever it speaks.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How often a socket may send events.
    pub rate: Option<Rate>,
    /// Clients only listen.
    pub push_only: bool,
}

impl Gatekeeper {
    /// For one namespace of this domain's.
    pub fn new(domain: Arc<Domain>, dialect: Arc<dyn Dialect>, rules: Rules) -> Self {
        Self { domain, dialect, rules }
    }

    /// Why this event is not handled, if it isn't.
    fn objection(&self, socket: &Socket, event: &Event) -> Option<Failure> {
        if self.rules.push_only {
            return Some(Failure::forbidden("this namespace is for what the server sends"));
        }
        match Session::of(socket).map_or(Verdict::Fine, |session| session.judge(&event.name)) {
            Verdict::Fine => None,
            verdict => {
                metrics::rate_limited();
                if verdict == Verdict::Hopeless {
                    socket.close(CloseReason::RateLimited);
                }
                Some(Failure::new(Code::RateLimited, "too many events, slow down"))
            }
        }
    }
}

impl std::fmt::Debug for Gatekeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gatekeeper").finish_non_exhaustive()
    }
}

/// The span that every line about a socket is in.
fn span(socket: &Socket) -> tracing::Span {
    tracing::info_span!(
        "socket",
        id = %socket.id(),
        user = socket.user().map(|user| &**user),
        namespace = socket.namespace().name(),
    )
}

#[async_trait]
impl Handler for Gatekeeper {
    async fn connecting(&self, socket: &Socket) -> Result<(), Refusal> {
        let authenticator = self.domain.authenticator();
        let identity = authenticator.authenticate(socket.handshake(), self.dialect.admits_guests()).await;
        let identity = identity.map_err(|error| {
            let address = socket.handshake().address().map(tracing::field::display);
            tracing::info!(socket = %socket.id(), address, reason = %error, "refused");
            self.dialect.refusal(error)
        })?;
        socket.set_user(identity.user.as_str());
        let user_room = ids::user_room(&identity.user);
        let limits = self.rules.rate.map(|rate| Limits::new(rate, self.dialect.rate()));
        let recoverable = self.domain.recoverable(socket);
        socket.set_state(Session::new(identity, Arc::clone(&self.domain), limits, recoverable));
        self.domain.prepare(socket);
        socket.join(user_room);
        Ok(())
    }

    fn recovers(&self) -> bool {
        self.domain.recovers()
    }

    async fn recover(&self, namespace: &Namespace, handshake: &Handshake) -> Option<Recovery> {
        let ask = Ask::of(handshake)?;
        let identity = self.domain.authenticator().authenticate(handshake, self.dialect.admits_guests()).await.ok()?;
        let (id, recoverable) = self.domain.recall(namespace, ask, &identity).await?;
        let limits = self.rules.rate.map(|rate| Limits::new(rate, self.dialect.rate()));
        let session = Session::new(identity, Arc::clone(&self.domain), limits, Some(recoverable));
        Some(Recovery { id, state: Box::new(session) })
    }

    async fn recovering(&self, socket: &Socket) -> bool {
        let Some(session) = Session::of(socket) else { return false };
        let user = session.identity.user.as_str();
        socket.set_user(user);
        socket.join(ids::user_room(user));
        self.domain.put_back(socket).await
    }

    fn recovery_id(&self, socket: &Socket) -> Option<String> {
        Recoverable::of(socket).map(|recoverable| recoverable.id().to_owned())
    }

    fn moved(&self, socket: &Socket, room: &RoomName, joined: bool) {
        self.domain.moved(socket, room, joined);
    }

    fn gathers(&self, handshake: &Handshake) -> Option<Gather> {
        self.dialect.gathers(handshake)
    }

    fn opened(&self, socket: &Socket) {
        self.dialect.welcome(socket);
    }

    async fn connected(&self, socket: &Socket) {
        async {
            let address = socket.handshake().address().map(tracing::field::display);
            tracing::info!(address, transport = socket.transport(), "connected");
            self.dialect.greet(&self.domain, socket).await;
            self.domain.settle(socket);
            self.domain.make_up(socket).await;
            self.domain.resume(socket);
            self.domain.begin_session(socket);
            self.domain.arrive(socket).await;
        }
        .instrument(span(socket))
        .await;
    }

    async fn event(&self, socket: &Socket, event: Event) {
        // At debug level, because it is made for each event; an exporter of traces asks for it whatever is logged.
        // Attributes as OpenTelemetry's instrumentation for Socket.IO on Node names them.
        let event_span = tracing::debug_span!(
            "event",
            id = %socket.id(),
            user = socket.user().map(|user| &**user),
            otel.kind = "consumer",
            messaging.system = "socket.io",
            messaging.socket.io.event_name = format_args!("{:.100}", event.name),
            messaging.socket.io.namespace = socket.namespace().name(),
        );
        let handled = async {
            match self.objection(socket, &event) {
                Some(why) => self.dialect.refused(socket, event, why),
                None => self.dialect.event(&self.domain, socket, event).await,
            }
        };
        handled.instrument(event_span).await;
        // Behind the answer.
        self.domain.settle(socket);
    }

    fn refused(&self, socket: &Socket, event: Event) {
        let why = Failure::new(Code::RateLimited, "too many events are waiting, slow down");
        self.dialect.refused(socket, event, why);
    }

    fn farewell(&self, _: &Socket, reason: CloseReason) -> Option<Encoded> {
        self.dialect.farewell(reason)
    }

    async fn disconnected(&self, socket: &Socket, reason: CloseReason) {
        async {
            tracing::info!(reason = reason.code(), "disconnected");
            self.domain.end_session(socket, reason);
            self.domain.leave_all_conversations(socket).await;
            self.dialect.gone(&self.domain, socket).await;
            self.domain.depart(socket);
        }
        .instrument(span(socket))
        .await;
    }
}
