//! What the gateway keeps about one socket.

use std::{sync::Arc, time::SystemTime};

use parking_lot::Mutex;
use trunkline_hub::Socket;

use super::{
    Domain,
    documents::KnownVersions,
    limits::{Limits, Verdict},
    tokens::Watched,
    typing::Typing,
};
use crate::{
    auth::Identity,
    resume::{CatchUp, Reader, Recoverable},
};

/// Kept with a socket from the moment it is let in.
#[derive(Debug)]
pub struct Session {
    /// Who it is.
    pub identity: Identity,
    /// What its commands work on: the common domain, or its realm's.
    pub(super) domain: Arc<Domain>,
    /// Whether the store knows that it is here. Held across the call, so that a late registration
    /// cannot overtake the departure.
    pub(super) registration: tokio::sync::Mutex<Registration>,
    /// Where it is typing.
    pub(super) typing: Mutex<Typing>,
    /// What it calls itself, in dialects where sockets do.
    name: Mutex<Option<Box<str>>>,
    /// Conversations that it was just answered about, until the answers are out.
    answered: Mutex<Vec<CatchUp>>,
    /// Direct conversations in which what comes live waits until it has what it missed.
    expected: Mutex<Vec<Reader>>,
    /// When its token runs out: as in `identity`, until it is renewed.
    expires_at: Mutex<Option<SystemTime>>,
    pub(super) watched: Mutex<Watched>,
    limits: Option<Box<Limits>>,
    /// The versions of documents that it has from us.
    pub(super) documents: Mutex<KnownVersions>,
    /// How its client comes back as what it is; `None` when it can't.
    pub(crate) recoverable: Option<Box<Recoverable>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registration {
    Pending,
    Known,
    Gone,
}

impl Session {
    /// For a socket that was let in.
    pub(crate) fn new(
        identity: Identity,
        domain: Arc<Domain>,
        limits: Option<Limits>,
        recoverable: Option<Recoverable>,
    ) -> Self {
        Self {
            recoverable: recoverable.map(Box::new),
            expires_at: Mutex::new(identity.expires_at),
            identity,
            domain,
            registration: tokio::sync::Mutex::new(Registration::Pending),
            typing: Mutex::default(),
            name: Mutex::default(),
            answered: Mutex::default(),
            expected: Mutex::default(),
            watched: Mutex::default(),
            limits: limits.map(Box::new),
            documents: Mutex::default(),
        }
    }

    /// The name that was set last. It is shown to others and means nothing to the domain.
    pub fn name(&self) -> Option<Box<str>> {
        self.name.lock().clone()
    }

    /// Lets the socket call itself something.
    pub fn set_name(&self, name: &str) {
        *self.name.lock() = Some(name.into());
        // Who comes back as what it was does not say its name again, and the store does not know it.
        if let Some(recoverable) = &self.recoverable {
            recoverable.not_again();
        }
    }

    /// The answer that is about to go out says what the socket has of a conversation; what is newer follows it.
    pub(super) fn answered(&self, catch_up: CatchUp) {
        self.answered.lock().push(catch_up);
    }

    /// What was noted since the last call.
    pub(crate) fn take_answered(&self) -> Vec<CatchUp> {
        std::mem::take(&mut *self.answered.lock())
    }

    /// What comes live waits behind this reader.
    pub(crate) fn expect(&self, reader: Reader) {
        self.expected.lock().push(reader);
    }

    /// The readers that were made before it heard anything.
    pub(crate) fn take_expected(&self) -> Vec<Reader> {
        std::mem::take(&mut *self.expected.lock())
    }

    /// When its token runs out, if it does.
    pub fn expires_at(&self) -> Option<SystemTime> {
        *self.expires_at.lock()
    }

    pub(super) fn set_expires_at(&self, at: Option<SystemTime>) {
        *self.expires_at.lock() = at;
    }

    /// Counts an event against the socket's limits.
    pub(crate) fn judge(&self, event: &str) -> Verdict {
        self.limits.as_ref().map_or(Verdict::Fine, |limits| limits.judge(event))
    }

    /// The session of a socket that was let in.
    pub fn of(socket: &Socket) -> Option<&Self> {
        socket.state()
    }
}

/// A socket's name in the store. A lane may use one id for all namespaces of a connection; the store counts each.
pub(crate) fn store_id(socket: &Socket) -> String {
    store_name(socket.namespace().name(), socket.id())
}

/// What the store would call a socket with this id in this namespace.
pub(super) fn store_name(namespace: &str, id: &str) -> String {
    match namespace {
        "/" => id.to_owned(),
        namespace => format!("{id}@{namespace}"),
    }
}
