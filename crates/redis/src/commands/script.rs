//! Scripts, by their digest; loaded where they are not known.

use redis::{ErrorKind, ServerErrorKind, Value};
use tokio::time::Instant;

use super::{Again, Commands};
use crate::{
    error::{Error, Result},
    script::Call,
};

/// A slot may move between loading and running: then the script is unknown once more.
const LOADS: usize = 3;

pub(super) async fn run(commands: &Commands, call: &Call<'_>, deadline: Instant) -> Result<Value> {
    let command = call.command();
    let slot = commands.slot_of(&command);
    let mut loads = 0;
    loop {
        match commands.dispatch(&command, slot, Again::Never, deadline).await {
            Err(error) if is_unknown(&error) && loads < LOADS => loads += 1,
            answer => return answer,
        }
        // Boxed, because every call has a future with room for this, and few need it.
        let load = call.script().load();
        Box::pin(commands.dispatch(&load, slot, Again::Harmless, deadline)).await?;
    }
}

fn is_unknown(error: &Error) -> bool {
    error.cause().kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
