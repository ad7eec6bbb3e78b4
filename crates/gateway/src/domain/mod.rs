//! Users, conversations, messages, presence and typing: commands in, effects out.
//!
//! No event names in here: a dialect turns events into calls of [`Domain`], and [`Effect`]s into events. Where
//! sockets of several namespaces are concerned, each namespace hears of an effect in the words of its own dialect.

mod announcements;
mod audience;
mod caller;
mod conversations;
mod documents;
mod effect;
mod inbox;
mod limits;
mod messages;
mod online;
mod presence;
mod receipts;
mod recovery;
mod revisions;
mod session;
mod signals;
mod tokens;
mod typing;

use std::{sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use trunkline_adapter::Cluster;
use trunkline_hub::{Encoded, RoomName, Socket, SocketId, Targets};
use trunkline_protocol::{Code, Failure, ids};
use trunkline_store::{Memos, Store, StoreError};

pub(crate) use audience::Hearers;
pub use audience::PresencePolicy;
pub use caller::Caller;
pub use documents::EditOutcome;
pub use effect::{Effect, Member};
pub(crate) use recovery::{Ask, Returning};
pub use session::Session;
pub(crate) use session::store_id;

pub(crate) use limits::{Limits, Verdict};

use self::{announcements::Announcements, audience::Audience, tokens::Tokens};
use crate::{auth::Authenticator, config::Notify, dialects::Dialect, resume::Streams};

/// A namespace and what is spoken in it.
#[derive(Clone)]
pub struct Speaker {
    /// The namespace.
    pub namespace: String,
    /// Its dialect.
    pub dialect: Arc<dyn Dialect>,
}

/// Tells a socket that this node is going away, in the words of its namespace.
pub fn announce_shutdown(socket: &Socket, reconnect_after: Duration) {
    if let Some(session) = Session::of(socket) {
        session.domain.tell(socket, Effect::Shutdown { reconnect_after });
    }
}

impl std::fmt::Debug for Speaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Speaker").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// Whether the one who sends hears it too, see [`Domain::relay`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relay {
    /// All but the sending socket.
    Others,
    /// The sending socket too.
    All,
}

/// What the commands work on: everything that the nodes share of one realm. Static namespaces share the common realm,
/// a dynamic one is a realm of its own.
pub struct Domain {
    cluster: Cluster,
    pub(crate) store: Store,
    /// The namespaces of this realm.
    speakers: Vec<Speaker>,
    authenticator: Authenticator,
    policy: Policy,
    audience: Arc<Audience>,
    announcements: Announcements,
    leeway: Duration,
    tokens: Arc<Tokens>,
    /// Who came and went and is not told yet.
    news: online::Gathered,
    /// Tasks that outlive the event that began them: departures, typing that stops by itself.
    pub(crate) tasks: TaskTracker,
    /// Set when the node shuts down: what waits, stops waiting.
    leaving: CancellationToken,
    /// The stored messages on their way to this node's sockets.
    pub(crate) streams: Arc<Streams>,
    /// Ends the repairing, when there is nobody left to repair for.
    pub(crate) closing: CancellationToken,
}

/// What the operator decided.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Of users coming and going.
    pub presence: PresencePolicy,
    /// Who may send notifications to others.
    pub notify: Notify,
    /// Whether stock clients may come back as what they are.
    pub recovery: bool,
}

/// What a [`Domain`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where effects go.
    pub cluster: Cluster,
    /// Where things are kept.
    pub store: Store,
    /// The static namespaces.
    pub speakers: Vec<Speaker>,
    /// Tells who clients are.
    pub authenticator: Authenticator,
    /// What the operator decided.
    pub policy: Policy,
    /// How long after its token's end a socket is closed.
    pub leeway: Duration,
    /// The stored messages on their way to this node's sockets.
    pub streams: Arc<Streams>,
}

impl std::fmt::Debug for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Domain").finish_non_exhaustive()
    }
}

impl Domain {
    /// The common realm.
    pub fn new(parts: Parts) -> Self {
        let Parts { cluster, store, speakers, authenticator, policy, leeway, streams } = parts;
        Self {
            cluster,
            store,
            speakers,
            authenticator,
            policy,
            audience: Arc::new(Audience::new(policy.presence)),
            announcements: Announcements::default(),
            leeway,
            tokens: Arc::default(),
            news: online::Gathered::default(),
            tasks: TaskTracker::new(),
            leaving: CancellationToken::new(),
            streams,
            closing: CancellationToken::new(),
        }
    }

    /// A realm of one namespace, with users, conversations and messages of its own.
    #[must_use]
    pub fn realm(&self, speaker: Speaker) -> Self {
        Self {
            cluster: self.cluster.clone(),
            store: self.store.realm(&speaker.namespace),
            speakers: vec![speaker],
            authenticator: self.authenticator.clone(),
            policy: self.policy,
            audience: Arc::clone(&self.audience),
            announcements: Announcements::default(),
            leeway: self.leeway,
            tokens: Arc::clone(&self.tokens),
            news: online::Gathered::default(),
            tasks: self.tasks.clone(),
            leaving: self.leaving.clone(),
            streams: Arc::clone(&self.streams),
            closing: self.closing.clone(),
        }
    }

    /// Takes part in a namespace of this realm, on all nodes.
    pub fn serve(&self, namespace: &str) {
        self.cluster.serve(namespace);
    }

