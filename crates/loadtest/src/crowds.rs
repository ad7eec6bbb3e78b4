//! Idle clients of other processes: one process has no more connections than descriptors.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::{
    crowd::{Site, Step},
    options::Cli,
    tally::histogram,
    workload::HOLDING,
};

/// They are ended long before.
const HOLD: Duration = Duration::from_secs(24 * 3600);

/// Processes with clients. They end when it is dropped.
#[derive(Debug)]
pub(crate) struct Crowds {
    _children: Vec<Child>,
    /// How the connecting went; the times of each are not known here.
    pub(crate) step: Step,
}

impl Crowds {
    /// Starts them, and waits until all clients are connected.
    ///
    /// # Errors
    /// A process can't be started, or its clients can't connect; what it said about that is on standard error.
    pub(crate) async fn start(cli: &Cli, clients: u32, processes: u32, site: &Site) -> anyhow::Result<Self> {
        let before = site.read()?;
        let begin = Instant::now();
        let mut children = Vec::new();
        let mut said = Vec::new();
        for number in 0..processes {
            let share = clients / processes + u32::from(number < clients % processes);
            let mut child = start(cli, share).context("could not start a process for the clients")?;
            said.extend(child.stdout.take().map(|out| BufReader::new(out).lines()));
            children.push(child);
        }
        for lines in &mut said {
            wait(lines).await?;
        }
        let spent = site.read()?.since(before);
        let step = Step { count: u64::from(clients), took: begin.elapsed(), times: histogram(), spent };
        Ok(Self { _children: children, step })
    }
}

fn start(cli: &Cli, clients: u32) -> anyhow::Result<Child> {
    let words = std::env::args().skip(1).collect::<Vec<_>>();
    // The options are the same up to the workload.
    let workload = words.iter().position(|word| word == cli.workload.name()).unwrap_or(words.len());
    let mut command = Command::new(std::env::current_exe()?);
    command.args(without(&words[..workload], &["--clients", "--json", "--server-pid", "--redis-pid"]));
    command.args([
        "--clients",
        &clients.to_string(),
        "connect",
        "--hold",
        &HOLD.as_secs().to_string(),
        "--while-stdin",
    ]);
    Ok(command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?)
}

/// Leaves out options, and the value that follows each or is joined to it.
fn without<'a>(words: &'a [String], options: &[&str]) -> Vec<&'a str> {
    let mut left = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (name, value) = word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
        if !options.contains(&name) {
            left.push(word.as_str());
        } else if value.is_none() {
            words.next();
        }
    }
    left
}

async fn wait(lines: &mut Lines<BufReader<ChildStdout>>) -> anyhow::Result<()> {
    let mut said = Vec::new();
    while let Some(line) = lines.next_line().await? {
        if line.starts_with(HOLDING) {
            return Ok(());
        }
        said.push(line);
    }
    bail!("the clients of a process did not all connect: {}", said.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_left_out_with_their_values() {
        let words: Vec<_> = ["--url", "ws://a", "--clients", "9", "--json=x", "--strict"].map(str::to_owned).into();
        assert_eq!(without(&words, &["--clients", "--json"]), ["--url", "ws://a", "--strict"]);
    }
}
