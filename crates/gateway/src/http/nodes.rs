//! What back ends and operators can do to nodes.

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::json;
use trunkline_protocol::Code;

use super::{Shared, failure};
use crate::routing::DrainError;

/// `POST /api/v1/nodes/{id}/drain`: has that node drain and end, as SIGTERM would. Any node can be asked. 202 once it has begun.
pub(super) async fn drain(State(shared): State<Shared>, Path(node): Path<String>) -> Response {
    match shared.0.routing.drain(&node).await {
        Ok(()) => (StatusCode::ACCEPTED, Json(json!({ "success": true, "nodeId": node }))).into_response(),
        Err(error @ DrainError::Unknown) => failure(Code::NotFound, &error.to_string()),
        Err(error @ DrainError::Unreachable) => failure(Code::Unavailable, &error.to_string()),
    }
}
