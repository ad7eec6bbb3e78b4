//! Nobody who is in a conversation misses a message or gets one twice, whatever they or this node missed meanwhile.
//!
//! Stored messages come in from the adapter here ([`Streams`]) and not at the hub. In reading order:
//!
//! - `merge`: pure: where a reader of a log stands, and how live messages go behind a page of the log
//! - `stream`: pure: one conversation's messages on their way to the sockets of this node
//! - `streams`: all streams of this node, and the sending
//! - `catch_up`: a socket that comes back with its cursors
//! - `repair`: this node reads what it missed itself

mod catch_up;
mod merge;
mod stream;
mod streams;

pub use catch_up::CatchUp;
pub(crate) use catch_up::{reset, with_head};
pub use merge::{Buffer, Continue, Merged, PageHead, Position, Reason, follow};
pub use stream::{Ended, Live, Repair, Reset, Stream};
pub(crate) use streams::{Entry, Read};
pub use streams::{Reader, Streams};
