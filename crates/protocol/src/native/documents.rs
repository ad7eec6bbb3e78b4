//! Documents that several people edit.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Code;

/// `document:join` and `document:leave`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct DocumentRef {
    /// Which one.
    pub document_id: String,
}

/// What `document:join` answers, and what a stale edit is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct DocumentState {
    /// The whole text.
    pub content: String,
    /// Grows by one with each edit; 0 for a document that nobody wrote yet.
    pub version: u64,
}

/// `document:edit`: the whole text anew.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct DocumentEdit {
    /// Which one.
    pub document_id: String,
    /// The whole text.
    pub content: String,
    /// Refuse the edit unless this is still the version; without it the last writer wins.
    #[serde(default)]
    pub base_version: Option<u64>,
    /// Where the writer's cursor is; not looked into.
    #[serde(default)]
    #[cfg_attr(test, ts(as = "Option<crate::lenient::Any>"))]
    pub cursor_position: Option<Box<RawValue>>,
}

/// What `document:edit` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct DocumentVersion {
    /// The version that this edit made.
    pub version: u64,
}

/// What `document:edit` answers to an edit that was based on an older version.
#[derive(Clone, Debug, Serialize)]
pub struct DocumentConflict {
    success: bool,
    error: Code,
    message: &'static str,
    retryable: bool,
    /// What the document holds.
    #[serde(flatten)]
    pub state: DocumentState,
}

impl DocumentConflict {
    /// With what the document holds.
    pub fn new(state: DocumentState) -> Self {
        let message = "somebody else changed the document since that version";
        Self { success: false, error: Code::Conflict, message, retryable: Code::Conflict.retryable(), state }
    }
}

/// `document:edited`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
#[cfg_attr(test, ts(optional_fields))]
pub struct DocumentEdited<'a> {
    /// Which one.
    pub document_id: &'a str,
    /// The whole text.
    pub content: &'a str,
    /// The version that the edit made. An event with a smaller one than was seen already is late, and to be ignored.
    /// Absent on the way into the store, which fills it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Where the writer's cursor is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(as = "Option<crate::lenient::Any>"))]
    pub cursor_position: Option<&'a RawValue>,
    /// Who wrote.
    pub user_id: &'a str,
}

/// `document:cursor` from a client.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct DocumentCursor {
    /// Which one.
    pub document_id: String,
    /// Where; not looked into.
    #[cfg_attr(test, ts(as = "crate::lenient::Any"))]
    pub position: Box<RawValue>,
}

/// `document:cursor` to the others, volatile.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct DocumentCursorNotice<'a> {
    /// Which one.
    pub document_id: &'a str,
    /// Whose.
    pub user_id: &'a str,
    /// Where.
    #[cfg_attr(test, ts(as = "crate::lenient::Any"))]
    pub position: &'a RawValue,
}
