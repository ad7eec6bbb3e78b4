//! Every key in Redis, a function each.
//!
//! All start with `trunkline:`. What is in braces is the hash tag that decides the Redis Cluster slot; each script
//! touches keys of one tag:
//!
//! | tag | what |
//! |---|---|
//! | `{nodes}` | leases and descriptions of nodes, who sweeps, their secrets |
//! | `{u0}` … `{u15}` | everything of the users in that [`bucket`]; which rooms in it each node's sockets are in; sessions in it |
//! | `{c:…}`, `{c/…}` | everything of one conversation, which is a room too; with a slash in a [`Realm`] |
//! | `{m:…}` | one memo |
//! | `{d:…}`, `{d/…}` | one document |
//!
//! Users are put into buckets, and not each into a slot of its own, so that a script may change a user and the set of
//! those online as one step. Nothing that follows a tag can change the slot, so only what stands in one is escaped.
//!
//! What bounds each: secrets are few, names of the data one; what belongs to sockets of a node whose lease is listed goes
//! when they close or when the sweep finds the lease lapsed; everything else expires.

use std::{borrow::Cow, sync::Arc};

/// Part of the store that is kept apart from all others. See [`Store::realm`](crate::Store::realm).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Realm(Arc<str>);

/// How many buckets users, rooms of nodes, and sessions are spread over. All nodes must agree: changing it orphans what is
/// in Redis.
pub const BUCKETS: u16 = 16;

