//! How sockets are named: 20 random characters, as Node's ids have, of which the first are the same for all of a node.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// Bytes that are the same for all ids of a hub: a prefix of four characters. Two nodes that happen to have the same one
/// hear some messages in vain.
const PREFIX: usize = 3;

/// Bytes of an id's own: 96 bits, which nobody guesses and which don't come twice.
const OWN: usize = 12;

pub(crate) struct Ids {
    prefix: String,
}

impl Default for Ids {
    fn default() -> Self {
        Self { prefix: URL_SAFE_NO_PAD.encode(rand::random::<[u8; PREFIX]>()) }
    }
}

impl Ids {
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn fresh(&self) -> String {
        let mut id = String::with_capacity((PREFIX + OWN) / 3 * 4);
        id.push_str(&self.prefix);
        URL_SAFE_NO_PAD.encode_string(rand::random::<[u8; OWN]>(), &mut id);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SocketId;

    #[test]
    fn an_id_is_one_that_node_could_have_given_begins_like_its_hub_s_others_and_comes_once() {
        let ids = Ids::default();
        let many: ahash::AHashSet<String> = (0..1_000).map(|_| ids.fresh()).collect();
        assert_eq!(many.len(), 1_000);
        assert!(many.iter().all(|id| id.len() == 20 && SocketId::is_possible(id) && id.starts_with(ids.prefix())));
        assert_eq!(ids.prefix().len(), 4);
    }
}
