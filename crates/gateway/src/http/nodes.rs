//! What back ends and operators can do to nodes.

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Serialize;
use trunkline_protocol::Code;
use utoipa::ToSchema;

use super::{Shared, failure, openapi::BackEndFailures, reply::Answer};
use crate::routing::DrainError;

/// What draining answers.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Draining {
    /// The node that is leaving.
    node_id: String,
}

/// Has a node drain and end, as SIGTERM would. Any node can be asked.
#[utoipa::path(
    post, path = "/api/v1/nodes/{id}/drain", tag = "back ends", security(("key" = [])),
    params(("id" = String, Path, description = "The node's name.")),
    responses((status = 202, description = "It has begun.", body = Answer<Draining>), BackEndFailures)
)]
pub(super) async fn drain(State(shared): State<Shared>, Path(node): Path<String>) -> Response {
    match shared.0.routing.drain(&node).await {
        Ok(()) => (StatusCode::ACCEPTED, Json(Answer::from(Draining { node_id: node }))).into_response(),
        Err(error @ DrainError::Unknown) => failure(Code::NotFound, &error.to_string()),
        Err(error @ DrainError::Unreachable) => failure(Code::Unavailable, &error.to_string()),
    }
}
