//! Every key in Redis, a function each.
//!
//! All start with `trunkline:`. What is in braces is the hash tag that decides the Redis Cluster slot; each script
//! touches keys of one tag:
//!
//! | tag | what |
//! |---|---|
//! | `{nodes}` | leases and descriptions of nodes, which rooms each node's sockets are in, who sweeps, their secret |
//! | `{u0}` … `{u15}` | everything of the users in that [`bucket`] |
//! | `{c:…}` | everything of one conversation, which is a room too |
//!
//! Users are put into buckets, and not each into a slot of its own, so that a script may change a user and the set of
//! those online as one step. Nothing that follows a tag can change the slot, so only what stands in one is escaped.
//!
//! What bounds each: there is one secret; logs and their heads, duplicates, the sweeper and last-seen times expire; everything else belongs
//! to sockets of a node whose lease is listed, and goes when they close or when the sweep finds the lease lapsed.

use std::sync::Arc;

/// Part of the store that is kept apart from all others. See [`Store::realm`](crate::Store::realm).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Realm(Arc<str>);

impl Realm {
    /// The realm that everybody is in who is in none of their own.
    pub fn common() -> Self {
        Self::named("")
    }

    /// The realm of that name; `""` is the common one.
    pub fn named(name: &str) -> Self {
        Self(name.into())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// A name of this realm, as one that no other realm has: a [`pair`].
    pub fn scoped(&self, name: &str) -> String {
        pair(&self.0, name)
    }
}

/// How many buckets users are spread over. All nodes must agree: changing it orphans the presence in Redis.
pub const BUCKETS: u16 = 16;

/// The bucket of a user: FNV-1a, since every version and build must find the same.
pub fn bucket(user: &str) -> u16 {
    const OFFSET: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    let hash = user.bytes().fold(OFFSET, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(PRIME));
    // The upper half: the lowest bits of FNV are its weakest.
    (hash >> 16) as u16 % BUCKETS
}

/// Sorted set: instance of a node → end of its lease, in ms since 1970.
pub fn leases() -> String {
    "trunkline:{nodes}:leases".into()
}

/// Hash: instance of a node → JSON of [`NodeInfo`](crate::NodeInfo).
pub fn node_infos() -> String {
    "trunkline:{nodes}:infos".into()
}

/// Set: [`pair`] of socket and room, for each room that a socket of this node is in.
pub fn node_rooms(instance: &str) -> String {
    format!("trunkline:{{nodes}}:rooms:{instance}")
}

/// String with expiry: the instance that sweeps at present.
pub fn sweeper() -> String {
    "trunkline:{nodes}:sweeper".into()
}

/// String: what the nodes of this cluster sign session ids and requests to each other with.
pub fn shared_secret() -> String {
    "trunkline:{nodes}:secret".into()
}

/// Sorted set, as [`leases`]: a copy in each bucket, for the scripts there.
pub fn bucket_leases(bucket: u16) -> String {
    format!("trunkline:{{u{bucket}}}:leases")
}

/// Sorted set, all scores 0, so that it is read by name: users of this bucket announced as online.
pub fn online(bucket: u16) -> String {
    format!("trunkline:{{u{bucket}}}:online")
}

/// Set: [`pair`] of socket and user, for each open socket of this node whose user is in this bucket.
pub fn node_sockets(bucket: u16, instance: &str) -> String {
    format!("{}{instance}", node_sockets_prefix(bucket))
}

/// What [`node_sockets`] starts with.
pub fn node_sockets_prefix(bucket: u16) -> String {
    format!("trunkline:{{u{bucket}}}:sockets:")
}

/// Hash: instance of a node → how many sockets of this user are on it, i.e. in its [`node_sockets`].
pub fn user_nodes(user: &str) -> String {
    format!("{}{user}", user_nodes_prefix(bucket(user)))
}

/// What [`user_nodes`] starts with.
pub fn user_nodes_prefix(bucket: u16) -> String {
    format!("trunkline:{{u{bucket}}}:nodes:")
}

/// String with expiry: when the user last went offline, in ms since 1970.
pub fn last_seen(user: &str) -> String {
    format!("{}{user}", last_seen_prefix(bucket(user)))
}

/// What [`last_seen`] starts with.
pub fn last_seen_prefix(bucket: u16) -> String {
    format!("trunkline:{{u{bucket}}}:seen:")
}

/// Hash: socket → [`pair`] of instance and user, for each socket in the room.
pub fn room(room: &str) -> String {
    format!("trunkline:{}:members", conversation_tag(room))
}

/// Stream with expiry: the log, entry `seq` under id `<seq>-0`.
pub fn log(conversation: &str) -> String {
    format!("trunkline:{}:log", conversation_tag(conversation))
}

/// Hash with expiry: `epoch`, `seq` (the newest) and `due` (no entry is too old before that time, in ms since 1970).
/// It outlives [`log`], so that numbers go on after a long silence.
pub fn log_head(conversation: &str) -> String {
    format!("trunkline:{}:head", conversation_tag(conversation))
}

/// String with expiry: `<seq> <epoch> <timestamp>` of the entry that this sender appended under this id.
pub fn duplicate(conversation: &str, sender: &str, client_message_id: &str) -> String {
    format!("trunkline:{}:sent:{}", conversation_tag(conversation), pair(sender, client_message_id))
}

/// Two strings in one, unambiguously: `<bytes of the first>:<first><second>`.
pub fn pair(first: &str, second: &str) -> String {
    format!("{}:{first}{second}", first.len())
}

/// The two strings of a [`pair`].
pub fn split_pair(pair: &str) -> Option<(&str, &str)> {
    let (length, rest) = pair.split_once(':')?;
    rest.split_at_checked(length.parse().ok()?)
}

/// The prefix keeps the tag from being empty, which to Redis would be no tag.
fn conversation_tag(conversation: &str) -> String {
    format!("{{c:{}}}", escape(conversation))
}

/// A brace inside a tag would end it early; `%` is escaped to keep names apart.
fn escape(id: &str) -> String {
    id.replace('%', "%25").replace('{', "%7B").replace('}', "%7D")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// What Redis Cluster hashes of a key: the text between the first `{` and the next `}`, if any.
    fn tag(key: &str) -> &str {
        let (_, rest) = key.split_once('{').unwrap();
        rest.split_once('}').unwrap().0
    }

    const NASTY: [&str; 8] = ["", "a", "}", "{}", "{a}b", "a%7Db", "dm:ä:ß", "\u{0}\n"];

    #[test]
    fn everything_of_a_conversation_has_one_tag_of_its_own() {
        let mut tags = HashSet::new();
        for id in NASTY {
            let of_all = [log(id), log_head(id), room(id), duplicate(id, "}{", "{x}")];
            assert!(
                of_all.iter().all(|key| tag(key) == tag(&of_all[0]) && key.starts_with("trunkline:")),
                "{of_all:?}"
            );
            assert!(tags.insert(tag(&of_all[0]).to_owned()), "{id:?} shares a tag");
        }
    }

    #[test]
    fn everything_of_a_user_has_the_tag_of_its_bucket() {
        for id in NASTY {
            let expected = format!("u{}", bucket(id));
            assert_eq!(tag(&user_nodes(id)), expected);
            assert_eq!(tag(&last_seen(id)), expected);
        }
    }

    #[test]
    fn buckets_are_used_evenly() {
        let mut counts = [0_u32; BUCKETS as usize];
        for n in 0..16_000 {
            counts[usize::from(bucket(&format!("user-{n}")))] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_bucket_of_a_user_never_changes() {
        assert_eq!([bucket(""), bucket("alice"), bucket("bob")], [12, 2, 6]);
    }

    #[test]
    fn pairs_do_not_run_together() {
        assert_ne!(pair("ab", "c"), pair("a", "bc"));
        for first in NASTY {
            for second in NASTY {
                assert_eq!(split_pair(&pair(first, second)), Some((first, second)));
            }
        }
        assert_eq!(split_pair("9:abc"), None);
        assert_eq!(split_pair("1:ä"), None);
        assert_eq!(split_pair("abc"), None);
    }
}
