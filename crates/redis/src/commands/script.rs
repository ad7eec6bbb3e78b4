//! Scripts, by their digest; loaded where they are not known.

use redis::{
    Cmd, ErrorKind, FromRedisValue, Pipeline, RedisFuture, RedisResult, ScriptInvocation, ServerErrorKind, Value,
    aio::ConnectionLike,
};
use tokio::time::Instant;

use super::{Again, Commands};
use crate::{
    error::{Error, Result},
    slots::slot_of,
};

/// A slot may move between loading and running: then the script is unknown once more.
const LOADS: usize = 3;

pub(super) async fn run<T: FromRedisValue>(
    commands: &Commands,
    script: &ScriptInvocation<'_>,
    deadline: Instant,
) -> Result<T> {
    let mut call = Call { commands, deadline, slot: None, failed: None };
    let mut tried = 0;
    loop {
        let answer: RedisResult<T> = script.invoke_async(&mut call).await;
        let source = match answer {
            Ok(value) => return Ok(value),
            Err(source) => source,
        };
        tried += 1;
        match call.failed.take() {
            Some(error) if is_unknown(&error) && tried < LOADS => {}
            Some(error) => return Err(error),
            None => return Err(Error::Unexpected { source }),
        }
    }
}

fn is_unknown(error: &Error) -> bool {
    error.cause().kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// What the client library takes for a connection while it runs one script. It has the digest and the order of steps, we
/// have the way.
struct Call<'a> {
    commands: &'a Commands,
    deadline: Instant,
    /// Where the script was sent, and so where it has to be loaded.
    slot: Option<u16>,
    /// The last error of a step, since the library knows only its own kind.
    failed: Option<Error>,
}

impl ConnectionLike for Call<'_> {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            self.slot = slot_of(command).or(self.slot);
            self.failed = None;
            match self.commands.dispatch(command, self.slot, Again::Never, self.deadline).await {
                Ok(value) => Ok(value),
                Err(error) => Err(self.failed.insert(error).cause().clone()),
            }
        })
    }

    fn req_packed_commands<'a>(&'a mut self, _: &'a Pipeline, _: usize, _: usize) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async { Err((ErrorKind::Client, "a script is no pipeline").into()) })
    }

    fn get_db(&self) -> i64 {
        0
    }
}
