//! The connection that publishes.

use std::{sync::Arc, time::Instant};

use redis::{AsyncConnectionConfig, ProtocolVersion, PushInfo, PushKind, aio::MultiplexedConnection};
use tokio::{sync::Notify, time::timeout};

use super::{Backoff, Side, Trouble, queue::Message};
use crate::{
    core::Core,
    limits::{IO_TIMEOUT, PROBE_INTERVAL},
    metrics::{self, Drop},
};

/// Publishes what is queued until the queue is closed and empty, over as many connections as that takes.
pub(crate) async fn run(core: Arc<Core>, client: redis::Client) {
    let mut backoff = Backoff::new();
    loop {
        let connected = Instant::now();
        let why = match connect(&client).await {
            Ok((connection, lost)) => {
                core.set_commands(Some(connection.clone()));
                core.status.up(Side::Publisher);
                match publish(&core, connection, &lost).await {
                    Ok(()) => {
                        core.set_commands(None);
                        core.status.down(Side::Publisher, Trouble::Closed);
                        return;
                    }
                    Err(why) => why,
                }
            }
            Err(error) => {
                tracing::debug!(error = %error, "could not connect to publish");
                Trouble::of(&error)
            }
        };
        core.set_commands(None);
        core.status.down(Side::Publisher, why);
        tracing::warn!(cause = %why, "not publishing to the other nodes, connecting again");
        backoff.pause(connected.elapsed()).await;
    }
}

async fn connect(client: &redis::Client) -> redis::RedisResult<(MultiplexedConnection, Arc<Notify>)> {
    let info = client.get_connection_info();
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let client = redis::Client::open(info.clone().set_redis_settings(settings))?;
    let lost = Arc::new(Notify::new());
    let on_push = {
        let lost = Arc::clone(&lost);
        move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                lost.notify_one();
            }
            Ok::<(), redis::aio::SendError>(())
        }
    };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(IO_TIMEOUT))
        .set_response_timeout(Some(IO_TIMEOUT))
        .set_push_sender(on_push);
    let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    Ok((connection, lost))
}

async fn publish(core: &Core, mut connection: MultiplexedConnection, lost: &Notify) -> Result<(), Trouble> {
    loop {
        tokio::select! {
            // First of all: while the connection is known to be lost, nothing is taken from the queue.
            biased;
            () = lost.notified() => return Err(Trouble::Lost),
            batch = core.queue.batch() => match batch {
                Some(batch) => publish_batch(&mut connection, &batch).await?,
                None => return Ok(()),
            },
            () = tokio::time::sleep(PROBE_INTERVAL) => probe(&mut connection).await?,
        }
    }
}

/// One round trip. What Redis has not confirmed when the connection is lost may have been delivered: it isn't sent again,
/// because an answer that comes twice is worse for a requester than one that doesn't come.
async fn publish_batch(connection: &mut MultiplexedConnection, batch: &[Message]) -> Result<(), Trouble> {
    let mut pipeline = redis::Pipeline::with_capacity(batch.len());
    for message in batch {
        pipeline.cmd("PUBLISH").arg(&message.channel).arg(&*message.payload);
    }
    // One result per command, so that an error costs the message it is about and not the batch.
    pipeline.ignore_errors();
    match pipeline.query_async::<Vec<redis::RedisResult<redis::Value>>>(connection).await {
        Ok(results) => {
            let refused = results.iter().filter(|result| result.is_err()).count();
            metrics::published(results.len() - refused);
            if let Some(Err(error)) = results.iter().find(|result| result.is_err()) {
                metrics::dropped(Drop::Refused, refused);
                tracing::warn!(error = %error, refused, "Redis refused to publish");
            }
            Ok(())
        }
        Err(error) => {
            metrics::dropped(Drop::Unconfirmed, batch.len());
            Err(Trouble::of(&error))
        }
    }
}

/// Finds out whether the other end is still there, when nothing else would tell.
async fn probe(connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
    match timeout(IO_TIMEOUT, redis::cmd("PING").query_async::<()>(connection)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Trouble::of(&error)),
        Err(_) => Err(Trouble::Unresponsive),
    }
}
