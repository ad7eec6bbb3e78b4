//! Who writes what can wait for a moment: a task per core goes through the connections that have something to send. Until it
//! gets to them more is queued for them, and goes out in the same system calls.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
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

pub(super) struct Flushers {
    each: Box<[Flusher]>,
    /// For how long packets for many gather before they are written.
    delay: Duration,
    began: Instant,
}

#[derive(Default)]
struct Flusher {
    waiting: Mutex<Vec<Arc<Connection>>>,
    /// That have been queued for them since the last round began, by those who can wait.
    packets: AtomicUsize,
    /// Until when it pauses, in nanoseconds since the beginning.
    pauses_until: AtomicU64,
    more: Notify,
}

impl Flushers {
    /// So many, that let packets for many gather for `delay`.
    pub(super) fn new(count: usize, delay: Duration) -> Self {
        let each = (0..count.max(1)).map(|_| Flusher::default()).collect();
        Self { each, delay, began: Instant::now() }
    }

    pub(super) fn count(&self) -> usize {
        self.each.len()
    }

    /// Always the same one for a connection, so that two of them don't wait for one outbox.
    fn of(&self, connection: &Connection) -> &Flusher {
        &self.each[connection.number() % self.each.len()]
    }

    /// Puts a connection for which so many `packets` were queued into its flusher's list, unless it is in it.
    pub(super) fn add(&self, connection: &Arc<Connection>, packets: usize) {
        let flusher = self.of(connection);
        flusher.packets.fetch_add(packets, Ordering::Relaxed);
        flusher.list(connection);
    }

    /// The same for what should not wait for a pause: then it is written at once.
    pub(super) fn add_next(&self, connection: &Arc<Connection>) {
        let flusher = self.of(connection);
        if self.pause(flusher).is_zero() {
            flusher.list(connection);
        } else {
            connection.flush();
        }
    }

    /// What is left of a flusher's pause.
    fn pause(&self, flusher: &Flusher) -> Duration {
        let until = Duration::from_nanos(flusher.pauses_until.load(Ordering::Relaxed));
        // Most of the time there is none, and no need to look at the clock.
        let left = if until.is_zero() { until } else { until.saturating_sub(self.began.elapsed()) };
        left.max(self.delay)
    }

    /// The task of flusher number `at`. With a delay it lets packets gather before it writes.
    ///
    /// It does so too when a round through many connections has just ended in which several packets met. Writing at once would be
    /// a system call per packet and recipient then, and leave no time to fetch the next packets: under load, waiting for some
    /// milliseconds makes every one of them arrive earlier. Packets that come one by one, each when the last has gone out, would
    /// only wait: they are written at once.
    pub(super) async fn run(&self, at: usize, stop: CancellationToken) {
        let Some(flusher) = self.each.get(at) else { return };
        let mut connections = Vec::new();
        loop {
            tokio::select! {
                () = flusher.more.notified() => {}
                () = stop.cancelled() => return,
            }
            let pause = self.pause(flusher);
            if pause.is_zero() {
                // A runtime runs the task that was woken last first: all others that are ready may have something to send too.
                tokio::task::yield_now().await;
            } else {
                // At the end nothing more gathers.
                stop.run_until_cancelled(tokio::time::sleep(pause)).await;
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
            let pause = pause_after(count, packets, begun.elapsed());
            let until = if pause.is_zero() { pause } else { self.began.elapsed() + pause };
            flusher.pauses_until.store(u64::try_from(until.as_nanos()).unwrap_or(0), Ordering::Relaxed);
        }
    }
}

impl Flusher {
    fn list(&self, connection: &Arc<Connection>) {
        if !connection.mark() {
            return;
        }
        let first = {
            let mut waiting = self.waiting.lock();
            waiting.push(Arc::clone(connection));
            waiting.len() == 1
        };
        if first {
            self.more.notify_one();
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
