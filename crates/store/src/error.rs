//! What can go wrong with the store, and whether trying again helps.

use redis::{ErrorKind, RedisError, ServerErrorKind};
use std::error::Error;

/// The store's result.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Why the store did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Redis can't be reached, does not answer in time, or can't serve now (loading, failing over, out of memory).
    /// After a time-out it is unknown whether the operation took place.
    #[error("the store is not available")]
    Unavailable {
        /// What the connection said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Redis understood and said no: missing permission, a key of ours that holds something else, a server too old.
    #[error("the store refused the operation")]
    Refused {
        /// What Redis said.
        #[source]
        source: RedisError,
    },
    /// What is stored can't be understood.
    #[error("the store holds something unexpected: {what}")]
    Corrupt {
        /// What was found, where.
        what: String,
    },
    /// The message that was to be changed is not in the log, not any more, or was taken back.
    #[error("there is no such message to change")]
    NotFound,
    /// The message that was to be changed is another user's.
    #[error("only the sender of a message may change it")]
    NotTheSender,
    /// What was to be stored is larger than the store takes.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// What it was.
        what: &'static str,
        /// In bytes.
        limit: usize,
    },
    /// The cursor of a page was not one that this store gave out.
    #[error("the cursor is not valid")]
    InvalidCursor,
}

impl StoreError {
    /// True if the same call may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Refused { .. }
            | Self::Corrupt { .. }
            | Self::NotFound
            | Self::NotTheSender
            | Self::TooLarge { .. }
            | Self::InvalidCursor => false,
        }
    }

    pub(crate) fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable { source: source.into() }
    }

    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }
}

/// Errors of the server that pass by themselves and that the client library has no kind for.
const PASSING_CODES: [&str; 6] = ["OOM", "BUSY", "NOREPLICAS", "MISCONF", "UNBLOCKED", "CLUSTERDOWN"];

impl From<RedisError> for StoreError {
    fn from(source: RedisError) -> Self {
        let passing = match source.kind() {
            ErrorKind::UnexpectedReturnType | ErrorKind::Parse => return Self::corrupt(source.to_string()),
            ErrorKind::Io
            | ErrorKind::ClusterConnectionNotFound
            | ErrorKind::MasterNameNotFoundBySentinel
            | ErrorKind::NoValidReplicasFoundBySentinel => true,
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly,
            ) => true,
            _ => source.code().is_some_and(|code| PASSING_CODES.contains(&code)),
        };
        if passing { Self::unavailable(source) } else { Self::Refused { source } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::make_extension_error;

    #[test]
    fn a_full_redis_may_be_tried_again_and_a_missing_permission_not() {
        let full = StoreError::from(make_extension_error("OOM".into(), None));
        assert!(full.retryable(), "{full:?}");
        let wrong = StoreError::from(make_extension_error("WRONGTYPE".into(), None));
        assert!(!wrong.retryable(), "{wrong:?}");
        let refused = StoreError::from(RedisError::from((ErrorKind::Server(ServerErrorKind::NoPerm), "no")));
        assert!(!refused.retryable(), "{refused:?}");
        let dropped = StoreError::from(RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe)));
        assert!(dropped.retryable(), "{dropped:?}");
    }
}
