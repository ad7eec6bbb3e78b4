//! Who a client is: identity from a handshake, the same for every lane.

mod jwt;

use std::{sync::Arc, time::SystemTime};

use trunkline_hub::{Handshake, Refusal};
use trunkline_protocol::{Code, ids};

pub use jwt::{Claims, mint};

use crate::config::Auth;

/// Who somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: String,
    /// When the token that said so runs out.
    pub expires_at: Option<SystemTime>,
    /// Nobody in particular, under a name of ours.
    pub guest: bool,
    /// May send notifications to other users.
    pub notifies: bool,
}

/// What a guest's name starts with.
const GUEST: &str = "guest:";

impl Identity {
    fn guest() -> Self {
        let user = format!("{GUEST}{:016x}", rand::random::<u64>());
        Self { user, expires_at: None, guest: true, notifies: false }
    }
}

/// Why nobody is let in. The texts are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There was none.
    #[error("Authentication error: No token provided")]
    NoToken,
    /// It was not signed by us, or names nobody.
    #[error("Authentication error: Invalid token")]
    InvalidToken,
    /// It was good once.
    #[error("Authentication error: Token expired")]
    TokenExpired,
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        Self { message: error.to_string(), code: Code::Unauthenticated.as_str() }
    }
}

/// Tells who a client is.
#[derive(Clone, Debug)]
pub struct Authenticator(Mode);

#[derive(Clone, Debug)]
enum Mode {
    Jwt(Arc<jwt::Verifier>),
    InsecureQuery,
}

impl Authenticator {
    /// By the rules of the configuration.
    pub fn new(auth: &Auth) -> Self {
        Self(match auth {
            Auth::Jwt(config) => Mode::Jwt(Arc::new(jwt::Verifier::new(config))),
            Auth::InsecureQuery => Mode::InsecureQuery,
        })
    }

    /// The mode's name, as `--auth` takes it.
    pub fn mode(&self) -> &'static str {
        match self.0 {
            Mode::Jwt(_) => "jwt",
            Mode::InsecureQuery => "insecure-query",
        }
    }

    /// Who sent this handshake. The token may be in the `auth` payload, in the query (`?token=`) or in an
    /// `Authorization: Bearer` header; the first of them counts. Where nobody's word but their own is asked for and `guests`
    /// are admitted, somebody without a name is one.
    ///
    /// # Errors
    /// Nobody that we believe.
    pub async fn authenticate(&self, handshake: &Handshake, guests: bool) -> Result<Identity, AuthError> {
        match &self.0 {
            Mode::Jwt(verifier) => verifier.verify(&token(handshake).ok_or(AuthError::NoToken)?),
            Mode::InsecureQuery => match query_value(handshake.query(), "userId") {
                None if guests => Ok(Identity::guest()),
                None => Err(AuthError::NoToken),
                // A name of the form that we give to guests would be somebody else's.
                Some(user) if !ids::is_user(&user) || user.starts_with(GUEST) => Err(AuthError::InvalidToken),
                Some(user) => Ok(Identity { user, expires_at: None, guest: false, notifies: true }),
            },
        }
    }
}

fn token(handshake: &Handshake) -> Option<String> {
    let from_auth = || handshake.auth().get("token").and_then(|token| token.as_str()).map(str::to_owned);
    let from_query = || query_value(handshake.query(), "token");
    let from_header = || {
        let (scheme, token) = handshake.header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
    };
    let given = |token: &String| !token.is_empty();
    from_auth().filter(given).or_else(from_query).filter(given).or_else(from_header).filter(given)
}

fn query_value(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::config::{JwtConfig, Secret};

    fn handshake(url: &str, auth: &Value, bearer: Option<&str>) -> Handshake {
        let mut headers = http::HeaderMap::new();
        if let Some(token) = bearer {
            headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        Handshake::new(&headers, url, None).with_auth(&auth.to_string())
    }

    fn jwt() -> Authenticator {
        Authenticator::new(&Auth::Jwt(JwtConfig {
            secret: Secret::from("key".to_owned()),
            issuer: None,
            audience: None,
            leeway: Duration::from_secs(2),
        }))
    }

    fn token(user: &str) -> String {
        mint(&Secret::from("key".to_owned()), user, Duration::from_secs(60)).unwrap()
    }

    #[tokio::test]
    async fn a_token_is_found_in_auth_query_and_header() {
        let token = token("alice");
        for handshake in [
            handshake("/socket.io/", &json!({"token": token}), None),
            handshake(&format!("/socket.io/?EIO=4&token={token}"), &Value::Null, None),
            handshake("/socket.io/", &Value::Null, Some(&token)),
        ] {
            let identity = jwt().authenticate(&handshake, true).await.unwrap();
            assert_eq!(identity.user, "alice");
            assert!(identity.expires_at.is_some());
        }
    }

    #[tokio::test]
    async fn the_refusals_have_their_texts() {
        for (auth, text) in [
            (Value::Null, "Authentication error: No token provided"),
            (json!({"token": 5}), "Authentication error: No token provided"),
            (json!({"token": "x.y.z"}), "Authentication error: Invalid token"),
        ] {
            let refused = jwt().authenticate(&handshake("/", &auth, None), true).await.unwrap_err();
            assert_eq!(refused.to_string(), text);
        }
    }

    #[tokio::test]
    async fn insecure_query_believes_a_name_and_not_the_lack_of_one() {
        let auth = Authenticator::new(&Auth::InsecureQuery);
        for (url, user) in [
            ("/?userId=alice%20b", Ok("alice b")),
            ("/?x=1", Err(AuthError::NoToken)),
            ("/?userId=undefined", Err(AuthError::InvalidToken)),
            ("/?userId=guest:17", Err(AuthError::InvalidToken)),
        ] {
            let identity = auth.authenticate(&handshake(url, &Value::Null, None), false).await;
            assert_eq!(identity.map(|identity| identity.user), user.map(str::to_owned), "{url}");
        }
    }

    #[tokio::test]
    async fn guests_get_names_of_their_own_where_they_are_admitted() {
        let auth = Authenticator::new(&Auth::InsecureQuery);
        let nobody = handshake("/", &Value::Null, None);
        let [one, other] = [auth.authenticate(&nobody, true).await, auth.authenticate(&nobody, true).await];
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(one.guest && one.user.starts_with("guest:") && one.user != other.user);
        assert_eq!(jwt().authenticate(&nobody, true).await, Err(AuthError::NoToken));
    }
}
