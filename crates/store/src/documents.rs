//! Texts that several users edit.

use crate::{Publication, Result, StoreError};
use async_trait::async_trait;
use std::time::Duration;

/// Bytes of a document's content.
pub const MAX_DOCUMENT_BYTES: usize = 1_000_000;

/// How long a document is kept that nobody changed.
pub const DOCUMENT_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// Its content; the store does not look into it.
    pub content: String,
    /// 1 for the first content, then one more with each change; 0 while there is none.
    pub version: u64,
}

/// The outcome of [`Documents::write`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It has the new content, in this version.
    Stored {
        /// The new version.
        version: u64,
    },
    /// It has another version than the one that was to be replaced: nothing was changed or published.
    Conflict(Document),
}

/// Documents by id.
#[async_trait]
pub trait Documents: Send + Sync {
    /// The document; empty and of version 0 if there is none.
    async fn get(&self, document: &str) -> Result<Document>;

    /// Replaces the content and publishes `publications` in one step, so that publications have the order of versions.
    /// With `base`, only if that is still the version; without, in any case: the last writer wins.
    ///
    /// In a publication [`Fill::Seq`](crate::Fill::Seq) is the new version; the other fills are empty strings.
    ///
    /// # Errors
    /// [`TooLarge`](crate::StoreError::TooLarge) beyond [`MAX_DOCUMENT_BYTES`].
    async fn write(
        &self,
        document: &str,
        content: &str,
        base: Option<u64>,
        publications: &[Publication],
    ) -> Result<Written>;
}

/// Whether content may be stored at all.
pub(crate) fn check(content: &str) -> Result<()> {
    if content.len() > MAX_DOCUMENT_BYTES {
        return Err(StoreError::TooLarge { what: "the document", limit: MAX_DOCUMENT_BYTES });
    }
    Ok(())
}
