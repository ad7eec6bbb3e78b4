//! The gateway's own metrics, and the page that shows all of them.

use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

use crate::domain::Hearers;

/// Connections that could not be accepted.
pub(crate) const ACCEPT_ERRORS: &str = "trunkline_accept_errors_total";
/// Requests from origins that may not connect.
pub(crate) const FOREIGN_ORIGINS: &str = "trunkline_foreign_origins_total";
/// Requests of clients, by what became of them.
pub(crate) const SESSION_REQUESTS: &str = "trunkline_session_requests_total";
/// Requests of other nodes, by what became of them.
pub(crate) const INTERNAL_REQUESTS: &str = "trunkline_internal_requests_total";
/// WebSockets that come in here and end on another node.
pub(crate) const TUNNELS: &str = "trunkline_tunnels";
/// Events refused because their socket sent too many.
pub(crate) const RATE_LIMITED: &str = "trunkline_events_rate_limited_total";
const BUILD: &str = "trunkline_build_info";
const MESSAGES_REPAIRED: &str = "trunkline_messages_repaired_total";
const CONVERSATION_RESETS: &str = "trunkline_conversation_resets_total";
const PRESENCE_ANNOUNCEMENTS: &str = "trunkline_presence_announcements_total";
const PRESENCE_TELLINGS: &str = "trunkline_presence_tellings_total";
const SESSIONS_RECOVERED: &str = "trunkline_sessions_recovered_total";
const NODES: &str = "trunkline_nodes";
const ONLINE: &str = "trunkline_users_online";
const STORE_UP: &str = "trunkline_store_up";

/// Starts counting. Once per process.
///
/// # Errors
/// Somebody else counts already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new().install_recorder()?;
    describe_counter!(ACCEPT_ERRORS, "Connections that could not be accepted");
    describe_counter!(FOREIGN_ORIGINS, "Requests refused because of their Origin");
    describe_counter!(RATE_LIMITED, "Events refused because their socket sent more than it may");
    describe_gauge!(BUILD, "Always 1; the labels say what runs here");
    describe_counter!(MESSAGES_REPAIRED, "Messages read from the log because this node missed them");
    describe_counter!(CONVERSATION_RESETS, "Times that messages of a conversation were missing for good");
    describe_counter!(PRESENCE_ANNOUNCEMENTS, "Users who came online or went offline, by who was told");
    describe_counter!(PRESENCE_TELLINGS, "Times that everybody was told who had come and gone since the last time");
    describe_counter!(SESSIONS_RECOVERED, "Connections that came back as what they were");
    describe_gauge!(NODES, "Nodes alive in the cluster, as this node sees it");
    describe_gauge!(ONLINE, "Users online in the cluster");
    describe_gauge!(STORE_UP, "Whether the last heartbeat reached the store");
    describe_counter!(SESSION_REQUESTS, "Requests to sessions, by what became of them");
    describe_counter!(INTERNAL_REQUESTS, "Requests at the door for other nodes, by what became of them");
    describe_gauge!(TUNNELS, "WebSockets that come in here and end on another node");
    gauge!(TUNNELS).set(0.0);
    crate::routing::count_from_zero();
    gauge!(BUILD, "version" => crate::VERSION).set(1.0);
    counter!(ACCEPT_ERRORS).absolute(0);
    counter!(FOREIGN_ORIGINS).absolute(0);
    counter!(MESSAGES_REPAIRED).absolute(0);
    counter!(CONVERSATION_RESETS).absolute(0);
    counter!(RATE_LIMITED).absolute(0);
    counter!(SESSIONS_RECOVERED).absolute(0);
    trunkline_hub::metrics::describe();
    trunkline_adapter::metrics::describe();
    Ok(handle)
}

pub(crate) fn foreign_origin() {
    counter!(FOREIGN_ORIGINS).increment(1);
}

pub(crate) fn message_repaired() {
    counter!(MESSAGES_REPAIRED).increment(1);
}

pub(crate) fn conversation_reset() {
    counter!(CONVERSATION_RESETS).increment(1);
}

/// So many users came or went, and these heard of it.
pub(crate) fn presence_announced(to: Hearers, users: usize) {
    let to = match to {
        Hearers::Everyone => "everyone",
        Hearers::Watchers => "watchers",
    };
    counter!(PRESENCE_ANNOUNCEMENTS, "to" => to).increment(users as u64);
}

/// Everybody was told what had gathered: as an event for each, or as a list of all or of the changes.
pub(crate) fn presence_told(as_list: bool) {
    counter!(PRESENCE_TELLINGS, "as" => if as_list { "list" } else { "events" }).increment(1);
}

pub(crate) fn session_recovered() {
    counter!(SESSIONS_RECOVERED).increment(1);
}

pub(crate) fn rate_limited() {
    counter!(RATE_LIMITED).increment(1);
}

pub(crate) fn heartbeat(up: bool) {
    gauge!(STORE_UP).set(if up { 1.0 } else { 0.0 });
}

pub(crate) fn cluster(nodes: usize, online: u64) {
    gauge!(NODES).set(nodes as f64);
    gauge!(ONLINE).set(online as f64);
}
