//! What can go wrong with the store, and whether trying again helps.

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
        source: trunkline_redis::Error,
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

impl From<trunkline_redis::Error> for StoreError {
    fn from(source: trunkline_redis::Error) -> Self {
        use trunkline_redis::Error;
        match source {
            Error::Unreachable { .. } | Error::Unconfirmed { .. } | Error::Busy { .. } => Self::unavailable(source),
            Error::Refused { .. } => Self::Refused { source },
            Error::Unexpected { source } => Self::corrupt(source.to_string()),
        }
    }
}
