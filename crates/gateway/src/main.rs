//! `trunkline`: read the configuration, build a node, run it until a signal.

mod cli;

use std::{collections::BTreeMap, process::ExitCode};

use tokio::signal::unix::{SignalKind, signal};
use trunkline_gateway::{
    app::Node,
    auth,
    config::{Config, Secret, parse_ttl},
    metrics, telemetry,
};

/// Stack of a worker thread. serde_json bounds how deep a text may nest, but a reader of raw values (which one of our libraries
/// switches on) starts to count anew inside of one: a payload of the largest size can then be some thousand levels deep.
/// Only what is used takes memory.
const STACK: usize = 8 << 20;

/// The configuration is wrong.
const BAD_CONFIG: u8 = 2;

fn main() -> ExitCode {
    let outcome = match cli::parse() {
        cli::Wanted::Serve(flags) => serve(&flags),
        cli::Wanted::Token { secret, user, ttl } => token(secret, &user, &ttl),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("trunkline: {error:#}");
        ExitCode::FAILURE
    })
}

fn serve(flags: &BTreeMap<String, String>) -> anyhow::Result<ExitCode> {
    let config = match Config::load(flags, &|name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(mistakes) => {
            eprintln!("trunkline: the configuration can't be used:");
            mistakes.iter().for_each(|mistake| eprintln!("  {mistake}"));
            return Ok(ExitCode::from(BAD_CONFIG));
        }
    };
    let telemetry = telemetry::install(config.log_format, &config.log_level, &config.node_id)?;
    let metrics = metrics::install()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_stack_size(STACK).enable_all().build()?;
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let node = Node::start(config, metrics).await?;
        let asked = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let whole = node.run(asked).await;
        Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    });
    telemetry.close();
    outcome
}

fn token(secret: String, user: &str, ttl: &str) -> anyhow::Result<ExitCode> {
    let ttl = parse_ttl(ttl).map_err(|problem| anyhow::anyhow!("--ttl: {problem}"))?;
    if !trunkline_protocol::ids::is_user(user) {
        anyhow::bail!("--user: this can't be a user id");
    }
    println!("{}", auth::mint(&Secret::from(secret), user, ttl)?);
    Ok(ExitCode::SUCCESS)
}
