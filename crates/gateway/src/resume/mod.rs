//! Nobody who is in a conversation misses a message or gets one twice, whatever they or this node missed meanwhile.
//!
//! Stored messages come in from the adapter here ([`Streams`]) and not at the hub. In reading order:
//!
//! - `merge`: pure: where a reader of a log stands, and how live messages go behind a page of the log
//! - `stream`: pure: one conversation's messages on their way to the sockets of this node
//! - `streams`: all streams of this node, and the sending
//! - `catch_up`: a socket that comes back with its cursors
//! - `order`: pure: what one message proves about all others; `recoverable`: what is kept about a socket that may come back as
//!   what it is
//! - `crate::repair`: this node reads what it missed itself

mod catch_up;
mod merge;
mod order;
mod recoverable;
mod stream;
mod streams;

pub use catch_up::CatchUp;
pub(crate) use catch_up::{reset, with_head};
pub use merge::{Buffer, Continue, Merged, PageHead, Position, Reason, follow};
pub(crate) use recoverable::{Recoverable, Seen, unproven};
pub use stream::{Ended, Live, Repair, Reset, Stream};
pub(crate) use streams::{Doubt, Entry, Heard, Read};
pub use streams::{Reader, Streams};
