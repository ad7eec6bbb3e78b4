//! Who writes after a fan-out: a task per core goes through the connections that have something to send. While it
//! does, more is queued for them, and goes out in the same system calls.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;

/// Connections written to before other tasks get their turn.
const TURN: usize = 32;

/// After a round through many connections that found several packets for each there is a pause of so many times its length,
/// within these bounds: a flusher spends a fifth of its time writing, and nobody waits longer than they would notice.
const PAUSE_FACTOR: u32 = 4;
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(20);

pub(super) struct Flushers(Box<[Flusher]>);

#[derive(Default)]
struct Flusher {
    waiting: Mutex<Vec<Arc<Connection>>>,
    /// That have been queued for them since the last round began.
    packets: AtomicUsize,
    more: Notify,
}

impl Flushers {
    pub(super) fn new(count: usize) -> Self {
        Self((0..count.max(1)).map(|_| Flusher::default()).collect())
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Puts a connection for which so many `packets` were queued into a flusher's list, unless it is in one.
    pub(super) fn add(&self, connection: &Arc<Connection>, packets: usize) {
        // Always the same one for a connection, so that two of them don't wait for one outbox.
        let flusher = &self.0[connection.number() % self.0.len()];
        flusher.packets.fetch_add(packets, Ordering::Relaxed);
        if !connection.mark() {
            return;
        }
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
    ///
    /// It does so too when a round through many connections has just ended in which several packets met. Writing at once would be
    /// a system call per packet and recipient then, and leave no time to fetch the next packets: under load, waiting for some
    /// milliseconds makes every one of them arrive earlier. Packets that come one by one, each when the last has gone out, would
    /// only wait: they are written at once.
    pub(super) async fn run(&self, at: usize, delay: Duration, stop: CancellationToken) {
        let Some(flusher) = self.0.get(at) else { return };
        let mut connections = Vec::new();
        let mut rested = Instant::now();
        loop {
            tokio::select! {
                () = flusher.more.notified() => {}
                () = stop.cancelled() => return,
            }
            let pause = delay.max(rested.saturating_duration_since(Instant::now()));
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let begun = Instant::now();
            std::mem::swap(&mut *flusher.waiting.lock(), &mut connections);
            let (packets, count) = (flusher.packets.swap(0, Ordering::Relaxed), connections.len());
            for (number, connection) in connections.drain(..).enumerate() {
                connection.flush_marked();
                if number % TURN == TURN - 1 {
                    tokio::task::yield_now().await;
                }
            }
            let ended = Instant::now();
            rested = ended + pause_after(count, packets, ended - begun);
        }
    }
}

/// How long to let packets gather after a round through so many `connections` that found so many `packets` for them.
fn pause_after(connections: usize, packets: usize, took: Duration) -> Duration {
    let met = packets > connections + connections / 2;
    if met && connections > TURN { (PAUSE_FACTOR * took).clamp(PAUSE_MIN, PAUSE_MAX) } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(3);

    #[test]
    fn packets_that_come_one_by_one_do_not_wait() {
        assert_eq!(pause_after(1000, 1000, TOOK), Duration::ZERO);
        assert_eq!(pause_after(1000, 1400, TOOK), Duration::ZERO, "a few more are no load");
    }

    #[test]
    fn where_several_met_the_next_gather_too_and_nobody_waits_long() {
        assert_eq!(pause_after(1000, 2000, TOOK), 4 * TOOK);
        assert_eq!(pause_after(1000, 16_000, 10 * TOOK), PAUSE_MAX);
        assert_eq!(pause_after(33, 66, Duration::ZERO), PAUSE_MIN);
    }

    #[test]
    fn a_round_through_few_is_followed_at_once() {
        assert_eq!(pause_after(TURN, 100 * TURN, TOOK), Duration::ZERO);
    }
}
