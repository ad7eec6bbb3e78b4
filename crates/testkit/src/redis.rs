//! A redis-server of the test's own: free port, own directory, gone with the test.

use crate::eventually::eventually;
use crate::process::{Process, Signal};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const READY_WITHIN: Duration = Duration::from_secs(15);
const STOPPED_WITHIN: Duration = Duration::from_secs(15);
const CUT_WITHIN: Duration = Duration::from_secs(2);

/// Below the range that the kernel takes ports of outgoing connections from, so that nobody gets the port while the
/// server is stopped.
const PORTS: std::ops::Range<u16> = 15_000..32_000;
const ATTEMPTS: usize = 20;

/// What a restart finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// The data directory is kept. What is in it depends on persistence: see [`RedisServer::start_with_aof`].
    Keep,
    /// The data directory is emptied: Redis comes back knowing nothing.
    Lose,
}

/// A real redis-server process on a free port of 127.0.0.1.
///
/// Killed when dropped. Nothing is written to disk unless it was started with an append-only file.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    program: PathBuf,
    options: Vec<String>,
    directory: TempDir,
    process: Option<Process>,
}

impl RedisServer {
    /// Starts a server without persistence and returns when it answers `PING`.
    ///
    /// # Panics
    /// When redis-server is not installed or does not start; the message says which, with its log.
    pub async fn start() -> Self {
        Self::start_with(&["--appendonly", "no"]).await
    }

    /// Like [`start`](Self::start), with an append-only file that is synced at every write: what was answered
    /// survives [`kill`](Self::kill) too.
    pub async fn start_with_aof() -> Self {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "always"]).await
    }

    /// Starts a server with further options of redis-server, e.g. `["--maxmemory", "2mb"]`.
    pub async fn start_with(options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        Self::start_program(Path::new(REDIS_SERVER), |_, _| options.clone()).await
    }

    /// Starts another program that takes redis-server's options, such as a `valkey-server`.
    pub async fn start_as(program: &Path, options: &[&str]) -> Self {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        Self::start_program(program, |_, _| options.clone()).await
    }

    /// Starts `program` with the options made for each attempt from its port and its directory.
    pub(crate) async fn start_program(program: &Path, options: impl Fn(u16, &Path) -> Vec<String>) -> Self {
        let directory = TempDir::with_prefix("redis-").expect("a temporary directory");
        let mut server = Self { port: 0, program: program.to_owned(), options: Vec::new(), directory, process: None };
        for _ in 0..ATTEMPTS {
            server.port = free_port();
            server.options = options(server.port, server.directory.path());
            if server.launch().await {
                return server;
            }
        }
        let program = program.display();
        panic!("{program} did not start on any of {ATTEMPTS} ports; its last log:\n{}", server.log());
    }

    /// `redis://127.0.0.1:PORT`, the same over restarts.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port, the same over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id.
    ///
    /// # Panics
    /// While the server is stopped.
    pub fn pid(&self) -> u32 {
        self.running().pid()
    }

    /// Creates a user, with rules as of `ACL SETUSER`, e.g. `["~app:*", "&*", "+@all"]`. A restart forgets it.
    pub async fn create_user(&self, name: &str, password: &str, rules: &[&str]) {
        let password = format!(">{password}");
        let mut command = redis::cmd("ACL");
        command.arg("SETUSER").arg(name).arg("reset").arg("on").arg(password).arg(rules);
        let _: () = command.query_async(&mut self.connection().await).await.expect("the rules of the user are valid");
    }

    /// A client of this server.
    pub fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).expect("the URL of a test server is well-formed")
    }

    /// A connection of its own to this server, e.g. to look at keys.
    pub async fn connection(&self) -> redis::aio::MultiplexedConnection {
        self.client().get_multiplexed_async_connection().await.expect("the test's Redis accepts connections")
    }

    /// Cuts the connections of a kind (`normal`, `pubsub`), as `CLIENT KILL TYPE` does. How many it were; `None` when the server
    /// does not answer soon.
    pub async fn cut(url: &str, kind: &str) -> Option<u64> {
        let kill = async {
            let client = redis::Client::open(url).ok()?;
            let mut connection = client.get_multiplexed_async_connection().await.ok()?;
            redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg(kind).query_async(&mut connection).await.ok()
        };
        tokio::time::timeout(CUT_WITHIN, kill).await.ok().flatten()
    }

    /// Shuts the server down in an orderly way (SIGTERM: it writes what it persists) and waits for its end.
    pub async fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        process.signal(Signal::Terminate);
        assert!(process.wait(STOPPED_WITHIN).await.is_some(), "redis-server ignored SIGTERM");
    }

    /// A crash: SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Freezes the server: connections stay open and nothing is answered until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.running().signal(Signal::Stop);
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        self.running().signal(Signal::Continue);
    }

    /// Stops the server if it runs and starts it on the same port; returns when it answers.
    ///
    /// # Panics
    /// When it doesn't come up, with its log.
    pub async fn restart(&mut self, data: Data) {
        self.stop().await;
        if data == Data::Lose {
            empty(self.directory.path());
        }
        for _ in 0..ATTEMPTS {
            if self.launch().await {
                return;
            }
        }
        panic!("redis-server did not come back on port {}; its log:\n{}", self.port, self.log());
    }

    /// False when it ended at once, as with a port that someone else took.
    async fn launch(&mut self) -> bool {
        let mut process = spawn(&self.program, self.port, self.directory.path(), &self.options);
        let port = self.port;
        // Our own child must be alive when it answers: another server may hold the port.
        let ready = eventually(READY_WITHIN, "redis-server answering PING", || {
            let ended = process.exited().is_some();
            async move { if ended { Some(false) } else { answers_ping(port).await.then_some(true) } }
        })
        .await;
        let ours = ready && process.exited().is_none();
        self.process = ours.then_some(process);
        ours
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("the test's Redis is stopped")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join(LOG_FILE)).unwrap_or_default()
    }
}