    /// Takes no part in a namespace any more.
    pub fn unserve(&self, namespace: &str) {
        self.cluster.unserve(namespace);
    }

    /// Small facts that all nodes share for a while.
    pub fn memos(&self) -> &dyn Memos {
        &*self.store.memos
    }

    /// Tells who clients are.
    pub fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Stops everything that waits, and returns when it has stopped. The last call.
    pub async fn close(&self) {
        self.leaving.cancel();
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// From here on sockets that go are moving, not leaving: their users stay online for the grace, and the nodes that
    /// remain announce who did not come back.
    pub fn leave(&self) {
        self.leaving.cancel();
    }

    /// Tells one socket, in the words of its namespace.
    pub(crate) fn tell(&self, socket: &Socket, effect: Effect<'_>) {
        if let Some(event) = self.words(socket.namespace().name(), effect) {
            socket.emit(event);
        }
    }

    /// Sends an event of a dialect's own to sockets of `socket`'s namespace: nothing is stored, and no other dialect hears of
    /// it. With `room`, to its members, which must be a room that the sender may enter; else to everyone.
    ///
    /// # Errors
    /// `invalid` or `forbidden`.
    pub async fn relay(
        &self,
        socket: &Socket,
        room: Option<&str>,
        to: Relay,
        event: Encoded,
        volatile: bool,
    ) -> Result<(), Failure> {
        let caller = Caller::of(socket)?;
        let targets = match room {
            Some(room) => {
                self.may_address(caller, room).await?;
                Targets::room(room)
            }
            None => Targets::everyone(),
        };
        let targets = match to {
            Relay::Others => caller.others(targets),
            Relay::All => targets,
        };
        self.cluster.emit(socket.namespace().name(), event, &targets, volatile);
        Ok(())
    }

    /// An effect as the event of a namespace; `None` when its dialect has no word for it.
    pub(crate) fn words(&self, namespace: &str, effect: Effect<'_>) -> Option<Encoded> {
        self.speaker(namespace)?.dialect.words(effect)
    }

    /// Tells a socket that something it asked for by connecting could not be done.
    pub(crate) fn failed(&self, socket: &Socket, what: &str, failure: &Failure) {
        if let Some(speaker) = self.speaker(socket.namespace().name()) {
            speaker.dialect.failed(socket, what, failure);
        }
    }

    fn speaker(&self, namespace: &str) -> Option<&Speaker> {
        self.speakers.iter().find(|speaker| speaker.namespace == namespace)
    }

    /// Checks that the caller may send to `room` or read it: who may not enter may not address either.
    ///
    /// # Errors
    /// `invalid` or `forbidden`; `unavailable` when that can't be found out.
    async fn may_address(&self, caller: Caller<'_>, room: &str) -> Result<(), Failure> {
        caller.may_enter(room)?;
        let names = self.socket_names(room);
        // Who is in it was let in.
        if names.is_empty() || caller.socket().is_some_and(|socket| socket.is_in(room)) {
            return Ok(());
        }
        match self.store.presence.any_socket(&names).await {
            Ok(false) => Ok(()),
            Ok(true) => Err(caller::others_socket()),
            Err(error) => Err(store_failure(&error)),
        }
    }

    /// What the store would call a socket with this name, in each namespace; none when no socket can have it.
    fn socket_names(&self, name: &str) -> Vec<String> {
        if !SocketId::is_possible(name) {
            return Vec::new();
        }
        self.speakers.iter().map(|speaker| session::store_name(&speaker.namespace, name)).collect()
    }

    /// Tells everyone in `targets`, in all namespaces.
    fn announce(&self, effect: Effect<'_>, targets: &Targets, volatile: bool) {
        for speaker in &self.speakers {
            if let Some(event) = speaker.dialect.words(effect) {
                self.cluster.emit(&speaker.namespace, event, targets, volatile);
            }
        }
    }
}

/// The other one of a direct conversation of this user's.
fn others_of_direct(user: &str, conversation: &str) -> Option<String> {
    ids::direct_members(conversation).map(|(a, b)| if a == user { b } else { a })
}

fn internal() -> Failure {
    Failure::new(Code::Internal, "internal error")
}

/// A join that can't be acknowledged: what other nodes send to the room would not arrive.
fn unheard() -> Failure {
    Failure::new(Code::Unavailable, "the other nodes can't be heard now, try again")
}

pub(crate) fn user_room(user: &str) -> RoomName {
    ids::user_room(user).into()
}

/// A command failed because of the store. Details are for the log, not for the client.
pub(crate) fn store_failure(error: &StoreError) -> Failure {
    match error {
        StoreError::InvalidCursor => Failure::invalid("cursor is none that this server gave out"),
        StoreError::NotFound => revisions::no_message(),
        StoreError::NotTheSender => revisions::not_yours(),
        StoreError::TooLarge { .. } => Failure::new(Code::TooLarge, error.to_string()),
        StoreError::Unavailable { .. } => {
            tracing::warn!(error = %Chain(error), "the store is unavailable");
            Failure::new(Code::Unavailable, "the message store is unavailable, try again")
        }
        StoreError::Refused { .. } | StoreError::Corrupt { .. } => {
            tracing::error!(error = %Chain(error), "the store failed");
            internal()
        }
    }
}

/// An error with its causes, for a log line.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
