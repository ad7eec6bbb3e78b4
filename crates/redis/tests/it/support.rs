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

/// Publishes until a message comes through, as proof that commands and subscriptions have both healed; there may have been
/// losses meanwhile. Whatever came before is skipped.
pub(crate) async fn heard_again(commands: &Commands, events: &mut Events, verb: &str, channel: &str) {
    let heard = async {
        for n in 0.. {
            let payload = format!("probe {n}");
            let _ = commands.command::<i64>(&cmd(&[verb, channel, &payload])).await;
            let until = tokio::time::Instant::now() + Duration::from_millis(200);
            while let Ok(Some(event)) = tokio::time::timeout_at(until, events.next()).await {
                if matches!(event, Event::Message(message) if message.payload == payload) {
                    return;
                }
            }
        }
    };
    assert!(tokio::time::timeout(DEADLINE, heard).await.is_ok(), "{verb} {channel} was not heard within {DEADLINE:?}");
}

/// Writes until it is taken, and says how often it was not.
pub(crate) async fn written(commands: &Commands, key: &str) -> usize {
    let mut refused = 0;
    let writing = async {
        while let Err(error) = commands.command::<()>(&cmd(&["SET", key, "x"])).await {
            assert!(error.retryable(), "{error:?}");
            refused += 1;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, writing).await.is_ok(), "{key} could not be written within {DEADLINE:?}");
    refused
}
