//! Documents that several people edit: the last writer wins, or whoever knew the latest version.

use std::time::Duration;

use tokio::time::Instant;
use trunkline_hub::{Socket, Targets};
use trunkline_protocol::{
    Code, Failure, ids, limits,
    native::{DocumentCursor, DocumentEdit, DocumentState},
};
use trunkline_store::{Document, Written};

use super::{Caller, Domain, Effect, Session, messages::Broadcasts, store_failure};
use crate::dialects::{Dialect, EditedDocument};

/// Documents of one socket whose versions are remembered.
const REMEMBERED: usize = 64;

/// How long after others wrote in between an editor goes on to hear of its own edits: those that it had sent before it
/// heard of the first would otherwise be undone on its screen.
const CONTESTED: Duration = Duration::from_secs(5);

/// The versions that a socket was last told of, by its own doing: what it joined with and what its edits made.
#[derive(Debug, Default)]
pub(super) struct KnownVersions(Vec<Known>);

#[derive(Debug)]
struct Known {
    document: Box<str>,
    version: u64,
    /// When others were last found to have written in between.
    contested: Option<Instant>,
}

impl KnownVersions {
    fn get(&self, document: &str) -> Option<&Known> {
        self.0.iter().find(|known| *known.document == *document)
    }

    fn set(&mut self, document: &str, version: u64, contested: bool) {
        let before = self.get(document).and_then(|known| known.contested);
        self.0.retain(|known| *known.document != *document);
        if self.0.len() >= REMEMBERED {
            self.0.remove(0);
        }
        let contested = if contested { Some(Instant::now()) } else { before };
        self.0.push(Known { document: document.into(), version, contested });
    }
}

/// What became of an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditOutcome {
    /// It has this version now.
    Stored(u64),
    /// Somebody else was faster than the version that the edit was based on: this is what the document holds.
    Conflict(DocumentState),
}

impl Domain {
    /// Opens a document: the socket hears its edits from now on.
    ///
    /// # Errors
    /// `invalid` or `unavailable`: then it is not open.
    pub async fn open_document(&self, socket: &Socket, document: &str) -> Result<DocumentState, Failure> {
        ids::check("documentId", document)?;
        let room = ids::document_room(document);
        // Before it is read: an edit in between comes live, and its version tells that it is newer or known.
        let fresh = socket.join(room.as_str());
        let read = match socket.namespace().heard(&[room.as_str().into()]).await {
            true => self.store.documents.get(document).await.map_err(|error| store_failure(&error)),
            false => Err(super::unheard()),
        };
        match read {
            Ok(Document { content, version }) => {
                self.remember(socket, document, version, false);
                Ok(DocumentState { content, version })
            }
            Err(failure) => {
                if fresh {
                    socket.leave(&room);
                }
                Err(failure)
            }
        }
    }

    /// Closes a document.
    ///
    /// # Errors
    /// `invalid`.
    pub fn close_document(&self, socket: &Socket, document: &str) -> Result<(), Failure> {
        ids::check("documentId", document)?;
        socket.leave(&ids::document_room(document));
        Ok(())
    }

    /// Replaces the content of a document. Everyone who has it open hears of edits in the order of their versions, so all
    /// end with the same content. The editing socket knows what it wrote, and hears of it only if others wrote since it
    /// last joined or wrote: then their edit may have reached it after it had made its own.
    ///
    /// # Errors
    /// `invalid`, `too_large` or `unavailable`.
    pub async fn edit_document(&self, socket: &Socket, edit: &DocumentEdit) -> Result<EditOutcome, Failure> {
        let caller = Caller::of(socket)?;
        ids::check("documentId", &edit.document_id)?;
        if edit.cursor_position.as_ref().is_some_and(|cursor| cursor.get().len() > limits::CURSOR_BYTES) {
            return Err(Failure::new(Code::TooLarge, "cursorPosition is too large"));
        }
        if let Some(base) = edit.base_version {
            return match self.write_document(caller, edit, Some(base), false).await? {
                Written::Stored { version } => Ok(self.edited(socket, edit, version)),
                Written::Conflict(Document { content, version }) => {
                    Ok(EditOutcome::Conflict(DocumentState { content, version }))
                }
            };
        }
        let (known, contested) = Session::of(socket).map_or((0, false), |session| {
            let documents = session.documents.lock();
            let known = documents.get(&edit.document_id);
            let recently = |at: Instant| at.elapsed() < CONTESTED;
            (known.map_or(0, |known| known.version), known.and_then(|known| known.contested).is_some_and(recently))
        });
        if !contested && let Written::Stored { version } = self.write_document(caller, edit, Some(known), false).await?
        {
            return Ok(self.edited(socket, edit, version));
        }
        match self.write_document(caller, edit, None, true).await? {
            Written::Stored { version } => {
                self.remember(socket, &edit.document_id, version, version != known + 1);
                Ok(EditOutcome::Stored(version))
            }
            Written::Conflict(_) => Err(super::internal()),
        }
    }

    fn edited(&self, socket: &Socket, edit: &DocumentEdit, version: u64) -> EditOutcome {
        self.remember(socket, &edit.document_id, version, false);
        EditOutcome::Stored(version)
    }

    fn remember(&self, socket: &Socket, document: &str, version: u64, contested: bool) {
        if let Some(session) = Session::of(socket) {
            session.documents.lock().set(document, version, contested);
        }
    }

    async fn write_document(
        &self,
        caller: Caller<'_>,
        edit: &DocumentEdit,
        base: Option<u64>,
        echo: bool,
    ) -> Result<Written, Failure> {
        let edited = EditedDocument {
            document: &edit.document_id,
            content: &edit.content,
            cursor: edit.cursor_position.as_deref(),
            user: caller.id(),
        };
        let everyone = Targets::room(ids::document_room(&edit.document_id));
        let targets = if echo { everyone } else { caller.others(everyone) };
        let words = |dialect: &dyn Dialect| dialect.document_edited(&edited);
        let Broadcasts { publications, relays } = self.broadcasts(words, |_| vec![targets.clone()])?;
        let written = self.store.documents.write(&edit.document_id, &edit.content, base, &publications).await;
        let written = written.map_err(|error| store_failure(&error))?;
        if let Written::Stored { version } = written {
            self.relay_stored(&relays, "", "", version);
        }
        Ok(written)
    }

    /// The caller's cursor moved in a document that the socket has open. Volatile.
    ///
    /// # Errors
    /// `invalid`, `too_large`, or `forbidden` when it isn't open.
    pub fn move_cursor(&self, socket: &Socket, cursor: &DocumentCursor) -> Result<(), Failure> {
        let caller = Caller::of(socket)?;
        ids::check("documentId", &cursor.document_id)?;
        if cursor.position.get().len() > limits::CURSOR_BYTES {
            return Err(Failure::new(Code::TooLarge, "position is too large"));
        }
        let room = ids::document_room(&cursor.document_id);
        if !socket.is_in(&room) {
            return Err(Failure::forbidden("join the document first"));
        }
        let effect =
            Effect::DocumentCursor { document: &cursor.document_id, user: caller.id(), position: &cursor.position };
        self.announce(effect, &caller.others(Targets::room(room)), true);
        Ok(())
    }
}
