//! JSON Web Tokens: checked when a client connects or shows a newer one, minted for development.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_protocol::ids;

use super::{
    AuthError, Identity,
    keys::{Key, Keys},
};
use crate::config::{JwtConfig, Secret};

/// The claims that matter here. A user may be named by `sub`, else `userId`, else `id`, as text or as a number.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Claims {
    #[serde(default, skip_serializing_if = "Value::is_null")]
    sub: Value,
    #[serde(default, rename = "userId", skip_serializing_if = "Value::is_null")]
    user_id: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    id: Value,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
    /// Seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iat: Option<u64>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    role: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    roles: Value,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    scope: Value,
}

/// Roles whose bearers may send notifications to others.
const NOTIFYING_ROLES: [&str; 2] = ["admin", "service"];

/// The scope that permits the same.
const NOTIFYING_SCOPE: &str = "notifications:send";

impl Claims {
    fn user(&self) -> Option<String> {
        let user = [&self.sub, &self.user_id, &self.id].into_iter().find_map(|claim| match claim {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })?;
        ids::is_user(&user).then_some(user)
    }

    fn notifies(&self) -> bool {
        let is_role = |value: &Value| value.as_str().is_some_and(|role| NOTIFYING_ROLES.contains(&role));
        let scopes = self.scope.as_str().unwrap_or_default();
        is_role(&self.role)
            || self.roles.as_array().is_some_and(|roles| roles.iter().any(is_role))
            || scopes.split(' ').any(|scope| scope == NOTIFYING_SCOPE)
    }
}

/// Checks tokens.
pub(super) struct Verifier {
    keys: Keys,
    validation: Validation,
}

impl Verifier {
    pub(super) fn new(config: &JwtConfig) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = config.leeway.as_secs();
        validation.validate_nbf = true;
        // A token without an end is the issuer's decision; one with an end is held to it.
        validation.required_spec_claims.clear();
        match &config.issuer {
            Some(issuer) => {
                validation.set_issuer(&[issuer]);
                validation.required_spec_claims.insert("iss".to_owned());
            }
            None => validation.iss = None,
        }
        match &config.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                validation.required_spec_claims.insert("aud".to_owned());
            }
            None => validation.validate_aud = false,
        }
        let secret = config.secret.as_ref().map(|secret| DecodingKey::from_secret(secret.expose().as_bytes()));
        let fixed = secret.into_iter().chain(config.public_key.clone()).map(Key::from).collect();
        Self { keys: Keys::new(fixed, config.jwks_url.clone()), validation }
    }

    pub(super) async fn verify(&self, token: &str) -> Result<Identity, AuthError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| AuthError::InvalidToken)?;
        let mut refused = AuthError::InvalidToken;
        for key in self.keys.candidates(&header).await? {
            let mut validation = self.validation.clone();
            validation.algorithms = vec![header.alg];
            match jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation) {
                Ok(token) => return identity(&token.claims),
                Err(error) if matches!(error.kind(), ErrorKind::ExpiredSignature) => refused = AuthError::TokenExpired,
                Err(_) => {}
            }
        }
        Err(refused)
    }
}

fn identity(claims: &Claims) -> Result<Identity, AuthError> {
    let user = claims.user().ok_or(AuthError::InvalidToken)?;
    let expires_at = claims.exp.and_then(|exp| UNIX_EPOCH.checked_add(Duration::from_secs(exp)));
    Ok(Identity { user, expires_at, guest: false, notifies: claims.notifies() })
}

/// Makes an HS256 token for `user` that is good for `ttl`. For development.
///
/// # Errors
/// The signing library's.
pub fn mint(secret: &Secret, user: &str, ttl: Duration) -> Result<String, jsonwebtoken::errors::Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let claims = Claims {
        sub: Value::String(user.to_owned()),
        exp: Some(now.saturating_add(ttl.as_secs())),
        iat: Some(now),
        ..Claims::default()
    };
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verifier(issuer: Option<&str>, audience: Option<&str>) -> Verifier {
        Verifier::new(&JwtConfig {
            secret: Some(Secret::from("key".to_owned())),
            public_key: None,
            jwks_url: None,
            issuer: issuer.map(str::to_owned),
            audience: audience.map(str::to_owned),
            leeway: Duration::from_secs(2),
        })
    }

    fn sign(claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(b"key")).unwrap()
    }

    async fn user(claims: &Value) -> Result<String, AuthError> {
        verifier(None, None).verify(&sign(claims)).await.map(|identity| identity.user)
    }

    #[tokio::test]
    async fn the_user_is_sub_else_user_id_else_id() {
        assert_eq!(user(&json!({"sub": "a", "userId": "b", "id": "c"})).await, Ok("a".into()));
        assert_eq!(user(&json!({"userId": "b", "id": "c"})).await, Ok("b".into()));
        assert_eq!(user(&json!({"id": 17})).await, Ok("17".into()));
        assert_eq!(user(&json!({"name": "x"})).await, Err(AuthError::InvalidToken));
        assert_eq!(user(&json!({"sub": "undefined"})).await, Err(AuthError::InvalidToken));
    }

    #[tokio::test]
    async fn an_old_token_is_expired_and_a_foreign_one_invalid() {
        assert_eq!(user(&json!({"sub": "a", "exp": 1})).await, Err(AuthError::TokenExpired));
        let foreign = mint(&Secret::from("other".to_owned()), "a", Duration::from_secs(60)).unwrap();
        assert_eq!(verifier(None, None).verify(&foreign).await, Err(AuthError::InvalidToken));
    }

    #[tokio::test]
    async fn a_token_without_a_signature_is_invalid() {
        // {"alg":"none"}.{"sub":"a"}.
        let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.";
        assert_eq!(verifier(None, None).verify(unsigned).await, Err(AuthError::InvalidToken));
    }

    #[tokio::test]
    async fn issuer_and_audience_count_when_set() {
        let strict = verifier(Some("me"), Some("chat"));
        assert!(strict.verify(&sign(&json!({"sub": "a", "iss": "me", "aud": "chat"}))).await.is_ok());
        for claims in
            [json!({"sub": "a"}), json!({"sub": "a", "iss": "me"}), json!({"sub": "a", "iss": "x", "aud": "chat"})]
        {
            assert_eq!(strict.verify(&sign(&claims)).await, Err(AuthError::InvalidToken), "{claims}");
        }
        assert_eq!(user(&json!({"sub": "a", "iss": "x", "aud": "y"})).await, Ok("a".into()));
    }
}