/// The bucket of a user, a room or a session: FNV-1a, since every version and build must find the same.
pub fn bucket(id: &str) -> u16 {
    const OFFSET: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    let hash = id.bytes().fold(OFFSET, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(PRIME));
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

/// String with expiry: the instance that sweeps at present.
pub fn sweeper() -> String {
    "trunkline:{nodes}:sweeper".into()
}

/// Sorted set, all scores 0: what the nodes of this cluster sign session ids and requests to each other with.
pub fn shared_secrets() -> String {
    "trunkline:{nodes}:secrets".into()
}

/// Hash: what was stamped last; `run`, `generation`, `number`. Not for a Cluster: scripts on every log's tag touch it.
pub fn stamps() -> String {
    "trunkline:{nodes}:stamps".into()
}

/// String: a name made at random for the data that is here, so that nodes notice when all of it was lost.
pub fn data_name() -> String {
    "trunkline:{nodes}:data".into()
}

/// Sorted set, as [`leases`]: a copy in each bucket, for the scripts there.
pub fn bucket_leases(bucket: u16) -> String {
    in_bucket(bucket, "leases")
}

/// Set: [`pair`] of socket and scoped user, for each open socket of this node whose user is in this bucket.
pub fn node_sockets(bucket: u16, instance: &str) -> String {
    node_sockets_prefix(bucket) + instance
}

/// What [`node_sockets`] starts with.
pub fn node_sockets_prefix(bucket: u16) -> String {
    in_bucket(bucket, "sockets:")
}

/// Hash: scoped name of each open socket of the users in this bucket → on how many nodes it is. That is two while a socket that
/// was recovered on another node is not given up by the old one yet.
pub fn socket_names(bucket: u16) -> String {
    in_bucket(bucket, "open")
}

/// Set: [`node_room`] for each room in this bucket that a socket of this node is in.
pub fn node_rooms(bucket: u16, instance: &str) -> String {
    in_bucket(bucket, "rooms:") + instance
}

/// Sorted set: instance of a node → until when its [`sessions`] may be asked for, in ms since 1970.
pub fn session_nodes(bucket: u16) -> String {
    in_bucket(bucket, "session-nodes")
}

/// Hash with expiry: id → record, for each session of this node in this bucket.
pub fn sessions(bucket: u16, instance: &str) -> String {
    sessions_prefix(bucket) + instance
}

/// What [`sessions`] starts with.
pub fn sessions_prefix(bucket: u16) -> String {
    in_bucket(bucket, "sessions:")
}

/// String with expiry: record of a session whose socket lost its connection.
pub fn detached_session(id: &str) -> String {
    in_bucket(bucket(id), "detached:") + id
}

/// What the online sets of all realms in this bucket start with; in a realm the rest is `:` and its name.
pub fn online_prefix(bucket: u16) -> String {
    in_bucket(bucket, "online")
}

/// What [`Realm::user_nodes`] starts with; the rest is the scoped user.
pub fn user_nodes_prefix(bucket: u16) -> String {
    in_bucket(bucket, "nodes:")
}

/// What [`Realm::last_seen`] starts with; the rest is the scoped user.
pub fn last_seen_prefix(bucket: u16) -> String {
    in_bucket(bucket, "seen:")
}

/// Put together in place, as all that is asked for with every message, and without formatting, which takes several times as long.
fn in_bucket(bucket: u16, what: &str) -> String {
    let mut key = String::with_capacity(KEY_BYTES);
    key.push_str("trunkline:{u");
    key.push_str(&bucket.to_string());
    key.push_str("}:");
    key.push_str(what);
    key
}

/// What most keys have room in.
const KEY_BYTES: usize = 96;

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

    /// Sorted set, all scores 0, so that it is read by name: users of this bucket announced as online.
    pub fn online(&self, bucket: u16) -> String {
        let prefix = online_prefix(bucket);
        if self.0.is_empty() { prefix } else { format!("{prefix}:{}", self.0) }
    }

    /// Hash: instance of a node → how many sockets of this user are on it, i.e. in its [`node_sockets`].
    pub fn user_nodes(&self, user: &str) -> String {
        self.of_user(user_nodes_prefix(bucket(user)), user)
    }

    /// String with expiry: when the user last went offline, in ms since 1970.
    pub fn last_seen(&self, user: &str) -> String {
        self.of_user(last_seen_prefix(bucket(user)), user)
    }

    /// Sorted set with expiry: id of an item → its place.
    pub fn inbox(&self, user: &str) -> String {
        self.of_user(in_bucket(bucket(user), "inbox:"), user)
    }

    /// Hash with expiry: id of an item → its body; the same ids as in [`inbox`](Self::inbox).
    pub fn inbox_bodies(&self, user: &str) -> String {
        self.of_user(in_bucket(bucket(user), "bodies:"), user)
    }

    /// Sorted set with expiry: conversation → when the user was last active in it, in ms since 1970.
    pub fn conversations(&self, user: &str) -> String {
        self.of_user(in_bucket(bucket(user), "conversations:"), user)
    }

    /// Sorted set, all scores 0, so that it is read by name: [`Seat`] of each socket in the room.
    pub fn room(&self, room: &str) -> String {
        self.of_conversation(room, "members")
    }

    /// Stream with expiry: the log, entry `seq` under id `<seq>-0`.
    pub fn log(&self, conversation: &str) -> String {
        self.of_conversation(conversation, "log")
    }

    /// Hash with expiry: `epoch`, `seq` (the newest), `run` (the Redis that wrote it), `past` (ancestors), `last` (the newest
    /// message), `at` (its time), `due` (no entry is too old before that time, in ms since 1970) and `fresh` (no expiry needs
    /// to be moved before that time). It outlives [`log`](Self::log), so that numbers go on after a long silence.
    pub fn log_head(&self, conversation: &str) -> String {
        self.of_conversation(conversation, "head")
    }

    /// Hash with expiry: number of a message in the log → `e` or `d` (edited, deleted) and the number of the entry that
    /// did it.
    pub fn standings(&self, conversation: &str) -> String {
        self.of_conversation(conversation, "standings")
    }

    /// Sorted set with expiry: numbers of the entries in the log that are changes, scored by themselves.
    pub fn changes(&self, conversation: &str) -> String {
        self.of_conversation(conversation, "changes")
    }

    /// Sorted set with expiry: user → number up to which everything was delivered.
    pub fn delivered(&self, conversation: &str) -> String {
        self.of_conversation(conversation, "delivered")
    }

    /// Sorted set with expiry: user → number up to which everything was read.
    pub fn read(&self, conversation: &str) -> String {
        self.of_conversation(conversation, "read")
    }

    /// Sorted set with expiry: user → end of the log when they first took part.
    pub fn since(&self, conversation: &str) -> String {
        self.of_conversation(conversation, "since")
    }

    /// String with expiry: `<seq> <epoch> <timestamp>` of the entry that this sender appended under this id.
    pub fn duplicate(&self, conversation: &str, sender: &str, client_message_id: &str) -> String {
        self.of_conversation(conversation, &["sent:", &pair(sender, client_message_id)].concat())
    }

    /// Hash with expiry: `content` and `version`.
    pub fn document(&self, document: &str) -> String {
        self.tagged("d", document)
    }

    /// String with expiry: whatever was noted.
    pub fn memo(&self, name: &str) -> String {
        self.tagged("m", name)
    }

    fn of_conversation(&self, conversation: &str, what: &str) -> String {
        let mut key = String::with_capacity(KEY_BYTES);
        key.push_str("trunkline:");
        self.push_tag(&mut key, "c", conversation);
        key.push(':');
        key.push_str(what);
        key
    }

    fn of_user(&self, mut key: String, user: &str) -> String {
        push_pair(&mut key, &self.0, user);
        key
    }

    fn tagged(&self, kind: &str, id: &str) -> String {
        let mut key = "trunkline:".to_owned();
        self.push_tag(&mut key, kind, id);
        key
    }

    /// The kind keeps the tag from being empty, which to Redis would be no tag.
    fn push_tag(&self, key: &mut String, kind: &str, id: &str) {
        key.push('{');
        key.push_str(kind);
        if self.0.is_empty() {
            key.push(':');
            key.push_str(&escape(id));
        } else {
            key.push('/');
            key.push_str(&escape(&self.scoped(id)));
        }
        key.push('}');
    }
}

