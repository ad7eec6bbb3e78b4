//! What a user or conversation may be called, and the names of rooms.
//!
//! Rooms are named so that Node servers and emitters can address them: a conversation is the room of the same
//! name, a user `user:<id>`, a document `doc:<id>`, a socket its id.

use std::borrow::Cow;

use crate::{Failure, limits::ID_BYTES};

const USER: &str = "user:";
const DOCUMENT: &str = "doc:";
const DIRECT: &str = "dm:";
const WATCHERS: &str = "watch:";

/// Checks an id that came from outside: 1 to [`ID_BYTES`] bytes without control characters.
///
/// # Errors
/// `invalid`, naming the field.
pub fn check(field: &str, id: &str) -> Result<(), Failure> {
    if id.is_empty() {
        return Err(Failure::invalid(format!("{field} must not be empty")));
    }
    if id.len() > ID_BYTES {
        return Err(Failure::invalid(format!("{field} is longer than {ID_BYTES} bytes")));
    }
    if id.chars().any(char::is_control) {
        return Err(Failure::invalid(format!("{field} contains control characters")));
    }
    Ok(())
}

/// Checks the id of a user that came from outside: [`check`], and not the text that JavaScript makes of a missing one.
///
/// # Errors
/// `invalid`, naming the field.
pub fn check_user(field: &str, id: &str) -> Result<(), Failure> {
    check(field, id)?;
    if matches!(id, "undefined" | "null") {
        return Err(Failure::invalid(format!("{field} is the text `{id}`: the client does not know the user's id")));
    }
    Ok(())
}

/// Whether this can be a user.
pub fn is_user(id: &str) -> bool {
    check_user("userId", id).is_ok()
}

/// The room that all sockets of a user are in.
pub fn user_room(user: &str) -> String {
    [USER, user].concat()
}

/// The room of those who have a document open.
pub fn document_room(document: &str) -> String {
    format!("{DOCUMENT}{document}")
}

/// The room of those who want to know when a user comes and goes.
pub fn watchers_room(user: &str) -> String {
    format!("{WATCHERS}{user}")
}

/// Whether a room is one of [`watchers_room`].
pub fn is_watchers_room(room: &str) -> bool {
    room.starts_with(WATCHERS)
}

/// Whether a room can be a conversation: not one of those whose names are given by rules of ours.
pub fn is_conversation(room: &str) -> bool {
    ![USER, DOCUMENT, WATCHERS].iter().any(|prefix| room.starts_with(prefix))
}

/// The conversation of two users, the same whoever asks: `dm:<smaller id>:<larger id>`.
///
/// Colons inside an id are written `%3A`, so that a name has one reading only.
pub fn direct_conversation(a: &str, b: &str) -> String {
    let (smaller, larger) = if a <= b { (a, b) } else { (b, a) };
    [DIRECT, &escaped(smaller), ":", &escaped(larger)].concat()
}

/// The two users of a direct conversation.
pub fn direct_members(conversation: &str) -> Option<(String, String)> {
    let (a, b) = conversation.strip_prefix(DIRECT)?.split_once(':')?;
    if a.is_empty() || b.is_empty() || b.contains(':') {
        return None;
    }
    Some((unescaped(a), unescaped(b)))
}

/// Whether `user` may join, address and read `room` as a conversation.
///
/// Names of users, documents and watchers are guarded: clients get there by other events. A direct conversation is for its two.
///
/// # Errors
/// `forbidden`.
pub fn may_enter(user: &str, room: &str) -> Result<(), Failure> {
    if !is_conversation(room) {
        return Err(Failure::forbidden("this name is reserved"));
    }
    if room.starts_with(DIRECT) {
        let member = direct_members(room).is_some_and(|(a, b)| {
            // The one spelling only: another order or escape would be a second room of the same two.
            (a == user || b == user) && is_user(&a) && is_user(&b) && direct_conversation(&a, &b) == room
        });
        if !member {
            return Err(Failure::forbidden("this direct conversation is between others"));
        }
    }
    Ok(())
}

fn escaped(id: &str) -> Cow<'_, str> {
    if id.contains([':', '%']) { id.replace('%', "%25").replace(':', "%3A").into() } else { id.into() }
}

fn unescaped(id: &str) -> String {
    id.replace("%3A", ":").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direct_conversation_has_one_name() {
        assert_eq!(direct_conversation("bob", "alice"), "dm:alice:bob");
        assert_eq!(direct_conversation("alice", "bob"), "dm:alice:bob");
    }

    #[test]
    fn ids_with_colons_cannot_be_mistaken_for_each_other() {
        let one = direct_conversation("b", "x:a");
        let other = direct_conversation("b:x", "a");
        assert_ne!(one, other);
        assert!(may_enter("x:a", &one).is_ok());
        assert!(may_enter("a", &one).is_err());
        assert_eq!(direct_members(&direct_conversation("a%3A", "b")), Some(("a%3A".into(), "b".into())));
    }

    #[test]
    fn guarded_names_are_refused() {
        for room in [
            "user:bob",
            "doc:plan",
            "watch:bob",
            "dm:bob:carol",
            "dm:",
            "dm:alice",
            "dm:bob:alice",
            "dm:alice:bob:x",
            "dm:alice:undefined",
        ] {
            assert!(may_enter("alice", room).is_err(), "{room}");
        }
        for room in ["general", "dm:alice:bob", "dm:alice:alice", "ünïcode 🙂", "users:all"] {
            assert!(may_enter("alice", room).is_ok(), "{room}");
        }
    }

    #[test]
    fn impossible_ids_are_refused() {
        for id in ["", "\u{0}", "a\nb", &"x".repeat(ID_BYTES + 1)] {
            assert!(check("conversationId", id).is_err());
            assert!(!is_user(id));
        }
        assert!(!is_user("undefined"));
        assert!(is_user("auth0|123"));
    }
}
