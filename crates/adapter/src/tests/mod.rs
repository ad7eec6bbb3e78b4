//! What the pure parts promise, checked against captures of real Node servers and against chance.

mod arrivals;
mod captures;
mod client;
mod interest;
mod malformed;
mod properties;
mod serve;
mod sharded;

use std::{sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use trunkline_hub::Hub;

use crate::{
    channels::Channels,
    core::Core,
    fuzzing::{Nobody, same},
    link::{LinkState, Status, probe::Probe, queue::Queue},
    mode::Mode,
    response::Pending,
    serve::Awaited,
};

/// A member with the namespace `/` and without a link: what it publishes stays in its queue.
fn member() -> Arc<Core> {
    let hub = Hub::new();
    hub.add_namespace("/", Arc::new(Nobody));
    Arc::new(Core {
        hub,
        uid: "me".to_owned(),
        channels: Channels::new("socket.io", "me"),
        specific_response_channel: false,
        requests_timeout: Duration::from_secs(5),
        gather: Duration::ZERO,
        embedded: false,
        queue: Queue::default(),
        pending: Pending::default(),
        status: Status::new(LinkState::Connecting),
        mode: Mode::default(),
        interests: Arc::default(),
        probe: Probe::default(),
        commands: None,
        awaited: Awaited::default(),
        listener: std::sync::OnceLock::new(),
        tasks: TaskTracker::new(),
        leaving: CancellationToken::new(),
        stored: std::sync::OnceLock::new(),
    })
}

/// What the member has published since the last call: channel and text.
fn published(core: &Core) -> Vec<(String, String)> {
    let mut published = Vec::new();
    while let Some(batch) = core.queue.try_batch() {
        published.extend(
            batch.into_iter().map(|message| {
                (message.channel, String::from_utf8(message.payload.to_vec()).expect("answers are text"))
            }),
        );
    }
    published
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}
