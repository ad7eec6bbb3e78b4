//! A Trunkline cluster in a test: real processes, real sockets, no mocks.
//!
//! Read in this order: [`eventually`] (waiting without sleeping blindly), [`RedisServer`] (a redis-server of one's own; [`RedisCluster`],
//! [`RedisSentinel`] and [`RedisTls`] are made of those),
//! [`Node`] (a running `trunkline serve`), [`Client`] (a small Socket.IO client), [`Proxy`] (a bad network between them),
//! [`history`] (what must be true of what clients saw), [`chaos`] (all of it together).
//!
//! Everything here panics instead of returning errors where a test could do nothing but fail: the message says what was
//! expected. Every process is killed when its value is dropped, also while a failing test unwinds.

pub mod chaos;
mod client;
mod eventually;
pub mod history;
mod node;
mod process;
mod proxy;
mod redis;
mod redis_cluster;
mod redis_sentinel;
mod redis_tls;

pub use client::{Client, ConnectError, connect};
pub use eventually::{Outcome, eventually};
pub use node::{Node, trunkline_binary};
pub use proxy::Proxy;
pub use redis::{Data, RedisServer, valkey_server};
pub use redis_cluster::RedisCluster;
pub use redis_sentinel::RedisSentinel;
pub use redis_tls::RedisTls;
