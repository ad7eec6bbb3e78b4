//! Whether what is published comes back: a connection can be open, and answer, and yet hear nothing.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::Trouble;
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
}

impl Probe {
    pub(crate) fn last(&self) -> Option<LastProbe> {
        *self.last.lock()
    }

    /// One came back.
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

/// Publishes a message to ourselves now and then. Returns when one does not come back although Redis took it.
pub(crate) async fn run(core: &Core) -> Trouble {
    let mut returned = core.probe.returned.subscribe();
    let channel = core.channels.probe();
    loop {
        let number = rand::random();
        let sent = Instant::now();
        if core.status.is_up(super::Side::Subscriber) && publish(core, &channel, number).await {
            let back = returned.wait_for(|newest| *newest == number);
            match timeout(PROBE_TIMEOUT, back).await {
                Ok(_) => core.probe.passed(sent.elapsed()),
                Err(_) => return Trouble::Deaf,
            }
        }
        sleep(PROBE_INTERVAL).await;
    }
}

/// Whether Redis took it. If not, that is the other connection's trouble.
async fn publish(core: &Core, channel: &str, number: u64) -> bool {
    let commands = core.commands.lock().as_ref().map(|commands| commands.0.clone());
    let Some(mut commands) = commands else { return false };
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(channel).arg(number);
    matches!(timeout(PROBE_TIMEOUT, publish.query_async::<()>(&mut commands)).await, Ok(Ok(())))
}
