//! The way to Redis: the shared connections of `trunkline-redis`, with this crate's errors.

use crate::Result;
use redis::{Cmd, FromRedisValue, ScriptInvocation};
use trunkline_redis::{Commands, Topology};

/// Connections that are made when they are needed. Nothing runs while nobody calls.
///
/// What may have been carried out is never sent twice: only the caller knows whether that matters.
pub(crate) struct Link(Commands);

impl Link {
    pub(crate) fn new(topology: &Topology) -> Self {
        Self(Commands::new(topology))
    }

    /// How often a connection was made. If it has grown, Redis may have restarted in between, or another server
    /// become master.
    pub(crate) fn connects(&self) -> u64 {
        self.0.connects()
    }

    /// Runs a script, loading it where it is not known.
    pub(crate) async fn script<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T> {
        Ok(self.0.script(script).await?)
    }

    /// Runs one command.
    pub(crate) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        Ok(self.0.command(command).await?)
    }
}
