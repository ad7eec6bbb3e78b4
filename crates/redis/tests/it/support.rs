//! What all tests use.

use std::time::Duration;

use redis::Cmd;
use trunkline_redis::{Commands, Event, Events, Limits, Message, PubSub, Topology};

/// For what should happen at once, on a machine that is busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Runs a test, and fails it when it takes too long.
pub(crate) async fn within_deadline(test: impl Future<Output = ()>) {
    let limit = 4 * DEADLINE;
    assert!(tokio::time::timeout(limit, test).await.is_ok(), "the test did not end within {limit:?}");
}

pub(crate) fn topology(url: &str) -> Topology {
    url.parse().unwrap()
}

pub(crate) fn start(url: &str) -> (Commands, PubSub, Events) {
    let topology = topology(url);
    let (pubsub, events) = PubSub::start(&topology, Limits::default());
    (Commands::new(&topology), pubsub, events)
}

pub(crate) async fn next(events: &mut Events) -> Event {
    tokio::time::timeout(DEADLINE, events.next())
        .await
        .expect("an event within the deadline")
        .expect("the stream goes on")
}

/// The next message; what else happens is skipped.
pub(crate) async fn next_message(events: &mut Events) -> Message {
    loop {
        if let Event::Message(message) = next(events).await {
            return message;
        }
    }
}

/// Skips everything up to a loss.
pub(crate) async fn lost(events: &mut Events) {
    while !matches!(next(events).await, Event::Lost(_)) {}
}

/// Skips everything up to [`Event::Restored`].
pub(crate) async fn restored(events: &mut Events) {
    while next(events).await != Event::Restored {}
}

pub(crate) fn cmd(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    command.arg(words);
    command
}
