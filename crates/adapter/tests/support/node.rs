//! A Node process with a Socket.IO server.
//!
//! Needs `node` and `npm`; the packages of `tests/node/package-lock.json` are installed when they are missing.

use std::{path::Path, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::OnceCell,
};
use trunkline_testkit::{Client, RedisServer, connect};

use super::{ROOT, SOON};

/// Below the 5 s after which Node gives up on requests: an answer within it is no timeout.
pub const PROMPTLY: Duration = Duration::from_secs(4);

/// A Node process with a Socket.IO server. Killed when dropped.
pub struct Node {
    _process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    pub url: String,
    calls: u64,
}

impl Node {
    /// A classic one of the current version.
    pub async fn start(redis: &RedisServer) -> Self {
        Self::start_with(json!({ "urls": [redis.url()], "mode": "classic" })).await
    }

    /// With the options that are named in `server.mjs`.
    pub async fn start_with(mut options: Value) -> Self {
        install().await;
        if options["package"].is_null() {
            options["package"] = json!("@socket.io/redis-adapter");
        }
        let mut process = Command::new("node")
            .arg("server.mjs")
            .arg(options.to_string())
            .current_dir(directory())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node is installed");
        let input = process.stdin.take().expect("a pipe");
        let output = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let mut node = Self { _process: process, input, output, url: String::new(), calls: 0 };
        let port = node.line(SOON).await["port"].clone();
        node.url = format!("http://127.0.0.1:{port}");
        node
    }

    async fn line(&mut self, deadline: Duration) -> Value {
        let line = tokio::time::timeout(deadline, self.output.next_line()).await.expect("Node answers in time");
        let line = line.expect("a readable pipe").expect("the Node process lives");
        serde_json::from_str(&line).expect("the server prints JSON")
    }

    /// Runs the body of an async function of `io`, `emitter` and `redis`; its result must come promptly.
    pub async fn run(&mut self, code: &str) -> Value {
        self.calls += 1;
        let call = json!({ "id": self.calls, "code": code }).to_string() + "\n";
        self.input.write_all(call.as_bytes()).await.expect("the Node process lives");
        let answer = self.line(PROMPTLY).await;
        assert_eq!(answer["id"], self.calls);
        assert!(answer.get("error").is_none(), "{code}: {}", answer["error"]);
        answer["value"].clone()
    }

    /// A client of this server that is in `rooms`.
    pub async fn client(&mut self, rooms: &[&str]) -> Client {
        self.client_of(ROOT, rooms).await
    }

    /// The same in another namespace, which may be `/dynamic-…`.
    pub async fn client_of(&mut self, namespace: &str, rooms: &[&str]) -> Client {
        let client = connect(&self.url, namespace, Value::Null).await.expect("Node accepts clients");
        self.run(&format!("io.of('{namespace}').sockets.get('{}').join({})", client.sid(), json!(rooms))).await;
        client
    }
}

/// The texts of a list, in order.
pub fn sorted(list: &Value) -> Vec<String> {
    let mut names: Vec<_> = list.as_array().expect("a list").iter().map(ToString::to_string).collect();
    names.sort_unstable();
    names
}

pub fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node"))
}

/// The packages of the Node servers, once for each version of their lock file.
pub async fn install() {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED
        .get_or_init(|| async {
            let wanted = std::fs::read(directory().join("package-lock.json")).expect("a readable file");
            let stamp = directory().join("node_modules/.installed-lock.json");
            if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
                return;
            }
            let npm = Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(directory()).output();
            let output = npm.await.expect("npm is installed");
            assert!(output.status.success(), "npm ci: {}", String::from_utf8_lossy(&output.stderr));
            std::fs::write(&stamp, wanted).expect("a writable directory");
        })
        .await;
}
