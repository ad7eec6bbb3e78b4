//! The store in Redis: one connection, one file a trait, one script an operation.

mod link;
mod log;
mod nodes;
mod presence;
mod rooms;
mod scripts;
mod sweep;

pub(crate) use link::Link;
pub(crate) use log::RedisLog;
pub(crate) use nodes::RedisNodes;
pub(crate) use presence::RedisPresence;
