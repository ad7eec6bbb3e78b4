//! The way to Redis: the shared connections of `trunkline-redis`, with this crate's errors.

use crate::Result;
use redis::{Cmd, FromRedisValue, Value};
use trunkline_redis::{Call, Commands, Topology};

/// Connections that are made when they are needed. Nothing runs while nobody calls.
///
/// What may have been carried out is never sent twice: only the caller knows whether that matters.
pub(crate) struct Link {
    commands: Commands,
    is_cluster: bool,
}

impl Link {
    pub(crate) fn new(topology: &Topology) -> Self {
        Self { commands: Commands::new(topology), is_cluster: topology.is_cluster() }
    }

    /// Whether keys with different tags may lie on different servers.
    pub(crate) fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    /// How often a connection was made. If it has grown, Redis may have restarted in between, or another server
    /// become master.
    pub(crate) fn connects(&self) -> u64 {
        self.commands.connects()
    }

    /// Runs a script, loading it where it is not known.
    pub(crate) async fn script<T: FromRedisValue>(&self, call: &Call<'_>) -> Result<T> {
        Ok(self.commands.script(call).await?)
    }

    /// Runs one command.
    pub(crate) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        Ok(self.commands.command(command).await?)
    }

    /// Runs many commands, in one round trip to each server.
    ///
    /// # Errors
    /// That of the first that failed; others may have been carried out.
    pub(crate) async fn batch(&self, commands: &[Cmd]) -> Result<Vec<Value>> {
        self.commands.batch(commands).await.into_iter().map(|answer| Ok(answer?)).collect()
    }
}
