//! Who writes after a fan-out: a task per core goes through the connections that have something to send. While it
//! does, more is queued for them, and goes out in the same system calls.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;

/// Connections written to before other tasks get their turn.
const TURN: usize = 32;

pub(super) struct Flushers(Box<[Flusher]>);

#[derive(Default)]
struct Flusher {
    waiting: Mutex<Vec<Arc<Connection>>>,
    more: Notify,
}

impl Flushers {
    pub(super) fn new(count: usize) -> Self {
        Self((0..count.max(1)).map(|_| Flusher::default()).collect())
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Puts a connection into a flusher's list, unless it is in one.
    pub(super) fn add(&self, connection: &Arc<Connection>) {
        if !connection.mark() {
            return;
        }
        // Always the same one for a connection, so that two of them don't wait for one outbox.
        let flusher = &self.0[Arc::as_ptr(connection) as usize / 64 % self.0.len()];
        let first = {
            let mut waiting = flusher.waiting.lock();
            waiting.push(Arc::clone(connection));
            waiting.len() == 1
        };
        if first {
            flusher.more.notify_one();
        }
    }

    /// The task of flusher number `at`. With a `delay` it lets packets gather before it writes.
    pub(super) async fn run(&self, at: usize, delay: Duration, stop: CancellationToken) {
        let Some(flusher) = self.0.get(at) else { return };
        let mut connections = Vec::new();
        loop {
            tokio::select! {
                () = flusher.more.notified() => {}
                () = stop.cancelled() => return,
            }
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            std::mem::swap(&mut *flusher.waiting.lock(), &mut connections);
            for (number, connection) in connections.drain(..).enumerate() {
                connection.flush_marked();
                if number % TURN == TURN - 1 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}
