//! The words of Trunkline: every event, payload, ack and error code as types. No I/O.
//!
//! - [`ids`]: what a user or conversation may be called, and the names of rooms
//! - [`codes`]: error codes, and the shape in which a failure reaches a client
//! - [`native`]: the `native` dialect, event by event
//! - [`http`]: what the HTTP interface answers
//! - [`limits`]: the bounds that clients can run into

pub mod codes;
mod events;
pub mod http;
pub mod ids;
pub mod limits;
pub mod native;

pub use codes::{Ack, Code, Failure};
