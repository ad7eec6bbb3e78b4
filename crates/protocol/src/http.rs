//! What the HTTP interface answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `/health/ready`: 200 when `status` is `ready`, 503 otherwise.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Ready {
    /// `ready`, `degraded` or `draining`.
    pub status: String,
    /// Each thing that was looked at, and what was found.
    pub checks: BTreeMap<String, String>,
}

/// `/api/socket/health`.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SocketHealth {
    /// `ok`.
    pub status: String,
    /// The state of the socket server.
    pub socket: SocketState,
}

/// Part of [`SocketHealth`]; the numbers are this node's.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SocketState {
    /// Whether it accepts connections.
    pub initialized: bool,
    /// Connected sockets.
    pub connected: usize,
    /// Rooms with members, the sockets' own not counted.
    pub rooms: usize,
}

/// An error of the HTTP interface.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HttpError {
    /// Always false.
    pub success: bool,
    /// The code.
    pub error: String,
    /// The text.
    pub message: String,
}

/// `/api/demo`: what the demo page needs to know before it connects.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Demo {
    /// `jwt`, `session`, `hook` or `insecure-query`.
    pub auth: String,
    /// The node that answered.
    pub node_id: String,
    /// Its version.
    pub version: String,
    /// Whether `POST /api/demo/token` mints tokens for anyone (development only).
    pub dev_tokens: bool,
}

/// `POST /api/demo/token`.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DemoTokenRequest {
    /// Whose token.
    pub user_id: String,
}

/// The answer to it.
#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DemoToken {
    /// A JWT.
    pub token: String,
}
