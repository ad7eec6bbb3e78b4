//! Whether the process works, whether it should get traffic, and how its sockets are.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use axum::{Json, extract::State, http::StatusCode};
use trunkline_adapter::LinkState;
use trunkline_hub::Namespace;
use trunkline_protocol::http::{Ready, SocketHealth, SocketState};

use super::Shared;

/// Whether the process answers. Never looks at Redis: a Redis that is away must not restart every gateway.
#[utoipa::path(
    get, path = "/health/live", tag = "open",
    responses((status = 200, description = "It does.", body = String, content_type = "text/plain"))
)]
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// Whether the node is ready for new clients: linked to the cluster, and not on the way out.
#[utoipa::path(
    get, path = "/health/ready", tag = "open",
    responses((status = 200, description = "It is.", body = Ready), (status = 503, description = "It is not.", body = Ready))
)]
pub(super) async fn ready(State(shared): State<Shared>) -> (StatusCode, Json<Ready>) {
    let link = *shared.0.cluster.state().borrow();
    let (linked, link) = match link {
        LinkState::Embedded => (true, "embedded".to_owned()),
        LinkState::Connecting => (false, "connecting".to_owned()),
        LinkState::Connected { .. } => (true, "connected".to_owned()),
        LinkState::Degraded { why, since } => {
            (false, format!("degraded: {why}, for {:.0} s", since.elapsed().as_secs_f64()))
        }
    };
    let draining = shared.0.routing.is_leaving();
    let store_up = shared.0.store_up.load(Ordering::Acquire);
    let status = match (draining, linked && store_up) {
        (true, _) => "draining",
        (false, true) => "ready",
        (false, false) => "degraded",
    };
    let mut checks = BTreeMap::from([
        ("cluster".to_owned(), link),
        ("store".to_owned(), if store_up { "up" } else { "away" }.to_owned()),
    ]);
    if let Some(probe) = shared.0.cluster.last_probe() {
        let (age, took) = (probe.at.elapsed().as_secs_f64(), probe.round_trip.as_secs_f64() * 1_000.0);
        checks.insert("clusterProbe".to_owned(), format!("{took:.1} ms, {age:.0} s ago"));
    }
    let code = if status == "ready" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(Ready { status: status.to_owned(), checks }))
}

/// This node's sockets and rooms.
#[utoipa::path(
    get, path = "/api/socket/health", tag = "open",
    responses((status = 200, description = "Counts of this node.", body = SocketHealth))
)]
pub(super) async fn socket(State(shared): State<Shared>) -> Json<SocketHealth> {
    let namespaces = shared.0.hub.namespaces();
    let connected = shared.0.hub.socket_count();
    let rooms: usize = namespaces.iter().map(Namespace::room_count).sum();
    Json(SocketHealth {
        status: "ok".to_owned(),
        socket: SocketState {
            initialized: !shared.0.routing.is_leaving(),
            connected,
            rooms: rooms.saturating_sub(connected),
        },
    })
}
