//! Programs in Python that send to the clients of a mixed cluster without a server of their own.
//!
//! They use the two packages there are that speak the format of Node's adapter; `python-socketio`'s own manager has another.
//! Each has gaps of its own: the first knows no exceptions, and publishes to several rooms as many messages, each for all of
//! them. The second forgets the last `#` of its channels, so Node servers hear nothing of it, and ours what goes to one room by
//! pattern only.
//!
//! Needs `python3` with `venv`; the packages of `tests/python/requirements.txt` are installed into the target directory when
//! they are missing.

mod support;

use std::path::PathBuf;

use serde_json::{Value, json};
use support::{
    ROOT, SOON, expect,
    mixed::{DYNAMIC, Mixed},
};
use tokio::{process::Command, sync::OnceCell};
use trunkline_adapter::{Listen, Mode};
use trunkline_hub::Targets;
use trunkline_testkit::eventually;

const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/requirements.txt");

/// A Python that has the packages, or `None` and why on the screen.
async fn python() -> Option<&'static PathBuf> {
    static PYTHON: OnceCell<Option<PathBuf>> = OnceCell::const_new();
    let python = PYTHON.get_or_init(install).await.as_ref();
    if python.is_none() {
        println!("skipped: python3 with venv is not installed");
    }
    python
}

/// Once for each version of the requirements.
async fn install() -> Option<PathBuf> {
    let has_venv = Command::new("python3").args(["-c", "import venv, ensurepip"]).output().await;
    if !has_venv.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("python-emitters");
    let (python, stamp) = (directory.join("bin/python"), directory.join("requirements.txt"));
    let wanted = std::fs::read(REQUIREMENTS).expect("a readable file");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Some(python);
    }
    let _ = std::fs::remove_dir_all(&directory);
    run(Command::new("python3").args(["-m", "venv"]).arg(&directory)).await;
    let pip =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement", REQUIREMENTS];
    run(Command::new(&python).args(pip)).await;
    std::fs::write(&stamp, wanted).expect("a writable directory");
    Some(python)
}

async fn run(command: &mut Command) {
    let output = command.kill_on_drop(true).output().await.expect("it can be started");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs a program to its end.
async fn execute(python: &PathBuf, code: &str) {
    tokio::time::timeout(SOON, run(Command::new(python).arg("-c").arg(code))).await.expect("Python ends in time");
}

/// What the clients of the four servers get is exactly this, in this order.
async fn expect_each(it: &mut Mixed, expected: &[(&str, Value, [usize; 4])]) {
    for (number, client) in it.clients.iter_mut().enumerate() {
        for (name, args, times) in expected {
            for _ in 0..times[number] {
                expect(client, name, args.clone()).await;
            }
        }
    }
    assert_eq!(it.received().await, [const { Vec::<u64>::new() }; 4], "nothing comes after it");
}

async fn mixed(listen: Listen) -> Mixed {
    Mixed::start("classic", "@socket.io/redis-adapter", Mode::Classic(listen)).await
}

#[tokio::test]
async fn an_emitter_in_python_reaches_the_clients_of_all_servers() {
    let Some(python) = python().await else { return };
    for listen in [Listen::Rooms, Listen::Pattern] {
        let mut it = mixed(listen).await;
        let mut elsewhere = it.clients_elsewhere().await;
        let [port, b, c] = [it.redis.port().to_string(), it.clients[1].sid().into(), it.clients[2].sid().into()];
        let code = format!(
            r"
from socket_io_emitter import Emitter
to = lambda: Emitter({{'host': '127.0.0.1', 'port': {port}}})
to().Emit('all', 1, None, -1.5, {{'text': 'é😀', 'list': [True, [], {{}}]}})
for room in ['a', 'b', 'c', 'd', 'nobody', '{b}', '{c}']:
    to().In(room).Emit('one', room)
to().To('all').Emit('room', 2**53)
to().To('a', 'd').Emit('several', 3)
to().To('all').To('c').Emit('twice where both are', 4)
to().Emit('binary', {{'bytes': b'\x00\xff', 'n': 5}}, b'')
to().To('d').Emit('binary in one', [b'six'])
to().Of('{DYNAMIC}').Emit('elsewhere', 7)
to().Of('{DYNAMIC}').To('all').Emit('elsewhere', 8)
to().Emit('last')"
        );
        execute(python, &code).await;
        let values = json!([1, null, -1.5, { "text": "é😀", "list": [true, [], {}] }]);
        let expected = [
            ("all", values, [1, 1, 1, 1]),
            ("one", json!(["a"]), [1, 0, 0, 0]),
            ("one", json!(["b"]), [0, 1, 0, 0]),
            ("one", json!(["c"]), [0, 0, 1, 0]),
            ("one", json!(["d"]), [0, 0, 0, 1]),
            ("one", json!([b]), [0, 1, 0, 0]),
            ("one", json!([c]), [0, 0, 1, 0]),
            ("room", json!([1_u64 << 53]), [1, 1, 1, 1]),
            ("several", json!([3]), [1, 0, 0, 1]),
            ("twice where both are", json!([4]), [1, 1, 2, 1]),
            ("binary", json!([{ "bytes": [0, 255], "n": 5 }, []]), [1, 1, 1, 1]),
            ("binary in one", json!([["six".as_bytes()]]), [0, 0, 0, 1]),
            ("last", json!([]), [1, 1, 1, 1]),
        ];
        expect_each(&mut it, &expected).await;
        for client in &mut elsewhere {
            expect(client, "elsewhere", json!([7])).await;
            expect(client, "elsewhere", json!([8])).await;
        }
    }
}

#[tokio::test]
async fn an_emitter_that_forgets_the_end_of_a_channel_is_heard_by_ours() {
    let Some(python) = python().await else { return };
    for (listen, of_one_room) in [(Listen::Rooms, 0), (Listen::Pattern, 1)] {
        let mut it = mixed(listen).await;
        let code = format!(
            "
import asyncio, redis.asyncio
from socketio_emitter import Emitter
async def main():
    emitter = Emitter(redis.asyncio.Redis(port={}))
    async with emitter.namespace('/'):
        async with emitter.all_rooms():
            await emitter.emit('all', {{'n': 1}})
            await emitter.join('e')
        async with emitter.all_rooms(except_=['c']):
            await emitter.emit('but one', {{'n': 2}})
        async with emitter.rooms('d'):
            await emitter.emit('one', {{'bytes': b'3'}})
        async with emitter.all_rooms():
            await emitter.emit('last', {{}})
asyncio.run(main())",
            it.redis.port()
        );
        execute(python, &code).await;
        let expected = [
            ("all", json!([{ "n": 1 }]), [0, 0, 1, 1]),
            ("but one", json!([{ "n": 2 }]), [0, 0, 0, 1]),
            ("one", json!([{ "bytes": [b'3'] }]), [0, 0, 0, of_one_room]),
            ("last", json!([{}]), [0, 0, 1, 1]),
        ];
        expect_each(&mut it, &expected).await;
        let cluster = &it.peers[0].cluster;
        eventually(SOON, "both of ours in the room", || async {
            cluster.fetch(ROOT, &Targets::room("e")).await.sockets.len() == 2
        })
        .await;
    }
}
