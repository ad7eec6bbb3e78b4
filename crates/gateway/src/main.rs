//! `trunkline`: read the configuration, build a node, run it until a signal.

mod cli;

use std::{collections::BTreeMap, process::ExitCode};

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use trunkline_gateway::{
    app::Node,
    auth,
    config::{Config, Secret, parse_ttl},
    metrics, telemetry,
};
use trunkline_redis::Verdict;

/// Stack of a worker thread. serde_json bounds how deep a text may nest, but a reader of raw values (which one of our libraries
/// switches on) starts to count anew inside of one: a payload of the largest size can then be some thousand levels deep.
/// Only what is used takes memory.
const STACK: usize = 8 << 20;

/// glibc keeps what a burst took, and rounds up more. This one gives it back from a thread of its own, within seconds.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The configuration is wrong.
const BAD_CONFIG: u8 = 2;

/// Added to the number of the signal that ended the program at once, as shells do.
const KILLED: u8 = 128;

fn main() -> ExitCode {
    let outcome = match cli::parse() {
        cli::Wanted::Serve(flags) => serve(&flags),
        cli::Wanted::Check(flags) => check(&flags),
        cli::Wanted::Token { secret, user, ttl } => token(secret, &user, &ttl),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("trunkline: {error:#}");
        ExitCode::FAILURE
    })
}

fn serve(flags: &BTreeMap<String, String>) -> anyhow::Result<ExitCode> {
    let Some(config) = load(flags) else { return Ok(ExitCode::from(BAD_CONFIG)) };
    let telemetry = telemetry::install(config.log_format, &config.log_level, &config.node_id)?;
    let metrics = metrics::install()?;
    // A single worker needs no arrangements for others: a stored direct message then takes 5 to 7 % less CPU time, one to a room 4 %.
    let workers =
        config.workers.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let mut runtime = match workers {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = runtime.worker_threads(workers).thread_stack_size(STACK).enable_all().build()?;
    // On a thread of its own, because a single worker works on the one that waits for the end, and the main thread's stack
    // is as large as the machine's limits say.
    let node = std::thread::Builder::new().name("trunkline-main".to_owned()).stack_size(STACK);
    let outcome = std::thread::scope(|scope| {
        let node = node.spawn_scoped(scope, || runtime.block_on(run(config, metrics)))?;
        node.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    telemetry.close();
    // Not by dropping it, which would wait for what a second signal is to end.
    runtime.shutdown_background();
    outcome
}

/// A node, until it is asked to go.
async fn run(config: Config, metrics: PrometheusHandle) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let node = Node::start(config, metrics).await?;
    let asked = CancellationToken::new();
    let insisted = async {
        signals.next().await;
        asked.cancel();
        signals.next().await
    };
    tokio::select! {
        whole = node.run(asked.cancelled()) => Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        number = insisted => {
            tracing::warn!("a second signal: stopping at once, clients are cut off");
            Ok(ExitCode::from(KILLED + number))
        }
    }
}

/// The configuration, or all that is wrong with it on standard error.
fn load(flags: &BTreeMap<String, String>) -> Option<Config> {
    match Config::load(flags, &|name| std::env::var(name).ok()) {
        Ok(config) => Some(config),
        Err(mistakes) => {
            eprintln!("trunkline: the configuration can't be used:");
            mistakes.iter().for_each(|mistake| eprintln!("  {mistake}"));
            None
        }
    }
}

fn check(flags: &BTreeMap<String, String>) -> anyhow::Result<ExitCode> {
    let Some(config) = load(flags) else { return Ok(ExitCode::from(BAD_CONFIG)) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let findings = runtime.block_on(trunkline_gateway::check::check(&config));
    findings.iter().for_each(|finding| println!("{finding}"));
    let failed = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The two signals that ask a node to go.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The number of the next one.
    async fn next(&mut self) -> u8 {
        let kind = tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        };
        u8::try_from(kind.as_raw_value()).unwrap_or_default()
    }
}

fn token(secret: String, user: &str, ttl: &str) -> anyhow::Result<ExitCode> {
    let ttl = parse_ttl(ttl).map_err(|problem| anyhow::anyhow!("--ttl: {problem}"))?;
    if !trunkline_protocol::ids::is_user(user) {
        anyhow::bail!("--user: this can't be a user id");
    }
    println!("{}", auth::mint(&Secret::from(secret), user, ttl)?);
    Ok(ExitCode::SUCCESS)
}
