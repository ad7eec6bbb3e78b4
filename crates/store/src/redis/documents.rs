//! Documents, in Redis.

use super::Link;
use super::log::add_publications;
use super::scripts::WRITE;
use crate::documents::check;
use crate::keys::Realm;
use crate::{DOCUMENT_KEPT, Document, Documents, Publication, Result, Written};
use async_trait::async_trait;
use std::sync::Arc;

pub(crate) struct RedisDocuments {
    link: Arc<Link>,
    realm: Realm,
}

impl RedisDocuments {
    pub(crate) fn new(link: Arc<Link>, realm: Realm) -> Self {
        Self { link, realm }
    }
}

#[async_trait]
impl Documents for RedisDocuments {
    async fn get(&self, document: &str) -> Result<Document> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.realm.document(document)).arg("content").arg("version");
        let (content, version): (Option<String>, Option<u64>) = self.link.command(&command).await?;
        Ok(Document { content: content.unwrap_or_default(), version: version.unwrap_or(0) })
    }

    async fn write(
        &self,
        document: &str,
        content: &str,
        base: Option<u64>,
        publications: &[Publication],
    ) -> Result<Written> {
        check(content)?;
        let mut script = WRITE.key(self.realm.document(document));
        script.arg(content).arg(base.map(|base| base.to_string()).unwrap_or_default());
        script.arg(DOCUMENT_KEPT.as_secs() * 1_000);
        add_publications(&mut script, publications);
        let (stored, version, content): (bool, u64, String) = self.link.script(&script).await?;
        Ok(if stored { Written::Stored { version } } else { Written::Conflict(Document { content, version }) })
    }
}
