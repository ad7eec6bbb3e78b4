//! What the demo page asks for before it connects.

use std::time::Duration;

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    response::{IntoResponse, Response},
};
use trunkline_protocol::{
    Code,
    http::{Demo, DemoToken, DemoTokenRequest, HttpError},
    ids,
};

use super::{Shared, failure, openapi::SendFailures};
use crate::auth;

/// How long a token of the demo page is good.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);

/// What the demo page needs to know.
#[utoipa::path(
    get, path = "/api/demo", tag = "open",
    responses((status = 200, description = "How to connect.", body = Demo))
)]
pub(super) async fn describe(State(shared): State<Shared>) -> Json<Demo> {
    Json(Demo {
        auth: shared.0.auth_mode.to_owned(),
        node_id: shared.0.node_id.clone(),
        version: crate::VERSION.to_owned(),
        dev_tokens: shared.0.demo_secret.is_some(),
    })
}

/// Mints a token for whoever asks: there only with `--demo-tokens`.
#[utoipa::path(
    post, path = "/api/demo/token", tag = "open", request_body = DemoTokenRequest,
    responses(
        (status = 200, description = "Good for a day.", body = DemoToken),
        (status = 404, description = "This server mints none.", body = HttpError),
        SendFailures
    )
)]
pub(super) async fn token(
    State(shared): State<Shared>,
    request: Result<Json<DemoTokenRequest>, JsonRejection>,
) -> Response {
    let Some(secret) = &shared.0.demo_secret else {
        return failure(Code::NotFound, "this server mints no tokens for the demo page");
    };
    let user = match request {
        Ok(Json(DemoTokenRequest { user_id })) if ids::is_user(&user_id) => user_id,
        Ok(_) => return failure(Code::Invalid, "userId is no user id"),
        Err(rejection) => return failure(Code::Invalid, &rejection.body_text()),
    };
    match auth::mint(secret, &user, TOKEN_TTL) {
        Ok(token) => Json(DemoToken { token }).into_response(),
        Err(error) => {
            tracing::error!(%error, "could not mint a token");
            failure(Code::Internal, "internal error")
        }
    }
}
