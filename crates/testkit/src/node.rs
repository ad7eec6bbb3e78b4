//! A real `trunkline serve` process.

use crate::eventually::eventually;
use crate::process::{Process, Signal};
use serde_json::Value;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LISTENING_WITHIN: Duration = Duration::from_secs(20);

/// Nodes that this process has started.
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// The binary under test: `TRUNKLINE_BIN`, else the `trunkline` beside the running test's build directory.
///
/// # Panics
/// When the path of the test executable is unknown.
pub fn trunkline_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("TRUNKLINE_BIN") {
        return path.into();
    }
    let executable = std::env::current_exe().expect("a test knows its own executable");
    // target/debug/deps/the_test-hash -> target/debug/trunkline
    let directory = executable.ancestors().nth(2).expect("a test executable lies two levels deep");
    directory.join("trunkline")
}

/// A running gateway. Killed when dropped; its log is printed when the test that owns it fails.
#[derive(Debug)]
pub struct Node {
    address: String,
    process: Process,
    log: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Node {
    /// Starts `trunkline serve` with `flags` on a free port of 127.0.0.1 (unless they name a `--listen`) and returns
    /// when it says that it listens.
    ///
    /// # Panics
    /// When the binary is missing, ends, or doesn't listen within 20 s; the message has its log.
    pub async fn start(flags: &[&str]) -> Self {
        let mut process = spawn(flags);
        let log = Arc::new(Mutex::new(Vec::new()));
        let readers = read_output(&mut process, &log);
        // In one value before the first await, so that a failure prints the log and reaps the process.
        let mut node = Self { address: String::new(), process, log, readers };
        node.address = node.announced_address().await;
        node
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The value of a counter or gauge in `/metrics`; `name` with its labels, if it has any. 0 for what was never counted.
    ///
    /// # Panics
    /// When the page is not there: it is on the public listener unless an `--internal-listen` took it away.
    pub async fn metric(&self, name: &str) -> u64 {
        let page = self.metrics_page().await.expect("the page of metrics");
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("a metric's value is a number"))
    }

    async fn metrics_page(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await?;
        Ok(page)
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What the node has written so far, a line each, standard output and error together.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic under this lock").clone()
    }

    /// A crash: SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Freezes the process: its connections stay open, its leases run out.
    pub fn pause(&self) {
        self.process.signal(Signal::Stop);
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        self.process.signal(Signal::Continue);
    }

    /// SIGTERM, then waits for the end. The exit code, or `None` when a signal ended it.
    ///
    /// # Panics
    /// When it is still there at `deadline`.
    pub async fn terminate(&mut self, deadline: Duration) -> Option<i32> {
        self.process.signal(Signal::Terminate);
        let status = self.process.wait(deadline).await;
        status.unwrap_or_else(|| panic!("the node did not end within {deadline:?} of SIGTERM")).code()
    }

    async fn announced_address(&mut self) -> String {
        let log = Arc::clone(&self.log);
        let process = &mut self.process;
        let address = eventually(LISTENING_WITHIN, "the node listening", || {
            let address = log.lock().expect("no panic under this lock").iter().find_map(|line| listening_address(line));
            let ended = process.exited();
            async move { address.map(Ok).or_else(|| ended.map(Err)) }
        })
        .await;
        address.unwrap_or_else(|status| panic!("the node ended before it listened: {status}"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.process.kill();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the node at {}\n{}\n---", self.address, self.log().join("\n"));
        }
    }
}

fn spawn(flags: &[&str]) -> Process {
    let binary = trunkline_binary();
    let mut command = Command::new(&binary);
    command.arg("serve").args(["--log-format", "json"]);
    if !flags.iter().any(|flag| *flag == "--listen" || flag.starts_with("--listen=")) {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    // A single worker runs on another kind of runtime: every second node of a test has one.
    if STARTED.fetch_add(1, Ordering::Relaxed) % 2 == 1 && !flags.contains(&"--workers") {
        command.args(["--workers", "1"]);
    }
    command.args(flags).stdout(Stdio::piped()).stderr(Stdio::piped());
    match Process::spawn(&mut command) {
        Ok(process) => process,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            panic!(
                "there is no {}: build it first (cargo build -p trunkline-gateway) or set TRUNKLINE_BIN",
                binary.display()
            )
        }
        Err(e) => panic!("{} could not be started: {e}", binary.display()),
    }
}

fn read_output(process: &mut Process, log: &Arc<Mutex<Vec<String>>>) -> Vec<JoinHandle<()>> {
    let child = process.child();
    let stdout = child.stdout.take().map(|pipe| keep_lines(pipe, Arc::clone(log)));
    let stderr = child.stderr.take().map(|pipe| keep_lines(pipe, Arc::clone(log)));
    stdout.into_iter().chain(stderr).collect()
}

/// A thread, so that the node never blocks on a full pipe, whatever the test's runtime does. Ends with the process.
fn keep_lines(pipe: impl Read + Send + 'static, log: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            log.lock().expect("no panic under this lock").push(line);
        }
    })
}

/// The address in the log line that says "listening", `None` for every other line.
fn listening_address(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields")?;
    let listening = fields.get("message")?.as_str()? == "listening";
    listening.then(|| fields.get("address")?.as_str().map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_line_that_says_listening() {
        let line = r#"{"level":"INFO","fields":{"message":"listening","address":"127.0.0.1:4711"},"target":"x"}"#;
        assert_eq!(listening_address(line).as_deref(), Some("127.0.0.1:4711"));
        assert_eq!(listening_address(r#"{"fields":{"message":"draining","address":"x"}}"#), None);
        assert_eq!(listening_address("listening on 127.0.0.1"), None);
    }
}
