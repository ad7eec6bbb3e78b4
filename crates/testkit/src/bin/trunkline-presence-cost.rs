//! What it costs that somebody connects while others are online; see `scripts/presence-cost`.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::{Arg, Command, value_parser};
use futures_util::{SinkExt, StreamExt};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};
use tokio_tungstenite::tungstenite::{Message, protocol::WebSocketConfig};
use trunkline_testkit::{Node, RedisServer};

/// Those who connect while it is measured.
const NEWCOMERS: u64 = 500;
/// A pace that leaves the machine idle in between.
const PACED: Duration = Duration::from_millis(10);
/// The others are filled up so many at a time.
const AT_ONCE: usize = 64;
/// Until what was announced has been delivered, and whoever left counts as gone.
const QUIET: Duration = Duration::from_secs(4);
/// As little as shows where the node listens.
const LOG: &str = "warn,trunkline_gateway::app=info";
/// What waits at the client is read in pieces of that size: there are thousands.
const READ_BUFFER: usize = 2048;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// What the others received.
type Heard = Arc<AtomicU64>;

#[tokio::main]
async fn main() -> ExitCode {
    let online = Arg::new("online")
        .value_parser(value_parser!(u64).range(1..))
        .num_args(1..)
        .default_values(["100", "1000", "10000"])
        .help("How many are online");
    let dialect =
        Arg::new("dialect").long("dialect").num_args(1).default_value("native").help("What all of them speak");
    let flags =
        Arg::new("flags").long("flag").num_args(1).action(clap::ArgAction::Append).help("Further options of the node");
    let matches = Command::new("presence-cost")
        .about("What a connect costs while others are online. TRUNKLINE_BIN names the program under test.")
        .arg(online)
        .arg(dialect)
        .arg(flags)
        .get_matches();
    let mut sizes: Vec<u64> = matches.get_many("online").into_iter().flatten().copied().collect();
    sizes.sort_unstable();
    let mut flags: Vec<String> = matches.get_many("flags").into_iter().flatten().cloned().collect();
    flags.extend(matches.get_one::<String>("dialect").map(|dialect| format!("--namespaces=/={dialect}")));
    match measure(&sizes, &flags).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("could not measure: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(sizes: &[u64], flags: &[String]) -> Result<(), Failed> {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let own = ["--redis-url", &url, "--auth", "insecure-query", "--log-level", LOG, "--ping-interval", "600000"];
    let all: Vec<&str> = own.into_iter().chain(flags.iter().map(String::as_str)).collect();
    let node = Node::start(&all).await;
    let mut others = Crowd::new(&node, "other");
    println!("| online | 500 come | node's CPU, µs a connect | to others, bytes a connect | tellings |");
    println!("|---:|---|---:|---:|---:|");
    for size in sizes {
        others.grow_to(*size).await?;
        sleep(QUIET).await;
        for (pace, name) in [(PACED, "100 a second"), (Duration::ZERO, "at once")] {
            let mut newcomers = Crowd::new(&node, "newcomer");
            let told = tellings(&node).await;
            let (cpu, heard) = (cpu_time(&node)?, others.heard.load(Ordering::Relaxed));
            newcomers.come(NEWCOMERS, pace).await?;
            sleep(QUIET).await;
            let cpu = (cpu_time(&node)? - cpu).as_micros() / u128::from(NEWCOMERS);
            let heard = (others.heard.load(Ordering::Relaxed) - heard) / NEWCOMERS;
            let told = tellings(&node).await - told;
            println!("| {size} | {name} | {cpu} | {heard} | {told} |");
            newcomers.leave().await;
            // The grace, and then some.
            sleep(QUIET + Duration::from_secs(6)).await;
        }
    }
    Ok(())
}

/// How often the node told everybody who had come and gone, in either way.
async fn tellings(node: &Node) -> u64 {
    let of = async |way: &str| node.metric(&format!("trunkline_presence_tellings_total{{as=\"{way}\"}}")).await;
    of("events").await + of("list").await
}

/// Clients that listen and count bytes.
struct Crowd {
    address: String,
    name: &'static str,
    size: u64,
    heard: Heard,
    clients: JoinSet<()>,
}

impl Crowd {
    fn new(node: &Node, name: &'static str) -> Self {
        let address = node.address().to_owned();
        Self { address, name, size: 0, heard: Heard::default(), clients: JoinSet::new() }
    }

    async fn grow_to(&mut self, size: u64) -> Result<(), Failed> {
        let more = size.saturating_sub(self.size);
        self.come(more, Duration::ZERO).await
    }

    /// So many more, one every `pace`, or as fast as they can.
    async fn come(&mut self, more: u64, pace: Duration) -> Result<(), Failed> {
        let mut connecting = JoinSet::new();
        let mut ticks = (!pace.is_zero()).then(|| interval(pace));
        for _ in 0..more {
            if let Some(ticks) = &mut ticks {
                ticks.tick().await;
            }
            if connecting.len() >= AT_ONCE
                && let Some(connected) = connecting.join_next().await
            {
                self.keep(connected??);
            }
            let user = format!("{}-{}", self.name, self.size);
            self.size += 1;
            connecting.spawn(connect(self.address.clone(), user));
        }
        while let Some(connected) = connecting.join_next().await {
            self.keep(connected??);
        }
        Ok(())
    }

    fn keep(&mut self, mut stream: Stream) {
        let heard = Arc::clone(&self.heard);
        self.clients.spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                heard.fetch_add(message.len() as u64, Ordering::Relaxed);
            }
        });
    }

    async fn leave(mut self) {
        self.clients.shutdown().await;
    }
}

type Stream = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn connect(address: String, user: String) -> Result<Stream, Failed> {
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket&userId={user}");
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
    let (mut stream, _) = tokio_tungstenite::connect_async_with_config(url, Some(config), true).await?;
    stream.send(Message::text("40")).await?;
    while let Some(message) = stream.next().await {
        let message = message?;
        match message.to_text() {
            Ok(text) if text.starts_with("40") => return Ok(stream),
            Ok(text) if text.starts_with("44") => return Err(text.to_owned().into()),
            _ => {}
        }
    }
    Err("the connection ended before CONNECT was answered".into())
}

/// All threads of the node, to the nanosecond.
fn cpu_time(node: &Node) -> Result<Duration, Failed> {
    let mut total = 0;
    for task in std::fs::read_dir(format!("/proc/{}/task", node.pid()))? {
        let spent = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        total += spent.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(total))
}
