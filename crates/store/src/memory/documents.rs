//! Documents, in memory.

use super::{Filled, now_ms, payload};
use crate::documents::check;
use crate::keys::Realm;
use crate::{DOCUMENT_KEPT, Document, Documents, Publication, Publish, Result, Written};
use ahash::AHashMap;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::sync::Arc;

/// Writes between two looks for documents that nobody changed for long.
const WRITES_PER_TIDYING: u64 = 10_000;

pub(crate) struct MemoryDocuments {
    table: Arc<Table>,
    realm: Realm,
}

/// The documents of all realms, by scoped id.
pub(crate) struct Table {
    publish: Publish,
    documents: Mutex<Texts>,
}

#[derive(Default)]
struct Texts {
    /// With the time of the last change.
    by_id: AHashMap<String, (Document, i64)>,
    writes: u64,
}

impl Table {
    pub(crate) fn new(publish: Publish) -> Self {
        Self { publish, documents: Mutex::default() }
    }
}

impl MemoryDocuments {
    pub(crate) fn new(table: Arc<Table>, realm: Realm) -> Self {
        Self { table, realm }
    }
}

impl Texts {
    fn tidy(&mut self, now: i64) {
        self.writes += 1;
        if self.writes.is_multiple_of(WRITES_PER_TIDYING) {
            let kept_ms = i64::try_from(DOCUMENT_KEPT.as_millis()).unwrap_or(i64::MAX);
            self.by_id.retain(|_, (_, changed_ms)| *changed_ms > now.saturating_sub(kept_ms));
        }
    }
}

#[async_trait]
impl Documents for MemoryDocuments {
    async fn get(&self, document: &str) -> Result<Document> {
        let texts = self.table.documents.lock();
        Ok(texts.by_id.get(&self.realm.scoped(document)).map(|(document, _)| document.clone()).unwrap_or_default())
    }

    async fn write(
        &self,
        document: &str,
        content: &str,
        base: Option<u64>,
        publications: &[Publication],
    ) -> Result<Written> {
        check(content)?;
        let (mut texts, now) = (self.table.documents.lock(), now_ms());
        texts.tidy(now);
        let scoped = self.realm.scoped(document);
        let current = texts.by_id.get(&scoped).map(|(document, _)| document);
        let version = current.map_or(0, |current| current.version);
        if base.is_some_and(|base| base != version) {
            return Ok(Written::Conflict(current.cloned().unwrap_or_default()));
        }
        let version = version + 1;
        let payloads =
            publications.iter().map(|publication| payload(publication, Filled { seq: version, ..Filled::default() }));
        let payloads: Vec<Vec<u8>> = payloads.collect::<Result<_>>()?;
        texts.by_id.insert(scoped, (Document { content: content.to_owned(), version }, now));
        for (publication, payload) in publications.iter().zip(payloads) {
            (self.table.publish)(&publication.channel, &payload);
        }
        Ok(Written::Stored { version })
    }
}
