//! The key that back ends show: `Authorization: Bearer <key>`.

use axum::{
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::Response,
};
use sha2::{Digest, Sha256};
use trunkline_protocol::Code;

use super::{Shared, failure};
use crate::config::Secret;

/// Lets only those in who show the key. Without `--api-key` nobody is.
pub(super) async fn require(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let Some(key) = &shared.0.api_key else {
        return failure(Code::Forbidden, "this server has no API key: set --api-key or TRUNKLINE_API_KEY");
    };
    let shown =
        request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match shown {
        None => failure(Code::Unauthenticated, "expected the API key: Authorization: Bearer …"),
        Some(shown) if !same(shown, key) => failure(Code::Unauthenticated, "this is not the API key"),
        Some(_) => next.run(request).await,
    }
}

/// How long it takes to compare hashes says nothing about the key.
fn same(shown: &str, key: &Secret) -> bool {
    Sha256::digest(shown) == Sha256::digest(key.expose())
}
