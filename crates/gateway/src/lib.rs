//! The `trunkline` gateway: a horizontally scaled Socket.IO server.
//!
//! In reading order:
//! - [`config`]: what it was told, checked
//! - [`check`]: what would be in the way
//! - [`app`]: what is built from what; `heart`: what keeps it alive; [`drain`]: how it goes down
//! - [`accept`], [`http`]: connections and requests come in; [`routing`]: to the node that has their session
//! - [`auth`]: who is it; [`dialects`]: events to commands, effects to events; [`domain`]: what the commands do
//! - [`resume`], `repair`: nobody misses a message, whatever they or this node missed
//! - [`realms`]: which namespaces there are, and which share what
//! - [`telemetry`], [`metrics`]: what can be seen of it

pub mod accept;
pub mod app;
pub mod auth;
pub mod check;
pub mod config;
pub mod dialects;
pub mod domain;
pub mod drain;
mod heart;
pub mod http;
pub mod metrics;
pub mod realms;
mod rebalance;
mod repair;
pub mod resume;
pub mod routing;
pub mod telemetry;
mod time;

/// This release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
