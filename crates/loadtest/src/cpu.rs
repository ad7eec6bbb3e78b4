//! What the servers spend, as the kernel accounts for it.

use std::{fs, time::Duration};

use anyhow::Context;

/// Ticks of `/proc/PID/stat` in a second: `USER_HZ`, which Linux has fixed at 100 for all programs.
const TICKS: u64 = 100;

/// Reads the CPU time of some processes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Vec<u32>);

impl Meter {
    pub(crate) fn new(pids: Vec<u32>) -> Self {
        Self(pids)
    }

    /// User and system time of all of them so far; `None` when there are none to measure.
    pub(crate) fn read(&self) -> anyhow::Result<Option<Duration>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let ticks = self.0.iter().map(|&pid| ticks(pid)).sum::<anyhow::Result<u64>>()?;
        Ok(Some(Duration::from_millis(ticks * 1000 / TICKS)))
    }
}

fn ticks(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
    // The name, in brackets, may hold anything: the numbers begin after the last bracket, with field 3.
    let (_, fields) = stat.rsplit_once(')').with_context(|| format!("{path} is not what it should be"))?;
    let mut times = fields.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u64>);
    match (times.next(), times.next()) {
        (Some(Ok(user)), Some(Ok(system))) => Ok(user + system),
        _ => anyhow::bail!("{path} is not what it should be"),
    }
}
