//! What can go wrong on the way to Redis, and whether trying again helps.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// This crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Why Redis did not do what it was asked to.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// There is no connection and none could be made. Nothing was sent.
    #[error("could not reach {what}")]
    Unreachable {
        /// The server, or the master or slot that no server was found for.
        what: String,
        /// What the attempt ended with.
        #[source]
        source: RedisError,
    },
    /// It was sent, and then the connection was lost or the deadline passed. It may or may not have been carried out.
    #[error("{what} did not confirm")]
    Unconfirmed {
        /// The server.
        what: String,
        /// What ended the wait.
        #[source]
        source: RedisError,
    },
    /// Redis answered that it can't do this now: it is loading, failing over, out of memory. Nothing was carried out.
    #[error("{what} can't serve now")]
    Busy {
        /// The server.
        what: String,
        /// What it said.
        #[source]
        source: RedisError,
    },
    /// Redis understood and said no: a wrong password, a missing permission, a server too old, keys of two slots.
    #[error("{what} refused")]
    Refused {
        /// The server.
        what: String,
        /// What it said.
        #[source]
        source: RedisError,
    },
    /// The answer is not of the type that was expected.
    #[error("redis answered something unexpected")]
    Unexpected {
        /// What does not fit.
        #[source]
        source: RedisError,
    },
}

impl Error {
    /// True if the same call may succeed later. Only [`Unconfirmed`](Self::Unconfirmed) may have taken effect already.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Unconfirmed { .. } | Self::Busy { .. } => true,
            Self::Refused { .. } | Self::Unexpected { .. } => false,
        }
    }

    /// What the client library said.
    pub fn cause(&self) -> &RedisError {
        match self {
            Self::Unreachable { source, .. }
            | Self::Unconfirmed { source, .. }
            | Self::Busy { source, .. }
            | Self::Refused { source, .. }
            | Self::Unexpected { source } => source,
        }
    }

    pub(crate) fn unreachable(what: &(impl ToString + ?Sized), source: impl Into<RedisError>) -> Self {
        Self::Unreachable { what: what.to_string(), source: source.into() }
    }

    /// The error of an attempt to connect.
    pub(crate) fn dialing(what: &(impl ToString + ?Sized), source: RedisError) -> Self {
        let what = what.to_string();
        match Meaning::of(&source) {
            // A wrong password is one, however often it is tried.
            Meaning::No => Self::Refused { what, source },
            _ => Self::Unreachable { what, source },
        }
    }

    /// The error of a command that was sent to `what`.
    pub(crate) fn answered(what: &(impl ToString + ?Sized), source: RedisError) -> Self {
        let what = what.to_string();
        match Meaning::of(&source) {
            Meaning::Lost => Self::Unconfirmed { what, source },
            Meaning::Moved | Meaning::Ask | Meaning::NotMaster | Meaning::Later | Meaning::Full => {
                Self::Busy { what, source }
            }
            Meaning::Shape => Self::Unexpected { source },
            Meaning::No => Self::Refused { what, source },
        }
    }
}

/// What an error of the client library means for the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The connection has ended; the command may have been carried out.
    Lost,
    /// Not carried out: the slot is at another node.
    Moved,
    /// Not carried out: the slot is on its way to another node, which must be told so.
    Ask,
    /// Not carried out: this server is no master.
    NotMaster,
    /// Not carried out: this server will be able to in a moment.
    Later,
    /// Not carried out: this server will be able to when somebody has helped it.
    Full,
    /// Carried out, and answered with another type than expected.
    Shape,
    /// Refused for good.
    No,
}

/// Answers that pass by themselves and that the client library has no kind for.
const PASSING: [&str; 5] = ["OOM", "BUSY", "NOREPLICAS", "MISCONF", "UNBLOCKED"];

impl Meaning {
    pub(crate) fn of(error: &RedisError) -> Self {
        match error.kind() {
            // A stream that can't be parsed is ended by its reader; this is about one answer.
            ErrorKind::UnexpectedReturnType | ErrorKind::Parse => Self::Shape,
            ErrorKind::Server(ServerErrorKind::Moved) => Self::Moved,
            ErrorKind::Server(ServerErrorKind::Ask) => Self::Ask,
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => Self::NotMaster,
            ErrorKind::Server(
                ServerErrorKind::BusyLoading | ServerErrorKind::TryAgain | ServerErrorKind::ClusterDown,
            ) => Self::Later,
            ErrorKind::Io => Self::Lost,
            _ if error.code().is_some_and(|code| PASSING.contains(&code)) => Self::Full,
            _ => Self::No,
        }
    }
}

/// Nothing was heard in time.
pub(crate) fn timed_out() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

#[cfg(test)]
mod tests {
    use redis::make_extension_error;

    use super::*;

    #[test]
    fn a_full_redis_may_be_tried_again_and_a_missing_permission_not() {
        let full = Error::answered("redis", make_extension_error("OOM".into(), None));
        assert!(full.retryable(), "{full:?}");
        let wrong = Error::answered("redis", make_extension_error("WRONGTYPE".into(), None));
        assert!(!wrong.retryable(), "{wrong:?}");
        let denied = Error::answered("redis", (ErrorKind::Server(ServerErrorKind::NoPerm), "no").into());
        assert!(!denied.retryable(), "{denied:?}");
        let dropped = Error::answered("redis", timed_out());
        assert!(matches!(dropped, Error::Unconfirmed { .. }), "{dropped:?}");
        let password = Error::dialing("redis", (ErrorKind::AuthenticationFailed, "no").into());
        assert!(!password.retryable(), "{password:?}");
    }
}
