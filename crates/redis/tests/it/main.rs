//! Commands and subscriptions against real servers.

mod single;
mod support;
