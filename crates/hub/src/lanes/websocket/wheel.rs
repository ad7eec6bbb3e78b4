//! Heartbeats and deadlines of all connections, from one task: an idle connection holds no timer.
//!
//! Connections are spread over slots; each tick pings those of one slot, so that every connection is pinged once an
//! interval and the pings are spread evenly over it. Whoever has not answered a ping for the time-out is found at
//! a later tick, at most one tick late.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;

/// How many parts the ping interval is cut into.
const SLOTS: usize = 64;

pub(super) struct Wheel {
    slots: Box<[Mutex<Vec<Arc<Connection>>>]>,
    /// Where the next connection goes.
    next: AtomicUsize,
    /// Ticks so far; starts at 1, so that 0 can mean "never".
    now: AtomicU32,
    tick: Duration,
    /// Ticks that a ping may stay unanswered.
    timeout: u32,
    /// Connections that are in no namespace, in the order in which their time ends.
    unconnected: Mutex<VecDeque<(Instant, Weak<Connection>)>>,
    connect_timeout: Duration,
}

impl Wheel {
    pub(super) fn new(ping_interval: Duration, ping_timeout: Duration, connect_timeout: Duration) -> Self {
        let tick = (ping_interval / SLOTS as u32).max(Duration::from_millis(1));
        let ticks = ping_timeout.as_nanos().div_ceil(tick.as_nanos());
        Self {
            slots: (0..SLOTS).map(|_| Mutex::default()).collect(),
            next: AtomicUsize::new(0),
            now: AtomicU32::new(1),
            tick,
            timeout: u32::try_from(ticks).unwrap_or(u32::MAX).max(1),
            unconnected: Mutex::default(),
            connect_timeout,
        }
    }

    /// A connection begins.
    pub(super) fn add(&self, connection: &Arc<Connection>) {
        let slot = self.next.fetch_add(1, Ordering::Relaxed) % SLOTS;
        let mut connections = self.slots[slot].lock();
        connection.place.store(connections.len() * SLOTS + slot, Ordering::Relaxed);
        connections.push(Arc::clone(connection));
        drop(connections);
        self.expect_connect(connection);
    }

    /// A connection has ended.
    pub(super) fn remove(&self, connection: &Arc<Connection>) {
        // The slot never changes; the position does when another one is removed, under this lock.
        let slot = connection.place.load(Ordering::Relaxed) % SLOTS;
        let mut connections = self.slots[slot].lock();
        let at = connection.place.load(Ordering::Relaxed) / SLOTS;
        if connections.get(at).is_some_and(|found| Arc::ptr_eq(found, connection)) {
            connections.swap_remove(at);
            if let Some(moved) = connections.get(at) {
                moved.place.store(at * SLOTS + slot, Ordering::Relaxed);
            }
        }
    }

    /// A connection is in no namespace: it has a while to change that.
    pub(super) fn expect_connect(&self, connection: &Arc<Connection>) {
        let due = Instant::now() + self.connect_timeout;
        self.unconnected.lock().push_back((due, Arc::downgrade(connection)));
    }

    /// All connections there are.
    pub(super) fn connections(&self) -> Vec<Arc<Connection>> {
        self.slots.iter().flat_map(|slot| slot.lock().clone()).collect()
    }

    pub(super) async fn turn(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.advance(),
                () = stop.cancelled() => return,
            }
        }
    }

    fn advance(&self) {
        let now = self.now.fetch_add(1, Ordering::Relaxed);
        let pinged = |slot: usize| self.slots[slot % SLOTS].lock().clone();
        for connection in pinged(now as usize) {
            connection.ping(now);
        }
        // Those of this slot were pinged `timeout` ticks ago, and again since if that is more than a turn.
        for connection in pinged((now as usize).wrapping_sub(self.timeout as usize)) {
            let unanswered = connection.pinged.load(Ordering::Relaxed);
            if unanswered != 0 && now.wrapping_sub(unanswered) >= self.timeout {
                connection.timed_out();
            }
        }
        self.expire_unconnected();
    }

    fn expire_unconnected(&self) {
        let now = Instant::now();
        loop {
            let expired = {
                let mut unconnected = self.unconnected.lock();
                match unconnected.front() {
                    Some((due, _)) if *due <= now => unconnected.pop_front(),
                    _ => return,
                }
            };
            let connection = expired.and_then(|(_, connection)| connection.upgrade());
            if let Some(connection) = connection.filter(|connection| !connection.is_connected()) {
                connection.cut();
            }
        }
    }
}