/// A socket's seat in a room: whose it is, on which node. In text form, seats are sorted by user, as their ids are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The user.
    pub user: String,
    /// The instance of the node.
    pub instance: String,
    /// The socket.
    pub socket: String,
}

impl Seat {
    /// As a member of [`Realm::room`]: the user, a zero byte, and the [`pair`] of the others.
    pub fn to_text(&self) -> String {
        format!("{}\0{}", ordered(&self.user), pair(&self.instance, &self.socket))
    }

    /// The reverse of [`to_text`](Self::to_text).
    pub fn parse(text: &str) -> Option<Self> {
        let (user, rest) = text.split_once('\0')?;
        let (instance, socket) = split_pair(rest)?;
        let user = user.replace("\u{1}\u{1}", "\0").replace("\u{1}\u{2}", "\u{1}");
        Some(Self { user, instance: instance.to_owned(), socket: socket.to_owned() })
    }

    /// Text that is less than all seats of `user`, and not less than those of users before.
    pub fn first_of(user: &str) -> String {
        format!("{}\0", ordered(user))
    }

    /// Text that is greater than all seats of `user`, and not greater than those of users behind.
    pub fn after(user: &str) -> String {
        format!("{}\u{1}", ordered(user))
    }
}

/// A member of [`node_rooms`]: seat and scoped room.
pub fn node_room(user: &str, socket: &str, scoped_room: &str) -> String {
    pair(&pair(socket, user), scoped_room)
}

/// Socket, user, realm and room of a [`node_room`].
pub fn parse_node_room(entry: &str) -> Option<(&str, &str, &str, &str)> {
    let (seat, scoped) = split_pair(entry)?;
    let ((socket, user), (realm, room)) = (split_pair(seat)?, split_pair(scoped)?);
    Some((socket, user, realm, room))
}

/// Two strings in one, unambiguously: `<bytes of the first>:<first><second>`.
pub fn pair(first: &str, second: &str) -> String {
    let mut pair = String::with_capacity(first.len() + second.len() + 4);
    push_pair(&mut pair, first, second);
    pair
}

fn push_pair(text: &mut String, first: &str, second: &str) {
    text.push_str(&first.len().to_string());
    text.push(':');
    text.push_str(first);
    text.push_str(second);
}

/// The two strings of a [`pair`].
pub fn split_pair(pair: &str) -> Option<(&str, &str)> {
    let (length, rest) = pair.split_once(':')?;
    rest.split_at_checked(length.parse().ok()?)
}

/// Without zero bytes, and in the same order.
fn ordered(id: &str) -> String {
    id.replace('\u{1}', "\u{1}\u{2}").replace('\0', "\u{1}\u{1}")
}

