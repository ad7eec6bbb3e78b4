//! Tokens of open sockets: told before they run out, renewed, closed when they have.
//!
//! One task looks after all sockets of the node; one without an end to its token costs nothing.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use trunkline_hub::{CloseReason, Socket};
use trunkline_protocol::{Code, Failure, native};

use super::{Domain, Effect, Session};
use crate::time::{iso, now_ms, since_epoch_ms};

/// How long before the end a socket is told.
const NOTICE_MS: i64 = 30_000;

/// When nothing is due, the clock is looked at all the same: it may have been set.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What is due when, in milliseconds since 1970. The number keeps entries of one moment apart.
type Key = (i64, u64);

#[derive(Debug)]
enum Due {
    Notice(Socket),
    End(Socket),
}

/// The sockets whose tokens have an end.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    due: Mutex<BTreeMap<Key, Due>>,
    /// Told when something is due earlier than what was awaited.
    sooner: Notify,
    numbers: AtomicU64,
}

/// Where the socket of a session stands in [`Tokens`].
#[derive(Debug, Default)]
pub(super) struct Watched(Vec<Key>);

impl Tokens {
    /// Looks after `socket` until its token's end, in place of what was planned for it before.
    fn watch(&self, socket: &Socket, session: &Session, expires_at: Option<SystemTime>, leeway: Duration) {
        let mut watched = session.watched.lock();
        self.forget(&mut watched);
        let Some(expires_at) = expires_at else { return };
        let end = since_epoch_ms(expires_at);
        let leeway = i64::try_from(leeway.as_millis()).unwrap_or(i64::MAX);
        let planned = [
            (end.saturating_sub(NOTICE_MS), Due::Notice(socket.clone())),
            (end.saturating_add(leeway), Due::End(socket.clone())),
        ];
        let mut due = self.due.lock();
        let first = due.keys().next().copied();
        for (at, what) in planned {
            let key = (at, self.numbers.fetch_add(1, Ordering::Relaxed));
            due.insert(key, what);
            watched.0.push(key);
        }
        if due.keys().next().copied() != first {
            self.sooner.notify_one();
        }
    }

    fn forget(&self, watched: &mut Watched) {
        let mut due = self.due.lock();
        watched.0.drain(..).for_each(|key| drop(due.remove(&key)));
    }

    fn take_due(&self, now: i64) -> Vec<Due> {
        let mut due = self.due.lock();
        let later = due.split_off(&(now.saturating_add(1), 0));
        std::mem::replace(&mut *due, later).into_values().collect()
    }

    fn pause(&self, now: i64) -> Duration {
        let next = self.due.lock().keys().next().map(|(at, _)| u64::try_from(at - now).unwrap_or_default());
        next.map_or(LONGEST_SLEEP, |ms| Duration::from_millis(ms).min(LONGEST_SLEEP))
    }
}

impl Domain {
    /// Looks after the tokens of all sockets until `stop`. Once per node.
    pub async fn watch_tokens(&self, stop: CancellationToken) {
        loop {
            for due in self.tokens.take_due(now_ms()) {
                match due {
                    Due::Notice(socket) => tell(&socket),
                    Due::End(socket) => socket.close(CloseReason::TokenExpired),
                }
            }
            tokio::select! {
                () = tokio::time::sleep(self.tokens.pause(now_ms())) => {}
                () = self.tokens.sooner.notified() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// From here on `socket` is closed when its token ends. The greeting is out: a notice comes after it.
    pub(super) fn watch_token(&self, socket: &Socket) {
        if let Some(session) = Session::of(socket) {
            self.tokens.watch(socket, session, session.expires_at(), self.leeway);
        }
    }

    /// The socket is gone: its token is nobody's business any more.
    pub(super) fn forget_token(&self, socket: &Socket) {
        if let Some(session) = Session::of(socket) {
            self.tokens.forget(&mut session.watched.lock());
        }
    }

    /// Gives a socket a newer token, of the same user.
    ///
    /// # Errors
    /// `unauthenticated` for a token that nobody would be let in with, `forbidden` for another user's, `invalid` where
    /// there are no tokens, `unavailable`. The old token goes on to count.
    pub async fn refresh(&self, socket: &Socket, token: &str) -> Result<native::Refreshed, Failure> {
        let Some(session) = Session::of(socket) else { return Err(Failure::invalid("this connection is nobody's")) };
        let Some(renewed) = self.authenticator.renew(token).await else {
            return Err(Failure::invalid("this server does not use tokens"));
        };
        let identity = renewed.map_err(|error| Failure::new(error.code(), error.to_string()))?;
        if identity.user != session.identity.user {
            return Err(Failure::new(Code::Forbidden, "this token is another user's"));
        }
        session.set_expires_at(identity.expires_at);
        self.tokens.watch(socket, session, identity.expires_at, self.leeway);
        Ok(native::Refreshed { expires_at: identity.expires_at.map(|at| iso(since_epoch_ms(at))) })
    }
}

fn tell(socket: &Socket) {
    let Some(session) = Session::of(socket) else { return };
    let Some(expires_at) = session.expires_at() else { return };
    session.domain.tell(socket, Effect::TokenExpiring { expires_at_ms: since_epoch_ms(expires_at) });
}
