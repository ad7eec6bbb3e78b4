//! The bounds that clients can run into, in one place.

/// Bytes of a user, conversation or message id of the client's choosing.
pub const ID_BYTES: usize = 256;

/// Characters of a message's content.
pub const CONTENT_CHARS: usize = 5000;

/// Bytes of a URL or file name that goes with a message.
pub const FILE_FIELD_BYTES: usize = 2048;

/// Messages in a page when the client names no limit.
pub const PAGE: usize = 50;

/// Messages in a page at the most.
pub const PAGE_MAX: usize = 500;

/// Users in one presence question.
pub const PRESENCE_IDS: usize = 500;

/// Milliseconds after which typing stops by itself.
pub const TYPING_MS: u64 = 5000;

/// Bytes of the JSON text of a message that is no text.
pub const DATA_BYTES: usize = 20_000;

/// Cursors that a client may bring along when it connects.
pub const CURSORS: usize = 1000;

/// Bytes of a cursor's position in a document.
pub const CURSOR_BYTES: usize = 4096;

/// Bytes of a signal that sets up a call.
pub const SIGNAL_BYTES: usize = 65_536;

/// Users that one socket can watch.
pub const WATCHES: usize = 1000;
