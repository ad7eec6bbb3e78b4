//! How this program reaches Redis, whatever it is made of: one server, a master that Sentinels watch, or a Cluster.
//!
//! - [`Topology`]: parsed from a URL; says what there is to reach and how
//! - [`Commands`]: sends commands and scripts to whoever is responsible, and never twice unless told that it may
//! - [`PubSub`]: subscriptions that heal by themselves, and one stream of what they bring
//! - [`check`]: one look at everything that can be wrong, in words for whoever runs it
//!
//! In reading order: `url` and `topology`, `dial` (one connection to one server), `sentinels` and `discover` (who
//! is master, who has which slot), `node` (a connection that is made when needed), `commands`, `pubsub`.
//!
//! Connections speak RESP3, so Redis 6.2 or newer or Valkey is needed. The client library encodes and parses; routing
//! is ours, because its cluster client sends a command again after a lost connection, and then it may be carried
//! out twice.

mod backoff;
mod check;
mod commands;
mod dial;
mod discover;
mod error;
mod limits;
mod node;
mod pubsub;
mod script;
mod sentinels;
mod slots;
mod tls;
mod topology;
mod url;

pub use check::{Finding, Needs, Verdict, check};
pub use commands::Commands;
pub use error::{Error, Result};
pub use limits::DEADLINE;
pub use pubsub::{Event, Events, Limits, Lost, Message, PubSub};
pub use script::{Call, Script};
pub use slots::slot;
pub use topology::{Address, Kind, Topology};
pub use url::UrlError;
