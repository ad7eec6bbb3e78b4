//! Who a client is: identity from a handshake, the same for every lane.

mod fetch;
mod hook;
mod jwt;
mod keys;
mod session;

use std::{sync::Arc, time::SystemTime};

use trunkline_hub::{Handshake, Refusal};
use trunkline_protocol::{Code, ids};

pub use jwt::{Claims, mint};
pub use keys::public_key;

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
    /// Whoever knows does not answer now.
    #[error("Authentication error: Try again later")]
    Unavailable,
}

impl AuthError {
    /// Whether the same credentials may be good later.
    pub fn retryable(self) -> bool {
        self == Self::Unavailable
    }

    /// Its code in the vocabulary.
    pub fn code(self) -> Code {
        match self {
            Self::NoToken | Self::InvalidToken | Self::TokenExpired => Code::Unauthenticated,
            Self::Unavailable => Code::Unavailable,
        }
    }
}

impl From<AuthError> for Refusal {
    fn from(error: AuthError) -> Self {
        Self { message: error.to_string(), code: error.code().as_str() }
    }
}

/// Tells who a client is. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    mode: Mode,
    rules: Rules,
}

enum Mode {
    Jwt(Box<jwt::Verifier>),
    Hook(Box<hook::Hook>),
    Session(Box<session::Sessions>),
    InsecureQuery,
}

/// What holds in every mode.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The cookie that may hold the token.
    pub cookie: String,
    /// Whether pages of any origin may connect: then cookies count only for our own, since any page could otherwise act
    /// as whoever is logged in.
    pub any_origin: bool,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Authenticator").field(&self.mode()).finish()
    }
}

impl Authenticator {
    /// By the rules of the configuration.
    pub fn new(auth: &Auth, rules: Rules) -> Self {
        let mode = match auth {
            Auth::Jwt(config) => Mode::Jwt(Box::new(jwt::Verifier::new(config))),
            Auth::Hook(url) => Mode::Hook(Box::new(hook::Hook::new(url.clone()))),
            Auth::Session(config) => Mode::Session(Box::new(session::Sessions::new(config))),
            Auth::InsecureQuery => Mode::InsecureQuery,
        };
        Self(Arc::new(Inner { mode, rules }))
    }

    /// The mode's name, as `--auth` takes it.
    pub fn mode(&self) -> &'static str {
        match self.0.mode {
            Mode::Jwt(_) => "jwt",
            Mode::Hook(_) => "hook",
            Mode::Session(_) => "session",
            Mode::InsecureQuery => "insecure-query",
        }
    }

    /// Who sent this handshake. A token may be in the `auth` payload, in the query (`?token=`), in an
    /// `Authorization: Bearer` header or in a cookie; the first of them counts. Where nobody's word but their own is asked
    /// for and `guests` are admitted, somebody without a name is one.
    ///
    /// # Errors
    /// Nobody that we believe.
    pub async fn authenticate(&self, handshake: &Handshake, guests: bool) -> Result<Identity, AuthError> {
        match &self.0.mode {
            Mode::Jwt(verifier) => verifier.verify(&self.token(handshake).ok_or(AuthError::NoToken)?).await,
            Mode::Hook(hook) => hook.ask(handshake).await,
            Mode::Session(sessions) => {
                let cookie = self.cookie(handshake, &self.0.rules.cookie).ok_or(AuthError::NoToken)?;
                sessions.find(&cookie).await
            }
            Mode::InsecureQuery => match query_value(handshake.query(), "userId").or_else(|| user_header(handshake)) {
                None if guests => Ok(Identity::guest()),
                None => Err(AuthError::NoToken),
                // A name of the form that we give to guests would be somebody else's.
                Some(user) if !ids::is_user(&user) || user.starts_with(GUEST) => Err(AuthError::InvalidToken),
                Some(user) => Ok(Identity { user, expires_at: None, guest: false, notifies: true }),
            },
        }
    }

    /// Who a token is of that a connected client shows later. `None` where there are no tokens.
    ///
    /// # Errors
    /// Nobody that we believe.
    pub async fn renew(&self, token: &str) -> Option<Result<Identity, AuthError>> {
        match &self.0.mode {
            Mode::Jwt(verifier) => Some(verifier.verify(token).await),
            Mode::Hook(hook) => Some(hook.ask_about(token).await),
            // A session is prolonged by the application, and shown with the next connection.
            Mode::Session(_) | Mode::InsecureQuery => None,
        }
    }

    fn token(&self, handshake: &Handshake) -> Option<String> {
        token(handshake).or_else(|| self.cookie(handshake, &self.0.rules.cookie))
    }

    fn cookie(&self, handshake: &Handshake, name: &str) -> Option<String> {
        if self.0.rules.any_origin && !is_of_this_host(handshake) {
            return None;
        }
        let cookies = handshake.headers().filter(|(header, _)| *header == "cookie");
        let mut pairs = cookies.flat_map(|(_, line)| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let value = pairs.find(|(known, _)| *known == name)?.1;
        (!value.is_empty()).then(|| value.to_owned())
    }
}

/// No page of another host made this request; programs that are no browsers don't say where they are from.
fn is_of_this_host(handshake: &Handshake) -> bool {
    let Some(origin) = handshake.header("origin") else { return true };
    let from = origin.split_once("://").map(|(_, host)| host);
    from.zip(handshake.header("host")).is_some_and(|(from, host)| from.eq_ignore_ascii_case(host))
}

/// How HTTP calls name the user where queries are believed.
fn user_header(handshake: &Handshake) -> Option<String> {
    handshake.header("x-user-id").map(str::to_owned)
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
        let config = JwtConfig {
            secret: Some(Secret::from("key".to_owned())),
            public_key: None,
            jwks_url: None,
            issuer: None,
            audience: None,
            leeway: Duration::from_secs(2),
        };
        Authenticator::new(&Auth::Jwt(config), rules(false))
    }

    fn rules(any_origin: bool) -> Rules {
        Rules { cookie: "token".to_owned(), any_origin }
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
        let auth = Authenticator::new(&Auth::InsecureQuery, rules(false));
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
        let auth = Authenticator::new(&Auth::InsecureQuery, rules(false));
        let nobody = handshake("/", &Value::Null, None);
        let [one, other] = [auth.authenticate(&nobody, true).await, auth.authenticate(&nobody, true).await];
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(one.guest && one.user.starts_with("guest:") && one.user != other.user);
        assert_eq!(jwt().authenticate(&nobody, true).await, Err(AuthError::NoToken));
    }
}
