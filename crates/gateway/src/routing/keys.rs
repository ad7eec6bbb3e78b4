//! The secret that the nodes of a cluster share, and what is signed with it.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::RwLock;
use sha2::Sha256;

/// Bytes of a signature: what is left of an HMAC-SHA256 once it is truncated. 128 bits can't be guessed.
pub(super) const SIGNATURE: usize = 16;

/// Secrets that were in use before the present one. They change only when Redis lost its data while nodes ran, and
/// whatever was signed with an older one is as long-lived as a session.
const RETIRED: usize = 2;

/// What a signature is for, so that none made for one purpose is good for another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Session,
    Pass,
}

/// The secret in use, and those that were. Cheap to clone.
#[derive(Clone)]
pub(super) struct KeyRing(Arc<RwLock<Keys>>);

struct Keys {
    current: Key,
    retired: Vec<Key>,
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
        Self(Arc::new(RwLock::new(Keys { current: Key::new(secret), retired: Vec::new() })))
    }

    /// A ring with a secret of this node's own: good for its own sessions until it has heard of the cluster's.
    pub(super) fn random() -> Self {
        Self::new(&URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()))
    }

    /// The secret in use: what this node proposes to the others.
    pub(super) fn secret(&self) -> String {
        self.0.read().current.secret.clone()
    }

    /// From now on this is the secret. What was signed before stays valid.
    pub(super) fn adopt(&self, secret: &str) {
        if self.0.read().current.secret == secret {
            return;
        }
        let mut keys = self.0.write();
        let former = std::mem::replace(&mut keys.current, Key::new(secret));
        keys.retired.insert(0, former);
        keys.retired.truncate(RETIRED);
    }

    pub(super) fn sign(&self, purpose: Purpose, parts: &[&[u8]]) -> [u8; SIGNATURE] {
        let whole = self.0.read().current.over(purpose, parts).finalize().into_bytes();
        let mut signature = [0; SIGNATURE];
        signature.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
        signature
    }

    /// Whether a node of this cluster signed these parts. Takes the same time wherever the first wrong byte is.
    pub(super) fn verify(&self, purpose: Purpose, parts: &[&[u8]], signature: &[u8]) -> bool {
        let keys = self.0.read();
        let good = |key: &Key| key.over(purpose, parts).verify_truncated_left(signature).is_ok();
        signature.len() == SIGNATURE && (good(&keys.current) || keys.retired.iter().any(good))
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
    fn what_was_signed_before_the_secret_changed_stays_valid() {
        let keys = KeyRing::random();
        let early = keys.sign(Purpose::Session, &PARTS);
        keys.adopt("shared");
        keys.adopt("shared");
        assert!(keys.verify(Purpose::Session, &PARTS, &early));
        assert!(KeyRing::new("shared").verify(Purpose::Session, &PARTS, &keys.sign(Purpose::Session, &PARTS)));
        keys.adopt("second");
        keys.adopt("third");
        assert!(!keys.verify(Purpose::Session, &PARTS, &early), "only the last two are kept");
    }

    #[test]
    fn secrets_are_not_shown() {
        assert!(!format!("{:?}", KeyRing::new("hunter2")).contains("hunter2"));
    }
}
