//! Commands and subscriptions against real servers.

mod check;
mod cluster;
mod sentinel;
mod single;
mod support;
mod tls;
