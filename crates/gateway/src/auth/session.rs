//! Sessions of a Node back end: `express-session` with `connect-redis`, in the Redis that we share with it.

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use trunkline_protocol::ids;
use trunkline_redis::Commands;

use super::{AuthError, Identity};
use crate::{config::SessionConfig, domain::Chain};

/// Where applications keep who is logged in, the first that is there counts.
const USER_FIELDS: [&str; 6] = ["/userId", "/user/id", "/user/userId", "/user/_id", "/user", "/passport/user"];

/// Bytes of a session id.
const MAX_ID: usize = 512;

/// Looks sessions up.
pub(super) struct Sessions {
    commands: Commands,
    secret: Vec<u8>,
    prefix: String,
}

impl Sessions {
    pub(super) fn new(config: &SessionConfig) -> Self {
        Self {
            commands: Commands::new(&config.redis),
            secret: config.secret.expose().as_bytes().to_vec(),
            prefix: config.prefix.clone(),
        }
    }

    /// Whose session a cookie names.
    pub(super) async fn find(&self, cookie: &str) -> Result<Identity, AuthError> {
        let id = signed_id(cookie, &self.secret).ok_or(AuthError::InvalidToken)?;
        let mut get = redis::cmd("GET");
        get.arg(format!("{}{id}", self.prefix));
        let session: Option<String> = self.commands.idempotent(&get).await.map_err(|error| {
            tracing::warn!(error = %Chain(&error), "could not look up a session");
            AuthError::Unavailable
        })?;
        identity(&session.ok_or(AuthError::TokenExpired)?)
    }
}

/// The id in `s:<id>.<signature>`, when the signature is ours.
fn signed_id(cookie: &str, secret: &[u8]) -> Option<String> {
    // Cookies are written like parts of URLs; as a query's value a plus would be a space, which no id or signature has.
    let cookie = cookie.replace('+', "%2B");
    let (_, cookie) = form_urlencoded::parse(format!("c={cookie}").as_bytes()).into_owned().next()?;
    let (id, signature) = cookie.strip_prefix("s:")?.rsplit_once('.')?;
    if id.is_empty() || id.len() > MAX_ID {
        return None;
    }
    let signature = STANDARD_NO_PAD.decode(signature.trim_end_matches('=')).ok()?;
    let mac = Hmac::<Sha256>::new_from_slice(secret).ok()?.chain_update(id.as_bytes());
    mac.verify_slice(&signature).ok()?;
    Some(id.to_owned())
}

fn identity(session: &str) -> Result<Identity, AuthError> {
    let session: Value = serde_json::from_str(session).map_err(|_| AuthError::InvalidToken)?;
    let user = USER_FIELDS.iter().find_map(|field| match session.pointer(field)? {
        Value::String(user) => Some(user.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    let user = user.filter(|user| ids::is_user(user)).ok_or(AuthError::InvalidToken)?;
    let ends = session.pointer("/cookie/expires").and_then(Value::as_str);
    let ends = ends.and_then(|time| time.parse::<jiff::Timestamp>().ok());
    let ends = ends.and_then(|time| u64::try_from(time.as_millisecond()).ok());
    let expires_at = ends.and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
    Ok(Identity { user, expires_at, guest: false, notifies: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `s:` + require("cookie-signature").sign("abc", "keyboard cat"), as Node writes it.
    #[test]
    fn only_our_signature_counts() {
        let mac = Hmac::<Sha256>::new_from_slice(b"keyboard cat").unwrap().chain_update(b"abc");
        let signature = STANDARD_NO_PAD.encode(mac.finalize().into_bytes());
        let escaped = signature.replace('+', "%2B").replace('/', "%2F");
        for cookie in [format!("s:abc.{signature}"), format!("s%3Aabc.{escaped}")] {
            assert_eq!(signed_id(&cookie, b"keyboard cat").as_deref(), Some("abc"), "{cookie}");
            assert_eq!(signed_id(&cookie, b"another"), None);
        }
        for cookie in ["", "abc", "s:abc", "s:.x", "s:abc.", &format!("s:abd.{signature}")] {
            assert_eq!(signed_id(cookie, b"keyboard cat"), None, "{cookie}");
        }
    }

    #[test]
    fn the_user_is_found_where_applications_put_it() {
        for session in [
            r#"{"userId":"ada"}"#,
            r#"{"user":{"id":"ada"},"cookie":{"expires":"2030-01-01T00:00:00.000Z"}}"#,
            r#"{"passport":{"user":"ada"}}"#,
        ] {
            assert_eq!(identity(session).unwrap().user, "ada");
        }
        assert!(
            identity(r#"{"user":{"id":"a"},"cookie":{"expires":"2030-01-01T00:00:00.000Z"}}"#)
                .unwrap()
                .expires_at
                .is_some()
        );
        for session in ["{}", "[]", "nonsense", r#"{"userId":"undefined"}"#, r#"{"user":{}}"#] {
            assert_eq!(identity(session), Err(AuthError::InvalidToken), "{session}");
        }
    }
}
