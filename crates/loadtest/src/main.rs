//! Load on a Socket.IO cluster: many clients over WebSocket, and what they see.
//!
//! In reading order: `options` says what can be asked for, `plan` what a workload comes down to, `crowd` is many clients and
//! `client` one of them; `stamp` and `tally` count what arrives, `outcome` is what is found, and `compare` sets the findings
//! of several servers side by side.

mod churn;
mod client;
mod compare;
mod connection;
mod crowd;
mod crowds;
mod meter;
mod options;
mod outcome;
mod plan;
mod plot;
mod progress;
mod schedule;
mod sources;
mod stamp;
mod tally;
mod vocabulary;
mod workload;

use std::{fs, process::ExitCode};

use anyhow::Context;
use clap::Parser;

use crate::options::{Cli, Workload};

/// The load was not what was asked for: no figure counts.
const INVALID: u8 = 3;

/// With `--strict`: something was lost, came twice, was overtaken or refused.
const UNCLEAN: u8 = 4;

#[tokio::main]
async fn main() -> ExitCode {
    run(&Cli::parse()).await.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    if let Workload::Compare { directory, markdown, preface } = &cli.workload {
        compare::run(directory, markdown.as_deref(), preface.as_deref())?;
        return Ok(ExitCode::SUCCESS);
    }
    let outcome = workload::run(cli).await?;
    print!("{}", outcome.table());
    if let Some(path) = &cli.site.json {
        let json = serde_json::to_vec_pretty(&outcome)?;
        fs::write(path, json).with_context(|| format!("could not write {}", path.display()))?;
    }
    Ok(match (outcome.valid, outcome.is_clean()) {
        (false, _) => ExitCode::from(INVALID),
        (true, false) if cli.site.strict => ExitCode::from(UNCLEAN),
        (true, _) => ExitCode::SUCCESS,
    })
}
