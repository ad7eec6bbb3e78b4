//! Users, conversations, messages, presence and typing: commands in, effects out.
//!
//! No event names in here: a dialect turns events into calls of [`Domain`], and [`Effect`]s into events. Where
//! sockets of several namespaces are concerned, each namespace hears of an effect in the words of its own dialect.

mod conversations;
mod messages;
mod presence;
mod session;
mod typing;

use std::{sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use trunkline_adapter::Cluster;
use trunkline_hub::{RoomName, Socket, Targets};
use trunkline_protocol::{Code, Failure, ids, native::Message};
use trunkline_store::{Store, StoreError};

pub use presence::PresencePolicy;
pub use session::Session;

use crate::dialects::Dialect;

/// What happened, for the clients that should hear of it.
#[derive(Clone, Copy, Debug)]
pub enum Effect<'a> {
    /// A user's first socket came.
    Online {
        /// Who.
        user: &'a str,
    },
    /// A user's last socket is gone.
    Offline {
        /// Who.
        user: &'a str,
        /// Milliseconds since 1970.
        last_seen_ms: i64,
    },
    /// A socket connected.
    UserJoined {
        /// Whose.
        user: &'a str,
        /// Milliseconds since 1970.
        at_ms: i64,
    },
    /// A user came into a conversation.
    MemberJoined {
        /// Which one.
        conversation: &'a str,
        /// Who.
        user: &'a str,
        /// Milliseconds since 1970.
        at_ms: i64,
    },
    /// A user left a conversation.
    MemberLeft {
        /// Which one.
        conversation: &'a str,
        /// Who.
        user: &'a str,
        /// Milliseconds since 1970.
        at_ms: i64,
    },
    /// A user types, or stopped.
    Typing {
        /// Where.
        conversation: &'a str,
        /// Who.
        user: &'a str,
        /// Whether it began.
        started: bool,
    },
    /// This node is going away.
    Shutdown {
        /// How long to wait before coming back.
        reconnect_after: Duration,
    },
}

/// A namespace and what is spoken in it.
#[derive(Clone)]
pub struct Speaker {
    /// The namespace.
    pub namespace: String,
    /// Its dialect.
    pub dialect: Arc<dyn Dialect>,
}

impl std::fmt::Debug for Speaker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Speaker").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// What the commands work on.
pub struct Domain {
    cluster: Cluster,
    store: Store,
    speakers: Vec<Speaker>,
    presence: PresencePolicy,
    /// Tasks that outlive the event that began them: departures, typing that stops by itself.
    tasks: TaskTracker,
    /// Set when the node shuts down: what waits, stops waiting.
    leaving: CancellationToken,
}

impl std::fmt::Debug for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Domain").finish_non_exhaustive()
    }
}

impl Domain {
    /// The domain over a cluster and a store, heard in these namespaces.
    pub fn new(cluster: Cluster, store: Store, speakers: Vec<Speaker>, presence: PresencePolicy) -> Self {
        Self { cluster, store, speakers, presence, tasks: TaskTracker::new(), leaving: CancellationToken::new() }
    }

    /// Stops everything that waits, and returns when it has stopped. The last call.
    pub async fn close(&self) {
        self.leaving.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// From here on sockets that go are moving, not leaving: their users stay online for the grace, and the nodes that
    /// remain announce who did not come back.
    pub fn leave(&self) {
        self.leaving.cancel();
    }

    /// Tells one socket that this node is going away, in the words of its namespace.
    pub fn announce_shutdown(&self, socket: &Socket, reconnect_after: Duration) {
        let speaker = self.speakers.iter().find(|speaker| speaker.namespace == socket.namespace().name());
        if let Some(event) = speaker.and_then(|speaker| speaker.dialect.words(Effect::Shutdown { reconnect_after })) {
            socket.emit(event);
        }
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

/// Everyone in a conversation but this socket.
fn others_in(conversation: &str, socket: &Socket) -> Targets {
    Targets::room(conversation).except(socket.id().room())
}

fn user_room(user: &str) -> RoomName {
    ids::user_room(user).into()
}

/// A command failed because of the store. Details are for the log, not for the client.
fn store_failure(error: &StoreError) -> Failure {
    if matches!(error, StoreError::InvalidCursor) {
        Failure::invalid("cursor is none that this server gave out")
    } else if error.retryable() {
        tracing::warn!(error = %Chain(error), "the store is unavailable");
        Failure::new(Code::Unavailable, "the message store is unavailable, try again")
    } else {
        tracing::error!(error = %Chain(error), "the store failed");
        Failure::new(Code::Internal, "internal error")
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

/// Checks that `user` may enter `room`, which is not the own room of a socket on this node.
fn may_enter(socket: &Socket, user: &str, room: &str) -> Result<(), Failure> {
    ids::check("conversationId", room)?;
    ids::may_enter(user, room)?;
    if socket.namespace().socket(room).is_some() {
        return Err(Failure::forbidden("this name is another connection's"));
    }
    Ok(())
}

/// A message on its way into the log, for a dialect to put into words.
pub type NewMessage = Message;
