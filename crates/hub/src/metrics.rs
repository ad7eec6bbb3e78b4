//! The hub's metrics: their names, and one function for each thing that is counted.

use std::sync::LazyLock;

use metrics::{Counter, counter, describe_counter, gauge};

use crate::reason::CloseReason;

const EVENTS_IN: &str = "trunkline_events_in_total";
const EVENTS_REFUSED: &str = "trunkline_events_refused_total";
const PACKETS_OUT: &str = "trunkline_packets_out_total";
const VOLATILE_DROPPED: &str = "trunkline_volatile_dropped_total";
const ACCEPTED: &str = "trunkline_accepts_total";
const REFUSED: &str = "trunkline_refusals_total";
const CLOSED: &str = "trunkline_closes_total";
const SLOW_CONSUMERS: &str = "trunkline_slow_consumers_total";
const HANDLER_PANICS: &str = "trunkline_handler_panics_total";
const CONNECTIONS: &str = "trunkline_connections";

/// Counted for every event and packet, so looked up once; the recorder is there before the first of them.
static EVENTS_IN_COUNTER: LazyLock<Counter> = LazyLock::new(|| counter!(EVENTS_IN));
static PACKETS_OUT_COUNTER: LazyLock<Counter> = LazyLock::new(|| counter!(PACKETS_OUT));

/// Registers the texts that `/metrics` shows beside the names. Call it once the recorder is installed.
pub fn describe() {
    describe_counter!(EVENTS_IN, "Events received from clients");
    describe_counter!(EVENTS_REFUSED, "Events refused because their socket's inbox was full");
    describe_counter!(PACKETS_OUT, "Packets handed to clients' connections, one per recipient");
    describe_counter!(VOLATILE_DROPPED, "Volatile packets dropped because an outbox was full");
    describe_counter!(ACCEPTED, "Sockets let in, by transport");
    describe_counter!(REFUSED, "Sockets refused at connect, by code");
    describe_counter!(CLOSED, "Sockets closed, by reason");
    describe_counter!(SLOW_CONSUMERS, "Sockets closed because they did not read fast enough");
    describe_counter!(HANDLER_PANICS, "Event handlers that panicked; each cost one socket");
    metrics::describe_gauge!(CONNECTIONS, "Sockets connected to this node");
    gauge!(CONNECTIONS).set(0.0);
    counter!(SLOW_CONSUMERS).absolute(0);
    counter!(EVENTS_IN).absolute(0);
    counter!(PACKETS_OUT).absolute(0);
}

pub(crate) fn event_in() {
    EVENTS_IN_COUNTER.increment(1);
}

pub(crate) fn event_refused() {
    counter!(EVENTS_REFUSED).increment(1);
}

pub(crate) fn packets_out(count: usize) {
    PACKETS_OUT_COUNTER.increment(count as u64);
}

pub(crate) fn volatile_dropped(count: usize) {
    counter!(VOLATILE_DROPPED).increment(count as u64);
}

pub(crate) fn accepted(transport: &'static str) {
    counter!(ACCEPTED, "transport" => transport).increment(1);
    gauge!(CONNECTIONS).increment(1.0);
}

pub(crate) fn refused(code: &'static str) {
    counter!(REFUSED, "code" => code).increment(1);
}

pub(crate) fn closed(reason: CloseReason) {
    counter!(CLOSED, "reason" => reason.code()).increment(1);
    gauge!(CONNECTIONS).decrement(1.0);
}

pub(crate) fn slow_consumer() {
    counter!(SLOW_CONSUMERS).increment(1);
}

pub(crate) fn handler_panicked() {
    counter!(HANDLER_PANICS).increment(1);
}
