//! The secret that the nodes of a cluster share, and what is signed with it.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::RwLock;
use sha2::Sha256;

/// Bytes of a signature: what is left of an HMAC-SHA256 once it is truncated. 128 bits can't be guessed.
pub(super) const SIGNATURE: usize = 16;

/// What a signature is for, so that none made for one purpose is good for another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Session,
    Pass,
}

/// The secrets of the cluster. Cheap to clone.
#[derive(Clone)]
pub(super) struct KeyRing(Arc<RwLock<Keys>>);

struct Keys {
    /// Never empty. The first signs, all verify: there are more only after Redis lost its data while nodes ran.
    keys: Vec<Key>,
    /// Whether something was signed.
    in_use: bool,
}

struct Key {
    secret: String,
    mac: Hmac<Sha256>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").finish_non_exhaustive()
    }
}

impl KeyRing {
    /// A ring with the secret that was configured.
    pub(super) fn new(secret: &str) -> Self {
        Self(Arc::new(RwLock::new(Keys { keys: vec![Key::new(secret)], in_use: false })))
    }

    /// A ring with a secret of this node's own: good for its own sessions until it has heard of the cluster's.
    pub(super) fn random() -> Self {
        // The time in front lets all sign with the oldest one, which most sessions were signed with.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Self::new(&format!("{now:015}.{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())))
    }

    /// All secrets, and whether something was signed with them.
    pub(super) fn secrets(&self) -> (Vec<String>, bool) {
        let ring = self.0.read();
        (ring.keys.iter().map(|key| key.secret.clone()).collect(), ring.in_use)
    }

    /// From now on these are the secrets. None at all changes nothing.
    pub(super) fn adopt(&self, secrets: &[String]) {
        let same = self.0.read().keys.iter().map(|key| &key.secret).eq(secrets);
        if !same && !secrets.is_empty() {
            let mut ring = self.0.write();
            ring.keys = secrets.iter().map(|secret| Key::new(secret)).collect();
            // They are the cluster's, so somebody has signed with them.
            ring.in_use = true;
        }
    }

    pub(super) fn sign(&self, purpose: Purpose, parts: &[&[u8]]) -> [u8; SIGNATURE] {
        let mut ring = self.0.upgradable_read();
        if !ring.in_use {
            ring.with_upgraded(|ring| ring.in_use = true);
        }
        let mut signature = [0; SIGNATURE];
        if let Some(key) = ring.keys.first() {
            let whole = key.over(purpose, parts).finalize().into_bytes();
            signature.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
        }
        signature
    }

    /// Whether a node of this cluster signed these parts. Takes the same time wherever the first wrong byte is.
    pub(super) fn verify(&self, purpose: Purpose, parts: &[&[u8]], signature: &[u8]) -> bool {
        let good = |key: &Key| key.over(purpose, parts).verify_truncated_left(signature).is_ok();
        signature.len() == SIGNATURE && self.0.read().keys.iter().any(good)
    }
}

impl Key {
    fn new(secret: &str) -> Self {
        let mac = Hmac::new_from_slice(secret.as_bytes()).expect("an HMAC takes keys of any length");
        Self { secret: secret.to_owned(), mac }
    }

    fn over(&self, purpose: Purpose, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(match purpose {
            Purpose::Session => b"trunkline session 1",
            Purpose::Pass => b"trunkline pass 1",
        });
        for part in parts {
            // With its length, so that no two lists of parts are signed as one text.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: [&[u8]; 2] = [b"ab", b"c"];

    #[test]
    fn a_signature_is_good_for_its_parts_and_purpose_alone() {
        let keys = KeyRing::new("secret");
        let signature = keys.sign(Purpose::Session, &PARTS);
        assert!(keys.verify(Purpose::Session, &PARTS, &signature));
        assert!(!keys.verify(Purpose::Pass, &PARTS, &signature));
        assert!(!keys.verify(Purpose::Session, &[b"a", b"bc"], &signature));
        assert!(!keys.verify(Purpose::Session, &PARTS, &signature[..8]));
        assert!(!keys.verify(Purpose::Session, &PARTS, &[]));
        assert!(!KeyRing::new("another").verify(Purpose::Session, &PARTS, &signature));
    }

    #[test]
    fn the_first_signs_and_all_verify() {
        let (ring, old, young) = (KeyRing::random(), KeyRing::new("1"), KeyRing::new("2"));
        ring.adopt(&["1".to_owned(), "2".to_owned()]);
        ring.adopt(&[]);
        assert_eq!(ring.secrets(), (vec!["1".to_owned(), "2".to_owned()], true));
        let signature = ring.sign(Purpose::Session, &PARTS);
        assert!(old.verify(Purpose::Session, &PARTS, &signature));
        assert!(!young.verify(Purpose::Session, &PARTS, &signature));
        assert!(ring.verify(Purpose::Session, &PARTS, &young.sign(Purpose::Session, &PARTS)));
    }

    #[test]
    fn a_secret_is_in_use_once_something_was_signed_with_it() {
        let ring = KeyRing::random();
        assert!(!ring.secrets().1);
        ring.sign(Purpose::Session, &PARTS);
        assert!(ring.secrets().1);
    }

    #[test]
    fn secrets_are_not_shown() {
        assert!(!format!("{:?}", KeyRing::new("hunter2")).contains("hunter2"));
    }
}
