//! The words of Trunkline: every event, payload, ack and error code as types. No I/O.
//!
//! - [`ids`]: what a user or conversation may be called, and the names of rooms
//! - [`codes`]: error codes, and the shape in which a failure reaches a client
//! - [`native`], [`online_users`], [`rooms`], [`conversations`], [`showcase`]: the dialects, event by event; each begins with
//!   the table of its events
//! - [`lenient`]: how the payloads of sloppy clients are read
//! - [`http`]: what the HTTP interface answers
//! - [`limits`]: the bounds that clients can run into

pub mod codes;
pub mod conversations;
mod events;
pub mod http;
pub mod ids;
pub mod lenient;
pub mod limits;
pub mod native;
pub mod online_users;
pub mod rooms;
pub mod showcase;

pub use codes::{Ack, Code, Failure};

#[cfg(test)]
mod typescript;
