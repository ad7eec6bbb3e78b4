//! The scripts, compiled into the program. Each is a file that says on its first lines what it takes and answers.

use redis::Script;
use std::sync::LazyLock;

macro_rules! script {
    ($name:ident, $($file:literal),+) => {
        pub(crate) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!($(include_str!(concat!("scripts/", $file, ".lua"))),+)));
    };
}

script!(RENEW, "common", "renew");
script!(HEARTBEAT, "common", "heartbeat");
script!(ALIVE, "common", "alive");
script!(LAPSED, "common", "lapsed");
script!(LEAVE, "common", "leave");
script!(FORGET_NODE, "common", "forget_node");
script!(SHARED_SECRET, "shared_secret");
script!(ELECT, "elect");
script!(CONNECT, "common", "connect");
script!(DISCONNECT, "common", "disconnect");
script!(GET, "common", "get");
script!(SWEEP, "common", "sweep");
script!(ENTER, "common", "enter");
script!(APPEND, "append");
script!(READ, "read");
