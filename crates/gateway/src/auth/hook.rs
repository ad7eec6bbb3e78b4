//! Asking a server of the operator's who a client is.

use std::{
    collections::BTreeMap,
    time::{Duration, UNIX_EPOCH},
};

use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trunkline_hub::Handshake;
use trunkline_protocol::ids;

use super::{AuthError, Identity, fetch::Fetcher};
use crate::domain::Chain;

/// Headers that are passed on.
const HEADERS: [&str; 5] = ["cookie", "authorization", "origin", "user-agent", "x-forwarded-for"];

/// What is posted to the hook, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    /// The `auth` payload of the client, such as `{username, password}` or `{token}`.
    auth: Value,
    /// Parameters of the URL.
    query: BTreeMap<String, String>,
    /// Those of [`HEADERS`] that were there.
    headers: BTreeMap<&'a str, &'a str>,
    /// The peer of the connection.
    address: Option<String>,
}

/// What the hook answers with status 200.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    /// Text or a number.
    user_id: Value,
    /// Seconds since 1970.
    #[serde(default)]
    expires_at: Option<u64>,
    /// Whether the user may send notifications to others.
    #[serde(default)]
    notifies: bool,
}

/// A hook: `POST` with the question; 200 with `{userId, expiresAt?, notifies?}` lets the client in, 401 and 403 don't.
pub(super) struct Hook {
    url: Uri,
    fetcher: Fetcher,
}

impl Hook {
    pub(super) fn new(url: Uri) -> Self {
        Self { url, fetcher: Fetcher::new() }
    }

    pub(super) async fn ask(&self, handshake: &Handshake) -> Result<Identity, AuthError> {
        let question = Question {
            auth: handshake.auth(),
            query: form_urlencoded::parse(handshake.query().as_bytes()).into_owned().collect(),
            headers: handshake.headers().filter(|(name, _)| HEADERS.contains(name)).collect(),
            address: handshake.address().map(|address| address.ip().to_string()),
        };
        self.post(&json!(question)).await
    }

    /// Who a token is of that a client shows later.
    pub(super) async fn ask_about(&self, token: &str) -> Result<Identity, AuthError> {
        self.post(&json!({"auth": {"token": token}, "query": {}, "headers": {}})).await
    }

    async fn post(&self, question: &Value) -> Result<Identity, AuthError> {
        let (status, body) =
            self.fetcher.post(&self.url, question.to_string().into_bytes()).await.map_err(|error| {
                tracing::warn!(error = %Chain(&error), "the authentication hook did not answer");
                AuthError::Unavailable
            })?;
        match status {
            StatusCode::OK => read(&body),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Err(AuthError::InvalidToken),
            status => {
                tracing::warn!(%status, "the authentication hook answered with an error");
                Err(AuthError::Unavailable)
            }
        }
    }
}

fn read(body: &[u8]) -> Result<Identity, AuthError> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| {
        tracing::warn!(%error, "the authentication hook's answer can't be read");
        AuthError::Unavailable
    })?;
    let user = match answer.user_id {
        Value::String(user) => user,
        Value::Number(number) => number.to_string(),
        _ => return Err(AuthError::InvalidToken),
    };
    if !ids::is_user(&user) {
        return Err(AuthError::InvalidToken);
    }
    let expires_at = answer.expires_at.and_then(|at| UNIX_EPOCH.checked_add(Duration::from_secs(at)));
    Ok(Identity { user, expires_at, guest: false, notifies: answer.notifies })
}
