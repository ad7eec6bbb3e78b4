//! What happened, for the clients that should hear of it: each dialect has its own words for an effect, or none.

use std::time::Duration;

use serde_json::value::RawValue;
use trunkline_protocol::native::{Notification, ResetReason};

/// What happened. Times are milliseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub enum Effect<'a> {
    /// A user's first socket came.
    Online {
        /// Who.
        user: &'a str,
    },
    /// A user's last socket is gone.
    Offline {
        /// Who.
        user: &'a str,
        /// When.
        last_seen_ms: i64,
    },
    /// The set of users online, told when it changed and to those who just came; at most four times a second, to many less often.
    /// Only for dialects that [want it](crate::dialects::Dialect::wants_online_users).
    OnlineUsers {
        /// All of them; `None` when they are more than `--presence-broadcast-max`: then [`Effect::OnlineChanges`] follow.
        users: Option<&'a [String]>,
        /// How many there are.
        count: u64,
    },
    /// What changed in a set of users online that is too large to be told; gathered, as often as the set would be.
    /// Only for dialects that [want it](crate::dialects::Dialect::wants_online_users).
    OnlineChanges {
        /// Who came, in the order of coming.
        came: &'a [String],
        /// Who went.
        went: &'a [String],
        /// How many there are now.
        count: u64,
    },
    /// A socket connected.
    UserJoined {
        /// Whose.
        user: &'a str,
        /// When.
        at_ms: i64,
    },
    /// A socket came into a conversation.
    MemberJoined(Member<'a>),
    /// A socket left a conversation.
    MemberLeft(Member<'a>),
    /// A user types, or stopped.
    Typing {
        /// Where.
        conversation: &'a str,
        /// Who.
        user: &'a str,
        /// What that socket [calls itself](super::Session::set_name).
        name: Option<&'a str>,
        /// Whether it began.
        started: bool,
    },
    /// A recipient's device has a message, and everything before it in the conversation. Goes to the message's sender.
    Delivered {
        /// Where.
        conversation: &'a str,
        /// Up to which number.
        seq: u64,
        /// Who has it.
        user: &'a str,
    },
    /// A recipient read a message. Goes to the message's sender.
    Read {
        /// Where.
        conversation: &'a str,
        /// Which one.
        message_id: &'a str,
        /// Who read it.
        reader: &'a str,
        /// When.
        at_ms: i64,
    },
    /// Something for a user, by a back end or another user.
    Notification(&'a Notification),
    /// Somebody's cursor moved in a document. Volatile.
    DocumentCursor {
        /// Which one.
        document: &'a str,
        /// Whose.
        user: &'a str,
        /// Where to, as that client says it.
        position: &'a RawValue,
    },
    /// Setting up a call: for one user.
    Call {
        /// Who calls.
        from: &'a str,
        /// Whatever the two clients understand.
        data: &'a RawValue,
    },
    /// Somebody's upload goes on. Volatile.
    Upload {
        /// Where it will be a message.
        conversation: &'a str,
        /// Whose.
        user: &'a str,
        /// The client's name for it.
        upload: &'a str,
        /// What is uploaded.
        file_name: &'a str,
        /// From 0 to 100.
        percent: f64,
    },
    /// A socket's token is about to run out. Goes to that socket.
    TokenExpiring {
        /// When.
        expires_at_ms: i64,
    },
    /// A socket that came back with a cursor has everything of a conversation that it missed. Goes to that socket.
    Synced {
        /// Which one.
        conversation: &'a str,
        /// In which log.
        epoch: &'a str,
        /// Up to which number.
        seq: u64,
        /// How many messages it was.
        count: u64,
    },
    /// Messages of a conversation are missing for good: whoever hears this reloads what they show. Goes to those sockets that
    /// miss some.
    Reset {
        /// Which one.
        conversation: &'a str,
        /// In which log it goes on.
        epoch: &'a str,
        /// Behind which number.
        seq: u64,
        /// Why.
        reason: ResetReason,
    },
    /// This node is going away.
    Shutdown {
        /// How long to wait before coming back.
        reconnect_after: Duration,
    },
}

/// A socket that came into a conversation, or left it.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Which conversation.
    pub conversation: &'a str,
    /// Whose socket.
    pub user: &'a str,
    /// The socket's id.
    pub socket: &'a str,
    /// What the socket [calls itself](super::Session::set_name).
    pub name: Option<&'a str>,
    /// When.
    pub at_ms: i64,
}
