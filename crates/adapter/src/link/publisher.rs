//! Publishes what is queued.

use std::sync::Arc;

use redis::Cmd;
use tokio::time::sleep;
use trunkline_redis::{Commands, Error};

use super::{Side, Trouble, queue::Message};
use crate::{
    core::Core,
    limits::{PROBE_INTERVAL, RETRY_PAUSE},
    metrics::{self, Drop},
};

/// Publishes what is queued, in order and in batches, until the queue is closed and empty. What Redis could not be given
/// waits; what it was given and did not confirm may have been delivered, and isn't sent again: an answer that comes
/// twice is worse for a requester than one that doesn't come.
pub(crate) async fn run(core: Arc<Core>, commands: Commands) {
    loop {
        let batch = tokio::select! {
            biased;
            batch = core.queue.batch() => batch,
            () = probe(&core, &commands) => continue,
        };
        let Some(batch) = batch else { break };
        let Published { trouble, unsent } = publish(&commands, batch).await;
        report(&core, trouble);
        if !unsent.is_empty() {
            core.queue.put_back(unsent);
            sleep(RETRY_PAUSE).await;
        }
    }
    core.status.down(Side::Publisher, Trouble::Closed);
}

/// Finds out whether Redis can be published to, while nothing is.
async fn probe(core: &Core, commands: &Commands) {
    if core.status.is_up(Side::Publisher) {
        sleep(PROBE_INTERVAL).await;
    }
    let pong = commands.idempotent::<()>(&redis::cmd("PING")).await;
    let failed = pong.is_err();
    report(core, pong.err().as_ref().map(Trouble::of));
    if failed {
        sleep(RETRY_PAUSE).await;
    }
}

fn report(core: &Core, trouble: Option<Trouble>) {
    match trouble {
        None if !core.status.is_up(Side::Publisher) => core.status.up(Side::Publisher),
        Some(why) if core.status.is_up(Side::Publisher) => {
            core.status.down(Side::Publisher, why);
            tracing::warn!(cause = %why, "not publishing to the other nodes, trying again");
        }
        _ => {}
    }
}

struct Published {
    /// What is wrong with the connection.
    trouble: Option<Trouble>,
    /// What Redis could not be given, in order.
    unsent: Vec<Message>,
}

/// One round trip.
async fn publish(commands: &Commands, batch: Vec<Message>) -> Published {
    let outcomes = commands.batch(&batch.iter().map(command).collect::<Vec<_>>()).await;
    let (mut published, mut refused, mut unconfirmed) = (0, 0, 0);
    let mut result = Published { trouble: None, unsent: Vec::new() };
    for (message, outcome) in batch.into_iter().zip(outcomes) {
        let Err(error) = outcome else {
            published += 1;
            continue;
        };
        match error {
            Error::Unreachable { .. } | Error::Busy { .. } => {
                result.trouble = Some(Trouble::of(&error));
                result.unsent.push(message);
            }
            Error::Unconfirmed { .. } => {
                result.trouble = Some(Trouble::of(&error));
                unconfirmed += 1;
            }
            Error::Refused { .. } | Error::Unexpected { .. } => {
                if refused == 0 {
                    tracing::warn!(error = %error, cause = %error.cause(), "Redis refused to publish");
                }
                refused += 1;
            }
        }
    }
    metrics::published(published);
    metrics::dropped(Drop::Refused, refused);
    metrics::dropped(Drop::Unconfirmed, unconfirmed);
    result
}

fn command(message: &Message) -> Cmd {
    let mut command = redis::cmd(if message.sharded { "SPUBLISH" } else { "PUBLISH" });
    command.arg(&message.channel).arg(&*message.payload);
    command
}
