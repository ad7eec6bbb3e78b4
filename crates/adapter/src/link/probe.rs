//! Whether what is published comes back: a connection can be open, and answer, and yet hear nothing.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{Side, Trouble};
use crate::{
    core::Core,
    limits::{PROBE_INTERVAL, PROBE_TIMEOUT},
    metrics,
};

/// When a message to ourselves came back last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastProbe {
    /// When it came back.
    pub at: Instant,
    /// How long it was under way: to Redis and back.
    pub round_trip: Duration,
}

/// Messages to ourselves. Each holds a random number, so that no earlier one, and nobody else's, counts.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    last: Mutex<Option<LastProbe>>,
    returned: watch::Sender<u64>,
    /// Counts all that is heard.
    heard: AtomicU64,
}

impl Probe {
    pub(crate) fn last(&self) -> Option<LastProbe> {
        *self.last.lock()
    }

    /// Something came in, whatever it was.
    pub(crate) fn heard(&self) {
        self.heard.fetch_add(1, Ordering::Relaxed);
    }

    /// A message to ourselves came back.
    pub(crate) fn returned(&self, payload: &[u8]) {
        if let Some(number) = std::str::from_utf8(payload).ok().and_then(|text| text.parse::<u64>().ok()) {
            self.returned.send_replace(number);
        }
    }

    fn passed(&self, round_trip: Duration) {
        *self.last.lock() = Some(LastProbe { at: Instant::now(), round_trip });
        metrics::probed(round_trip);
    }
}

/// Publishes a message to ourselves now and then. Returns when Redis took one and nothing at all was heard since: while
/// others are, it may only be waiting for its turn.
pub(crate) async fn run(core: &Core) -> Trouble {
    let Some(commands) = core.commands.as_ref() else { return std::future::pending().await };
    let mut returned = core.probe.returned.subscribe();
    loop {
        sleep(PROBE_INTERVAL).await;
        if !core.status.is_up(Side::Subscriber) {
            continue;
        }
        let number: u64 = rand::random();
        let (sent, heard) = (Instant::now(), core.probe.heard.load(Ordering::Relaxed));
        let mut publish = redis::cmd(if core.mode.is_sharded() { "SPUBLISH" } else { "PUBLISH" });
        publish.arg(core.channels.probe()).arg(number);
        if commands.command::<()>(&publish).await.is_err() {
            // That is the other connection's trouble, and its publisher finds out by itself.
            continue;
        }
        match timeout(PROBE_TIMEOUT, returned.wait_for(|newest| *newest == number)).await {
            Ok(_) => core.probe.passed(sent.elapsed()),
            Err(_) if !core.status.is_up(Side::Subscriber) => {}
            Err(_) if core.probe.heard.load(Ordering::Relaxed) == heard => return Trouble::Deaf,
            Err(_) => {}
        }
    }
}
