//! Every bound of this crate, in one place.

use std::time::Duration;

/// Within it a command is answered or fails, connecting and redirections included; so does a subscription.
pub const DEADLINE: Duration = Duration::from_secs(2);

/// Commands waiting to be written to one connection; further callers wait for room, until their deadline.
pub(crate) const QUEUE: usize = 1_024;

/// How often a command follows a slot to another node.
pub(crate) const REDIRECTS: usize = 8;

/// The pause before a command is offered again to a server that can't serve now.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Within it one server says what it knows of the topology.
pub(crate) const DISCOVERY: Duration = Duration::from_secs(1);

/// The pause before the first attempt to connect again; doubled by each failure.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// The longest pause between two attempts. Short, because nothing else stands between a Redis that is back and us.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// The longest pause where another server may have been elected meanwhile.
pub(crate) const ELECTION_PAUSE: Duration = Duration::from_millis(200);

/// How often an idle subscribed connection is asked whether it still lives, and Sentinels who is master.
pub(crate) const PROBE: Duration = Duration::from_secs(1);

/// Channels subscribed to in one round trip.
pub(crate) const CHUNK: usize = 512;

/// Requests to subscribe that may wait for the connection; further callers wait for room.
pub(crate) const REQUESTS: usize = 1_024;

/// TCP's own probing of an idle connection, for peers that vanish without a word.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(15);
