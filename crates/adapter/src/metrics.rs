//! The adapter's metrics: their names, and one function for each thing that is counted.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use metrics::{Counter, counter, describe_counter, describe_gauge, gauge};
use parking_lot::Mutex;

const PUBLISHED: &str = "trunkline_adapter_published_total";
const DROPPED: &str = "trunkline_adapter_dropped_total";
const QUEUED_BYTES: &str = "trunkline_adapter_queued_bytes";
const RECEIVED: &str = "trunkline_adapter_received_total";
const MALFORMED: &str = "trunkline_adapter_malformed_total";
const PANICS: &str = "trunkline_adapter_panics_total";
const LINK_UP: &str = "trunkline_adapter_link_up";
const LINK_LOST: &str = "trunkline_adapter_link_lost_total";
const UNANSWERED: &str = "trunkline_adapter_unanswered_requests_total";
const UNAWAITED: &str = "trunkline_adapter_unawaited_answers_total";

const INTERESTS: &str = "trunkline_adapter_interest_rooms";
const INTERESTS_QUEUED: &str = "trunkline_adapter_interest_queued";
const INTERESTS_MENDED: &str = "trunkline_adapter_interest_mended_total";
const PROBE: &str = "trunkline_adapter_probe_seconds";
const UNHEARD: &str = "trunkline_adapter_unconfirmed_joins_total";

/// Counted for every message of another node, so looked up once; the recorder is there before the first of them.
static BROADCASTS_RECEIVED: LazyLock<Counter> = LazyLock::new(|| received_counter(Kind::Broadcast));

/// Registers the texts that `/metrics` shows beside the names. Call it once the recorder is installed.
pub fn describe() {
    describe_counter!(PUBLISHED, "Messages published to the other nodes");
    describe_counter!(DROPPED, "Messages that the other nodes will not get, by reason");
    describe_gauge!(QUEUED_BYTES, "Bytes waiting to be published");
    describe_counter!(RECEIVED, "Messages received from other nodes, by kind");
    describe_counter!(MALFORMED, "Messages of other nodes that could not be used, by kind and reason");
    describe_counter!(PANICS, "Panics while a message of another node was handled; each cost that message");
    describe_gauge!(LINK_UP, "1 while a connection to Redis works, by connection");
    describe_counter!(LINK_LOST, "Connections to Redis that were lost or could not be made, by connection and cause");
    describe_counter!(UNANSWERED, "Requests that not every node answered in time");
    describe_counter!(
        UNAWAITED,
        "Answers that other nodes wanted and this one did not wait for, since it waits for too many"
    );
    describe_gauge!(PROBE, "How long the last message to ourselves took through Redis");
    describe_gauge!(INTERESTS, "Rooms whose channels this node listens to");
    describe_gauge!(INTERESTS_QUEUED, "Rooms whose channels are still to be subscribed");
    describe_counter!(
        INTERESTS_MENDED,
        "Rooms whose subscription was found to differ from their members, and put right"
    );
    describe_counter!(UNHEARD, "Joins and connects for which Redis did not confirm the room's channel in time");
    counter!(PUBLISHED).absolute(0);
    gauge!(QUEUED_BYTES).set(0.0);
}

/// Why a message will not reach the other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drop {
    /// Too much waits already.
    QueueFull,
    /// A volatile one, while there is no link.
    Offline,
    /// The cluster was left.
    Closed,
    /// It can't be encoded.
    Invalid,
    /// The connection was lost before Redis confirmed it. It may have arrived, so it isn't sent twice.
    Unconfirmed,
    /// Redis answered with an error.
    Refused,
}

impl Drop {
    fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Offline => "offline",
            Self::Closed => "closed",
            Self::Invalid => "invalid",
            Self::Unconfirmed => "unconfirmed",
            Self::Refused => "refused",
        }
    }
}

/// What a message is, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Broadcast,
    Request,
    Response,
    /// On a channel that isn't ours.
    Other,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Self::Broadcast => "broadcast",
            Self::Request => "request",
            Self::Response => "response",
            Self::Other => "other",
        }
    }
}

pub(crate) fn published(count: usize) {
    counter!(PUBLISHED).increment(count as u64);
}

pub(crate) fn dropped(reason: Drop, count: usize) {
    if count == 0 {
        return;
    }
    counter!(DROPPED, "reason" => reason.label()).increment(count as u64);
}

pub(crate) fn unawaited(answers: usize) {
    counter!(UNAWAITED).increment(answers as u64);
}

pub(crate) fn queued_bytes(bytes: usize) {
    gauge!(QUEUED_BYTES).set(bytes as f64);
}

pub(crate) fn received(kind: Kind) {
    if kind == Kind::Broadcast {
        BROADCASTS_RECEIVED.increment(1);
    } else {
        received_counter(kind).increment(1);
    }
}

fn received_counter(kind: Kind) -> Counter {
    counter!(RECEIVED, "kind" => kind.label())
}

pub(crate) fn malformed(kind: Kind, reason: &'static str) {
    counter!(MALFORMED, "kind" => kind.label(), "reason" => reason).increment(1);
}

/// What may go into the log about messages that could not be used.
pub(crate) static OFTEN: Often = Often(Mutex::new(None));

/// Lets one through a second.
#[derive(Debug)]
pub(crate) struct Often(Mutex<Option<Instant>>);

impl Often {
    pub(crate) fn passes(&self) -> bool {
        let mut last = self.0.lock();
        let passes = last.is_none_or(|last| last.elapsed() >= Duration::from_secs(1));
        if passes {
            *last = Some(Instant::now());
        }
        passes
    }
}

pub(crate) fn panicked() {
    counter!(PANICS).increment(1);
}

pub(crate) fn link(connection: &'static str, up: bool) {
    gauge!(LINK_UP, "connection" => connection).set(f64::from(u8::from(up)));
}

pub(crate) fn link_lost(connection: &'static str, cause: &'static str) {
    counter!(LINK_LOST, "connection" => connection, "cause" => cause).increment(1);
}

pub(crate) fn unanswered() {
    counter!(UNANSWERED).increment(1);
}

pub(crate) fn interest(rooms: usize, queued: usize) {
    gauge!(INTERESTS).set(rooms as f64);
    gauge!(INTERESTS_QUEUED).set(queued as f64);
}

pub(crate) fn interest_mended(count: usize) {
    counter!(INTERESTS_MENDED).increment(count as u64);
}

pub(crate) fn unheard() {
    counter!(UNHEARD).increment(1);
}

pub(crate) fn probed(round_trip: Duration) {
    gauge!(PROBE).set(round_trip.as_secs_f64());
}
