//! The keys that tokens are checked with: a shared secret, a public key, and sets that are fetched.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::Uri;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Header, jwk::Jwk};
use parking_lot::RwLock;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{AuthError, fetch::Fetcher};
use crate::domain::Chain;

/// A fetched set is fetched again when it is older than this.
const MAX_AGE: Duration = Duration::from_secs(10 * 60);

/// Between two fetches, so that tokens with invented key ids don't make us fetch all the time.
const MIN_PAUSE: Duration = Duration::from_secs(10);

/// Keys of a set beyond this are ignored.
const MAX_KEYS: usize = 100;

/// One key, and what may be signed with it.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) decoding: DecodingKey,
    /// Narrows the family of `decoding` where the set says so.
    algorithm: Option<Algorithm>,
}

impl Key {
    /// A secret signs with HS algorithms, a public key checks those of its kind: which algorithm a token names never
    /// turns the one into the other.
    fn fits(&self, algorithm: Algorithm) -> bool {
        self.decoding.family() == algorithm.family() && self.algorithm.is_none_or(|only| only == algorithm)
    }
}

impl From<DecodingKey> for Key {
    fn from(decoding: DecodingKey) -> Self {
        Self { decoding, algorithm: None }
    }
}

/// Reads a public key of any kind: RSA, EC or Ed25519.
///
/// # Errors
/// It is none of them.
pub fn public_key(pem: &str) -> Result<DecodingKey, String> {
    let pem = pem.as_bytes();
    DecodingKey::from_rsa_pem(pem)
        .or_else(|_| DecodingKey::from_ec_pem(pem))
        .or_else(|_| DecodingKey::from_ed_pem(pem))
        .map_err(|_| "is no RSA, EC or Ed25519 public key in PEM".to_owned())
}

/// Where keys come from.
pub(super) struct Keys {
    fixed: Vec<Key>,
    set: Option<KeySet>,
}

impl Keys {
    pub(super) fn new(fixed: Vec<Key>, jwks_url: Option<Uri>) -> Self {
        Self { fixed, set: jwks_url.map(KeySet::new) }
    }

    /// The keys to try for a token with this header; usually one.
    ///
    /// # Errors
    /// [`AuthError::InvalidToken`] when no key fits, [`AuthError::Unavailable`] when that may be since the set
    /// can't be had.
    pub(super) async fn candidates(&self, header: &Header) -> Result<Vec<Key>, AuthError> {
        let mut keys: Vec<Key> = self.fixed.iter().filter(|key| key.fits(header.alg)).cloned().collect();
        if let Some(set) = &self.set
            && header.alg.family() != AlgorithmFamily::Hmac
        {
            match set.find(header).await {
                Ok(found) => keys.extend(found),
                Err(error) if keys.is_empty() => return Err(error),
                Err(_) => {}
            }
        }
        if keys.is_empty() { Err(AuthError::InvalidToken) } else { Ok(keys) }
    }
}

/// A JSON Web Key Set somewhere on the network, kept by key id.
struct KeySet {
    url: Uri,
    fetcher: Fetcher,
    known: RwLock<Known>,
    /// Held while fetching: one asks, the others wait for its answer.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    keys: Arc<HashMap<Option<String>, Vec<Key>>>,
    /// The last attempt.
    tried: Option<Instant>,
    /// The last success.
    fetched: Option<Instant>,
}

/// What is fetched.
#[derive(Deserialize)]
struct Fetched {
    /// Each read by itself: one of a kind that we don't know is no reason to do without the others.
    keys: Vec<Value>,
}

impl KeySet {
    fn new(url: Uri) -> Self {
        Self { url, fetcher: Fetcher::new(), known: RwLock::default(), fetching: tokio::sync::Mutex::default() }
    }

    async fn find(&self, header: &Header) -> Result<Vec<Key>, AuthError> {
        let stale = self.known.read().fetched.is_none_or(|at| at.elapsed() > MAX_AGE);
        let found = self.look_up(header);
        if !stale && !found.is_empty() {
            return Ok(found);
        }
        self.refresh().await;
        let found = self.look_up(header);
        let fetched = self.known.read().fetched.is_some();
        if found.is_empty() && !fetched { Err(AuthError::Unavailable) } else { Ok(found) }
    }

    /// By key id; a token without one is checked with all.
    fn look_up(&self, header: &Header) -> Vec<Key> {
        let keys = Arc::clone(&self.known.read().keys);
        let fits = |key: &&Key| key.fits(header.alg);
        match &header.kid {
            Some(_) => keys.get(&header.kid).into_iter().flatten().filter(fits).cloned().collect(),
            None => keys.values().flatten().filter(fits).cloned().collect(),
        }
    }

    /// Fetches the set, unless that was tried a moment ago. What was known stays known when it fails.
    async fn refresh(&self) {
        let _one = self.fetching.lock().await;
        if self.known.read().tried.is_some_and(|at| at.elapsed() < MIN_PAUSE) {
            return;
        }
        self.known.write().tried = Some(Instant::now());
        let set: Fetched = match self.fetcher.get(&self.url).await {
            Ok((status, body)) if status.is_success() => match serde_json::from_slice(&body) {
                Ok(set) => set,
                Err(error) => return tracing::warn!(%error, "the key set at --jwks-url can't be read"),
            },
            Ok((status, _)) => return tracing::warn!(%status, "no key set is at --jwks-url"),
            Err(error) => return tracing::warn!(error = %Chain(&error), "could not fetch the key set at --jwks-url"),
        };
        let mut keys: HashMap<_, Vec<Key>> = HashMap::new();
        for key in set.keys.into_iter().take(MAX_KEYS) {
            let Ok(jwk) = serde_json::from_value::<Jwk>(key) else { continue };
            let Ok(decoding) = DecodingKey::from_jwk(&jwk) else { continue };
            // A public place is none for a secret.
            if decoding.family() == AlgorithmFamily::Hmac {
                continue;
            }
            let algorithm = jwk.common.key_algorithm.and_then(|name| name.to_string().parse().ok());
            keys.entry(jwk.common.key_id).or_default().push(Key { decoding, algorithm });
        }
        let mut known = self.known.write();
        known.keys = keys.into();
        known.fetched = Some(Instant::now());
    }
}