const REDIS_SERVER: &str = "redis-server";
const LOG_FILE: &str = "redis.log";

fn spawn(program: &Path, port: u16, directory: &Path, options: &[String]) -> Process {
    let mut command = Command::new(program);
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--logfile", LOG_FILE])
        .arg("--dir")
        .arg(directory)
        .args(options)
        .current_dir(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match Process::spawn(&mut command) {
        Ok(process) => process,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let program = program.display();
            panic!("{program} is not installed; these tests need it (Debian: apt-get install redis-server)")
        }
        Err(e) => panic!("{} could not be started: {e}", program.display()),
    }
}

/// A Valkey, if there is one here: `VALKEY_SERVER`, else the first in the `PATH`.
pub fn valkey_server() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os("VALKEY_SERVER") {
        return Some(program.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join("valkey-server")).find(|program| program.is_file())
}

/// A port that nobody listened on a moment ago. Each test process walks the range from a different place.
pub(crate) fn free_port() -> u16 {
    static STEP: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    for _ in 0..span {
        let step = STEP.fetch_add(1, Ordering::Relaxed);
        let start = u16::try_from(std::process::id().wrapping_mul(7_919) % u32::from(span)).unwrap_or(0);
        let port = PORTS.start + (start + step % span) % span;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port in {PORTS:?}");
}

async fn answers_ping(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return false };
    let mut answer = [0; 5];
    // While an append-only file is read, the answer is an error and the server not ready.
    stream.write_all(b"PING\r\n").await.is_ok() && stream.read_exact(&mut answer).await.is_ok() && &answer == b"+PONG"
}

fn empty(directory: &Path) {
    for entry in std::fs::read_dir(directory).expect("the data directory").flatten() {
        let path = entry.path();
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.expect("the data directory can be emptied");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::AsyncTypedCommands;

    #[tokio::test]
    async fn a_restart_keeps_or_loses_the_data_as_asked() {
        let mut server = RedisServer::start_with_aof().await;
        let url = server.url();
        server.connection().await.set("answer", "42").await.unwrap();

        server.kill();
        server.restart(Data::Keep).await;
        assert_eq!(server.connection().await.get("answer").await.unwrap().as_deref(), Some("42"));

        server.restart(Data::Lose).await;
        assert_eq!(server.connection().await.get("answer").await.unwrap(), None);
        assert_eq!(server.url(), url);
    }

    #[tokio::test]
    async fn servers_of_one_test_do_not_meet() {
        let (first, second) = tokio::join!(RedisServer::start(), RedisServer::start());
        assert_ne!(first.port(), second.port());
        first.connection().await.set("who", "first").await.unwrap();
        assert_eq!(second.connection().await.get("who").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_dropped_server_is_gone() {
        let server = RedisServer::start().await;
        let port = server.port();
        drop(server);
        assert!(!answers_ping(port).await);
    }
}
