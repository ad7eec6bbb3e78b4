//! Session ids as clients see them: the engine's own, the tag of the node that has the session, and a signature of both.
//!
//! The engine's id is also the socket's public id, which others may know. The signature is the part that nobody can guess,
//! so that knowing a socket does not mean being it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::keys::{KeyRing, Purpose, SIGNATURE};

/// Characters of the engine's id.
const ENGINE: usize = 16;
/// Characters of a tag: 48 bits.
const TAG: usize = 8;
/// Characters of a signature.
const SEAL: usize = (SIGNATURE * 4).div_ceil(3);

/// Names one boot of a node in eight characters of `[A-Za-z0-9_-]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag([u8; TAG]);

impl Tag {
    /// Of the node with this name, in the boot with this epoch.
    pub fn of(node: &str, epoch: &str) -> Self {
        let hash =
            Sha256::new().chain_update(node.as_bytes()).chain_update(b"/").chain_update(epoch.as_bytes()).finalize();
        let text = URL_SAFE_NO_PAD.encode(hash);
        let mut tag = [0; TAG];
        tag.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        Self(tag)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A session, and the node that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SessionId {
    /// What the engine calls it: 16 characters of `[A-Za-z0-9_-]`.
    pub(super) engine: String,
    /// The node that has it.
    pub(super) owner: Tag,
}

/// Why a text is no session id of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// It does not look like one.
    #[error("a session id of this cluster has another form")]
    Malformed,
    /// It looks like one, but no node of this cluster made it.
    #[error("the session id's signature is wrong")]
    Forged,
}

impl SessionId {
    /// The id that a client gets.
    pub(super) fn seal(&self, keys: &KeyRing) -> String {
        let signature = keys.sign(Purpose::Session, &[self.engine.as_bytes(), self.owner.as_bytes()]);
        let mut text = String::with_capacity(ENGINE + TAG + SEAL);
        text.push_str(&self.engine);
        text.extend(self.owner.0.map(char::from));
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        text
    }

    /// Reads an id that a client sent.
    pub(super) fn open(text: &str, keys: &KeyRing) -> Result<Self, Unreadable> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if text.len() != ENGINE + TAG + SEAL || !text.bytes().all(plain) {
            return Err(Unreadable::Malformed);
        }
        let (engine, rest) = text.split_at(ENGINE);
        let (tag, seal) = rest.split_at(TAG);
        let mut owner = Tag([0; TAG]);
        owner.0.iter_mut().zip(tag.bytes()).for_each(|(to, from)| *to = from);
        // The last character has bits to spare: those that are not 0 are no encoding of anything.
        let signature = URL_SAFE_NO_PAD.decode(seal).map_err(|_| Unreadable::Malformed)?;
        if !keys.verify(Purpose::Session, &[engine.as_bytes(), owner.as_bytes()], &signature) {
            return Err(Unreadable::Forged);
        }
        Ok(Self { engine: engine.to_owned(), owner })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (KeyRing, SessionId) {
        (KeyRing::new("secret"), SessionId { engine: "AAAA-BBBB_CCCC12".into(), owner: Tag::of("node-1", "e1") })
    }

    #[test]
    fn what_was_sealed_is_opened_and_needs_no_escaping() {
        let (keys, id) = example();
        let text = id.seal(&keys);
        assert_eq!(SessionId::open(&text, &keys), Ok(id));
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{text}");
    }

    #[test]
    fn any_other_character_anywhere_is_refused() {
        let (keys, id) = example();
        let text = id.seal(&keys);
        for at in 0..text.len() {
            for other in ["A", "B", "-", "%", "é"] {
                let mut changed = text.clone();
                changed.replace_range(at..=at, other);
                assert!(changed == text || SessionId::open(&changed, &keys).is_err(), "{changed}");
            }
        }
    }

    #[test]
    fn other_lengths_and_other_clusters_are_refused() {
        let (keys, id) = example();
        let text = id.seal(&keys);
        for wrong in ["", &id.engine, &text[1..], &format!("{text}A")] {
            assert_eq!(SessionId::open(wrong, &keys), Err(Unreadable::Malformed), "{wrong}");
        }
        assert_eq!(SessionId::open(&text, &KeyRing::new("another")), Err(Unreadable::Forged));
    }

    #[test]
    fn boots_of_a_node_have_different_tags() {
        assert_ne!(Tag::of("node-1", "e1"), Tag::of("node-1", "e2"));
        assert_ne!(Tag::of("node-1", "e1"), Tag::of("node-2", "e1"));
    }
}
