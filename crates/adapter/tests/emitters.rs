//! Programs in Python that send to our clients without a server of their own.
//!
//! Needs `python3` with `venv`; the packages are installed into the target directory when they are missing. They are two that
//! speak the format of Node's adapter (python-socketio's own manager has another). The second forgets the last `#` of its
//! channels, so what it sends to one room is heard by pattern only.

mod support;

use std::path::PathBuf;

use serde_json::json;
use support::{Peer, SOON, expect};
use tokio::{process::Command, sync::OnceCell};
use trunkline_adapter::{Listen, Mode};
use trunkline_testkit::RedisServer;

const PACKAGES: [&str; 2] = ["socket-io-emitter==0.1.5.1", "socket.io-redis-emitter==0.0.3"];

async fn python(code: &str) {
    static PYTHON: OnceCell<PathBuf> = OnceCell::const_new();
    let python = PYTHON.get_or_init(install).await;
    let output = Command::new(python).arg("-c").arg(code).kill_on_drop(true).output();
    let output = tokio::time::timeout(SOON, output).await.expect("Python ends in time").expect("Python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn install() -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("python-emitters");
    let python = directory.join("bin/python");
    if !directory.join("installed").exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&directory)).await;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES)).await;
        std::fs::write(directory.join("installed"), "").expect("a writable directory");
    }
    python
}

async fn run(command: &mut Command) {
    let output = command.output().await.expect("python3 is installed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn an_emitter_in_python_reaches_our_clients() {
    let redis = RedisServer::start().await;
    let peer = Peer::start(&redis).await;
    let (mut in_room, mut other) = (peer.client(&["r1"]).await, peer.client(&["r2"]).await);
    let port = redis.port();
    python(&format!(
        "from socket_io_emitter import Emitter
to = lambda: Emitter({{'host': '127.0.0.1', 'port': {port}}})
to().Emit('all', 1)
to().To('r1').Emit('one', {{'text': 'é'}})
to().To('r1', 'r2').Emit('two', 3)
to().Emit('end')"
    ))
    .await;
    expect(&mut in_room, "all", json!([1])).await;
    expect(&mut in_room, "one", json!([{ "text": "é" }])).await;
    expect(&mut other, "all", json!([1])).await;
    for client in [&mut in_room, &mut other] {
        // It publishes to each room, and each message names both: so it does to Node servers.
        for _ in 0..2 {
            expect(client, "two", json!([3])).await;
        }
        expect(client, "end", json!([])).await;
    }
}

#[tokio::test]
async fn an_emitter_that_forgets_the_end_of_a_channel_is_heard_too() {
    let redis = RedisServer::start().await;
    let rooms = Peer::start(&redis).await;
    let pattern = Peer::start_as(&redis, Mode::Classic(Listen::Pattern)).await;
    let (mut by_room, mut by_pattern) = (rooms.client(&["r1"]).await, pattern.client(&["r1"]).await);
    let port = redis.port();
    python(&format!(
        "import asyncio, redis.asyncio
from socketio_emitter import Emitter
async def main():
    emitter = Emitter(redis.asyncio.Redis(port={port}))
    async with emitter.namespace('/'):
        async with emitter.all_rooms():
            await emitter.emit('all', {{'n': 1}})
        async with emitter.rooms('r1'):
            await emitter.emit('one', {{'n': 2}})
        async with emitter.all_rooms():
            await emitter.emit('end', {{}})
asyncio.run(main())"
    ))
    .await;
    expect(&mut by_room, "all", json!([{ "n": 1 }])).await;
    expect(&mut by_room, "end", json!([{}])).await;
    expect(&mut by_pattern, "all", json!([{ "n": 1 }])).await;
    expect(&mut by_pattern, "one", json!([{ "n": 2 }])).await;
    expect(&mut by_pattern, "end", json!([{}])).await;
}