/// A brace inside a tag would end it early; `%` is escaped to keep names apart.
fn escape(id: &str) -> Cow<'_, str> {
    if id.bytes().any(|byte| matches!(byte, b'%' | b'{' | b'}')) {
        id.replace('%', "%25").replace('{', "%7B").replace('}', "%7D").into()
    } else {
        id.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    /// What Redis Cluster hashes of a key: the text between the first `{` and the next `}`, if any.
    fn tag(key: &str) -> &str {
        let (_, rest) = key.split_once('{').unwrap();
        rest.split_once('}').unwrap().0
    }

    const NASTY: [&str; 11] = ["", "a", "}", "{}", "{a}b", "a%7Db", "dm:ä:ß", "\u{0}\n", "\u{1}", "a\0", "1:a"];

    #[test]
    fn everything_of_a_conversation_has_one_tag_of_its_own() {
        let mut tags = HashSet::new();
        for (realm, id) in NASTY.iter().flat_map(|realm| NASTY.map(|id| (Realm::named(realm), id))) {
            let of_all = [
                realm.log(id),
                realm.log_head(id),
                realm.room(id),
                realm.standings(id),
                realm.changes(id),
                realm.delivered(id),
                realm.read(id),
                realm.since(id),
                realm.duplicate(id, "}{", "{x}"),
            ];
            assert!(
                of_all.iter().all(|key| tag(key) == tag(&of_all[0]) && key.starts_with("trunkline:")),
                "{of_all:?}"
            );
            assert!(tags.insert(tag(&of_all[0]).to_owned()), "{id:?} in {realm:?} shares a tag");
            assert!(tags.insert(tag(&realm.document(id)).to_owned()), "document {id:?} in {realm:?} shares a tag");
        }
    }

    #[test]
    fn everything_of_a_user_has_the_tag_of_its_bucket_and_no_other_realms_key() {
        let mut keys = HashSet::new();
        for (realm, id) in NASTY.iter().flat_map(|realm| NASTY.map(|id| (Realm::named(realm), id))) {
            let of_all = [
                realm.user_nodes(id),
                realm.last_seen(id),
                realm.inbox(id),
                realm.inbox_bodies(id),
                realm.conversations(id),
            ];
            for key in of_all {
                assert_eq!(tag(&key), format!("u{}", bucket(id)));
                assert!(keys.insert(key.clone()), "{key} is there twice");
            }
        }
        let online: HashSet<String> = NASTY.iter().map(|realm| Realm::named(realm).online(3)).collect();
        assert_eq!(online.len(), NASTY.len());
    }

    #[test]
    fn seats_are_read_back_and_sorted_by_user() {
        let seat = |user: &str| Seat { user: user.into(), instance: "e\u{0}1".into(), socket: "s".into() };
        let mut users = NASTY;
        users.sort_unstable();
        for (n, user) in users.iter().enumerate() {
            let text = seat(user).to_text();
            assert_eq!(Seat::parse(&text), Some(seat(user)));
            assert!(Seat::first_of(user) < text && text < Seat::after(user));
            if let Some(next) = users.get(n + 1) {
                assert!(Seat::after(user) <= Seat::first_of(next), "{user:?} {next:?}");
                assert!(text < seat(next).to_text());
            }
        }
        assert_eq!(Seat::parse("x"), None);
        assert_eq!(Seat::parse("x\09:a"), None);
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

    proptest! {
        #[test]
        fn seats_of_any_text_are_read_back_and_sorted_by_user(
            one in "[\\x00\\x01\\x02a:]{0,6}|.{0,9}", other in "[\\x00\\x01\\x02a:]{0,6}", rest in ".{0,9}",
        ) {
            let seat = |user: &str| Seat { user: user.into(), instance: rest.clone(), socket: rest.clone() };
            prop_assert_eq!(Seat::parse(&seat(&one).to_text()), Some(seat(&one)));
            let (first, second) = if one <= other { (&one, &other) } else { (&other, &one) };
            if first != second {
                prop_assert!(seat(first).to_text() < seat(second).to_text());
                prop_assert!(Seat::after(first) <= Seat::first_of(second));
            }
        }

        #[test]
        fn pairs_of_any_text_are_read_back_and_any_text_may_be_read(first in ".{0,9}", second in ".{0,9}", text in ".{0,9}") {
            let both = pair(&first, &second);
            prop_assert_eq!(split_pair(&both), Some((&*first, &*second)));
            let _ = (split_pair(&text), Seat::parse(&text), parse_node_room(&text));
            let entry = node_room(&first, &second, &Realm::named(&text).scoped(&first));
            prop_assert_eq!(parse_node_room(&entry), Some((&*second, &*first, &*text, &*first)));
        }

        #[test]
        fn conversations_of_two_names_or_realms_share_no_tag(
            one in "[{}%a/:]{0,4}", other in "[{}%a/:]{0,4}", realm in "[{}%a/:]{0,4}", elsewhere in "[{}%a/:]{0,4}",
        ) {
            let (here, there) = (Realm::named(&realm).log(&one), Realm::named(&elsewhere).log(&other));
            let same = realm == elsewhere && one == other;
            prop_assert_eq!(tag(&here) == tag(&there), same);
            prop_assert_eq!(here == there, same);
        }
    }
}
