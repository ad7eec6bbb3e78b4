//! JSON Web Tokens: checked when a client connects, minted for development.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_protocol::ids;

use super::{AuthError, Identity};
use crate::config::{JwtConfig, Secret};

/// The claims that matter here. A user may be named by `sub`, else `userId`, else `id`, as text or as a number.
#[derive(Debug, Deserialize, Serialize)]
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
}

impl Claims {
    fn user(&self) -> Option<String> {
        let user = [&self.sub, &self.user_id, &self.id].into_iter().find_map(|claim| match claim {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })?;
        ids::is_user(&user).then_some(user)
    }
}

/// Checks tokens against one key.
#[derive(Clone)]
pub(super) struct Verifier {
    key: DecodingKey,
    validation: Validation,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

impl Verifier {
    pub(super) fn new(config: &JwtConfig) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.algorithms = vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
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
        Self { key: DecodingKey::from_secret(config.secret.expose().as_bytes()), validation }
    }

    pub(super) fn verify(&self, token: &str) -> Result<Identity, AuthError> {
        let claims = match jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation) {
            Ok(token) => token.claims,
            Err(error) if matches!(error.kind(), ErrorKind::ExpiredSignature) => return Err(AuthError::TokenExpired),
            Err(_) => return Err(AuthError::InvalidToken),
        };
        let user = claims.user().ok_or(AuthError::InvalidToken)?;
        let expires_at = claims.exp.and_then(|exp| UNIX_EPOCH.checked_add(Duration::from_secs(exp)));
        Ok(Identity { user, expires_at, guest: false, notifies: false })
    }
}

/// Makes an HS256 token for `user` that is good for `ttl`. For development.
///
/// # Errors
/// The signing library's.
pub fn mint(secret: &Secret, user: &str, ttl: Duration) -> Result<String, jsonwebtoken::errors::Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let claims = Claims {
        sub: Value::String(user.to_owned()),
        user_id: Value::Null,
        id: Value::Null,
        exp: Some(now.saturating_add(ttl.as_secs())),
        iat: Some(now),
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
            secret: Secret::from("key".to_owned()),
            issuer: issuer.map(str::to_owned),
            audience: audience.map(str::to_owned),
            leeway: Duration::from_secs(2),
        })
    }

    fn sign(claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(b"key")).unwrap()
    }

    fn user(claims: &Value) -> Result<String, AuthError> {
        verifier(None, None).verify(&sign(claims)).map(|identity| identity.user)
    }

    #[test]
    fn the_user_is_sub_else_user_id_else_id() {
        assert_eq!(user(&json!({"sub": "a", "userId": "b", "id": "c"})), Ok("a".into()));
        assert_eq!(user(&json!({"userId": "b", "id": "c"})), Ok("b".into()));
        assert_eq!(user(&json!({"id": 17})), Ok("17".into()));
        assert_eq!(user(&json!({"name": "x"})), Err(AuthError::InvalidToken));
        assert_eq!(user(&json!({"sub": "undefined"})), Err(AuthError::InvalidToken));
    }

    #[test]
    fn an_old_token_is_expired_and_a_foreign_one_invalid() {
        assert_eq!(user(&json!({"sub": "a", "exp": 1})), Err(AuthError::TokenExpired));
        let foreign = mint(&Secret::from("other".to_owned()), "a", Duration::from_secs(60)).unwrap();
        assert_eq!(verifier(None, None).verify(&foreign), Err(AuthError::InvalidToken));
    }

    #[test]
    fn a_token_without_a_signature_is_invalid() {
        // {"alg":"none"}.{"sub":"a"}.
        let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.";
        assert_eq!(verifier(None, None).verify(unsigned), Err(AuthError::InvalidToken));
    }

    #[test]
    fn issuer_and_audience_count_when_set() {
        let strict = verifier(Some("me"), Some("chat"));
        assert!(strict.verify(&sign(&json!({"sub": "a", "iss": "me", "aud": "chat"}))).is_ok());
        for claims in
            [json!({"sub": "a"}), json!({"sub": "a", "iss": "me"}), json!({"sub": "a", "iss": "x", "aud": "chat"})]
        {
            assert_eq!(strict.verify(&sign(&claims)), Err(AuthError::InvalidToken), "{claims}");
        }
        assert_eq!(user(&json!({"sub": "a", "iss": "x", "aud": "y"})), Ok("a".into()));
    }
}
