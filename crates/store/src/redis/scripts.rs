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
script!(SWEPT, "common", "swept");
script!(ENTER, "common", "enter");
script!(SEAT, "seat");
script!(APPEND, "publish", "receipt", "append");
script!(APPEND_FOR, "common", "inbox", "publish", "receipt", "append");
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
