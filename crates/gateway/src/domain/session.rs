//! What the gateway keeps about one socket.

use parking_lot::Mutex;
use trunkline_hub::Socket;

use super::typing::Typing;
use crate::auth::Identity;

/// Kept with a socket from the moment it is let in.
#[derive(Debug)]
pub struct Session {
    /// Who it is.
    pub identity: Identity,
    /// Whether the store knows that it is here. Held across the call, so that a late registration
    /// cannot overtake the departure.
    pub(super) registration: tokio::sync::Mutex<Registration>,
    /// Where it is typing.
    pub(super) typing: Mutex<Typing>,
    /// What it calls itself, in dialects where sockets do.
    name: Mutex<Option<Box<str>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registration {
    Pending,
    Known,
    Gone,
}

impl Session {
    /// For a socket that was let in.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            registration: tokio::sync::Mutex::new(Registration::Pending),
            typing: Mutex::default(),
            name: Mutex::default(),
        }
    }

    /// The name that was set last. It is shown to others and means nothing to the domain.
    pub fn name(&self) -> Option<Box<str>> {
        self.name.lock().clone()
    }

    /// Lets the socket call itself something.
    pub fn set_name(&self, name: &str) {
        *self.name.lock() = Some(name.into());
    }

    /// The session of a socket that was let in.
    pub fn of(socket: &Socket) -> Option<&Self> {
        socket.state()
    }
}

/// A socket's name in the store. A lane may use one id for all namespaces of a connection; the store counts each.
pub(super) fn store_id(socket: &Socket) -> String {
    match socket.namespace().name() {
        "/" => socket.id().to_string(),
        namespace => format!("{}@{namespace}", &**socket.id()),
    }
}
