//! The scripts, compiled into the program. Each is a file that says on its first lines what it takes and answers.

use std::sync::LazyLock;
use trunkline_redis::Script;

macro_rules! script {
    ($name:ident, $($file:literal),+) => {
        pub(crate) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!($(include_str!(concat!("scripts/", $file, ".lua"))),+)));
    };
}

script!(RENEW, "common", "sessions", "renew");
script!(HEARTBEAT, "common", "heartbeat");
script!(ALIVE, "common", "alive");
script!(LEAVE, "common", "leave");
script!(FORGET_NODES, "common", "forget_nodes");
script!(SHARED_SECRETS, "shared_secrets");
script!(ELECT, "elect");
script!(CLAIM, "claim");
script!(CONNECT, "common", "connect");
script!(DISCONNECT, "common", "disconnect");
script!(GET, "common", "get");
script!(SWEEP, "common", "sweep");
script!(SWEEP_ROOMS, "common", "sweep_rooms");
script!(SWEPT, "common", "swept");
script!(ENTER, "common", "enter");
script!(SEAT, "seat");
script!(READ, "standing", "read");
script!(MARK, "receipt", "mark");
script!(TAKE_PART, "take_part");
script!(NOTE_CONVERSATION, "common", "note_conversation");
script!(LISTED, "standing", "listed");
script!(PUSH, "common", "inbox", "push");
script!(PENDING, "pending");
script!(ACKNOWLEDGE, "acknowledge");
script!(WRITE, "publish", "write");
script!(SESSION_BEGIN, "common", "sessions", "session_begin");
script!(SESSION_ROOM, "session_room");
script!(SESSION_DETACH, "session_detach");
script!(SESSION_TAKE, "session_take");

/// The scripts that append. What is the same for all their calls is written into them, so that it is neither sent nor read each time.
pub(crate) struct Append {
    pub plain: Script,
    /// The entry may wait for somebody too.
    pub waiting: Script,
}

impl Append {
    /// With constants by name; no value has a quote in it.
    pub(crate) fn new(constants: &[(&str, String)]) -> Self {
        let constants: String = constants.iter().map(|(name, value)| format!("local {name} = '{value}'\n")).collect();
        const WAITING: &str = concat!(include_str!("scripts/common.lua"), include_str!("scripts/inbox.lua"));
        const APPEND: &str = concat!(
            include_str!("scripts/publish.lua"),
            include_str!("scripts/receipt.lua"),
            include_str!("scripts/append.lua")
        );
        Self {
            plain: Script::new(&[&*constants, APPEND].concat()),
            waiting: Script::new(&[&*constants, WAITING, APPEND].concat()),
        }
    }
}
