//! Every bound of the adapter, in one place.

use std::time::Duration;

/// The largest message that is published or accepted, in bytes. Far above what clients may send (1 MB by default)
/// and far below Redis's own limits.
pub(crate) const MESSAGE_BYTES: usize = 16 << 20;

/// Messages that may wait to be published, while Redis is slow or away.
pub(crate) const OUTGOING_MESSAGES: usize = 65_536;
/// Bytes that may wait to be published.
pub(crate) const OUTGOING_BYTES: usize = 64 << 20;
/// Messages published in one round trip.
pub(crate) const BATCH_MESSAGES: usize = 512;
/// Bytes published in one round trip; one larger message goes alone.
pub(crate) const BATCH_BYTES: usize = 1 << 20;

/// Messages received and not yet handled. When that many wait, the connection is given up and made anew, so that
/// the loss is known (the link's state says so) instead of growing without bound.
pub(crate) const INCOMING_MESSAGES: usize = 65_536;
/// Bytes received and not yet handled.
pub(crate) const INCOMING_BYTES: usize = 128 << 20;

/// How long acks of clients are collected for another member that names no time, or a longer one.
pub(crate) const ACK_TIMEOUT: Duration = Duration::from_secs(60);

/// Answers for other members that may be awaited at a time: acks of clients, and what is said to events between servers.
pub(crate) const AWAITED: usize = 262_144;

/// Answers to one request that may wait to be read: of members, and of clients where acks are wanted.
pub(crate) const ANSWERS: usize = 65_536;

/// How often we publish to ourselves, and ask an idle connection whether it still lives.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// How long what we published to ourselves may take to come back.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// The pause before what could not be published is offered again.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// The pause after a subscription that was refused or failed.
pub(crate) const REFUSED_PAUSE: Duration = Duration::from_millis(500);
/// How long `close` waits for what is queued, and for Redis to confirm that it unsubscribed.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Rooms subscribed or unsubscribed in one command. A reconnecting node has its rooms back in that many a round trip.
pub(crate) const INTEREST_BATCH: usize = 1_024;
/// How long a room is listened for after its last member has left: a reload, or a bounce between two rooms, costs
/// Redis nothing then.
pub(crate) const LINGER: Duration = Duration::from_secs(3);
/// How long a join waits until Redis has confirmed the room's channel.
pub(crate) const HEARD_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the rooms listened for are compared with those that have members.
pub(crate) const RECONCILE_INTERVAL: Duration = Duration::from_secs(30);
