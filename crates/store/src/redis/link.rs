//! The connection to Redis: one, pipelined, shared by all callers, replaced when it is lost.

use crate::{Result, StoreError};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, ProtocolVersion, PushInfo, PushKind, RedisError,
    RedisResult, ScriptInvocation,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Within it a call is answered or fails, connecting included.
const DEADLINE: Duration = Duration::from_secs(2);

/// Commands waiting to be written; further callers wait for room, until their deadline.
const QUEUE: usize = 1_024;

/// A connection that is made when it is needed. Nothing runs while nobody calls.
///
/// A command is never sent twice: after a failure it may have been carried out, and only the caller knows whether that
/// matters.
pub(crate) struct Link {
    client: Client,
    /// Held while connecting, so that callers share one attempt.
    current: Mutex<Option<Connection>>,
    connects: AtomicU64,
}

#[derive(Clone)]
struct Connection {
    commands: MultiplexedConnection,
    /// Set by whoever finds out first: the reader at the end of the stream, so that an idle connection that Redis
    /// closed fails nobody, or a caller that got no answer, since a peer that vanished never ends the stream.
    broken: Arc<AtomicBool>,
}

impl Link {
    pub(crate) fn new(client: &Client) -> Result<Self> {
        let info = client.get_connection_info().clone();
        // Only RESP3 tells of the end of a connection.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client =
            Client::open(info.set_redis_settings(settings)).map_err(|source| StoreError::Refused { source })?;
        Ok(Self { client, current: Mutex::new(None), connects: AtomicU64::new(0) })
    }

    /// How often a connection was made. If it has grown, Redis may have restarted in between.
    pub(crate) fn connects(&self) -> u64 {
        self.connects.load(Ordering::Acquire)
    }

    /// Runs a script, loading it if Redis doesn't know it.
    pub(crate) async fn script<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T> {
        self.within_deadline(async |mut commands| script.invoke_async(&mut commands).await).await
    }

    /// Runs one command.
    pub(crate) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        self.within_deadline(async |mut commands| command.query_async(&mut commands).await).await
    }

    async fn within_deadline<T>(&self, call: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>) -> Result<T> {
        let mut used = None;
        let answer = timeout(DEADLINE, async {
            let connection = used.insert(self.connection().await?);
            call(connection.commands.clone()).await
        })
        .await;
        let failure = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => {
                if is_lost(&error) {
                    mark_broken(used);
                }
                StoreError::from(error)
            }
            Err(elapsed) => {
                mark_broken(used);
                StoreError::unavailable(elapsed)
            }
        };
        Err(failure)
    }

    async fn connection(&self) -> RedisResult<Connection> {
        let mut current = self.current.lock().await;
        if let Some(connection) = current.as_ref().filter(|c| !c.broken.load(Ordering::Acquire)) {
            return Ok(connection.clone());
        }
        // Dropped first, so that a failed attempt leaves no connection that is known to be broken.
        *current = None;
        let connection = self.connect().await?;
        self.connects.fetch_add(1, Ordering::AcqRel);
        Ok(current.insert(connection).clone())
    }

    async fn connect(&self) -> RedisResult<Connection> {
        let broken = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&broken);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(DEADLINE))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE)
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    ended.store(true, Ordering::Release);
                }
                Ok::<(), redis::aio::SendError>(())
            });
        let commands = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Connection { commands, broken })
    }
}

fn mark_broken(used: Option<Connection>) {
    if let Some(connection) = used {
        connection.broken.store(true, Ordering::Release);
    }
}

/// A new connection may do better: this one has ended, or leads to a server that has become a replica. An answer of the
/// wrong shape is no reason: if the stream itself were garbled, its reader would end it.
fn is_lost(error: &RedisError) -> bool {
    let demoted = matches!(error.code(), Some("READONLY" | "MASTERDOWN"));
    demoted || (error.kind() != ErrorKind::Parse && (error.is_io_error() || error.is_unrecoverable_error()))
}
