//! What processes spend, as the kernel accounts for it.

use std::{fs, time::Duration};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// Ticks of `/proc/PID/stat` in a second: `USER_HZ`, which Linux has fixed at 100 for all programs.
const TICKS: u64 = 100;

/// Some processes of this machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Vec<u32>);

/// What they have spent, and hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// User and system time.
    pub(crate) cpu: Duration,
    pub(crate) rss_kib: u64,
}

impl Meter {
    pub(crate) fn new(pids: Vec<u32>) -> Self {
        Self(pids)
    }

    pub(crate) fn own() -> Self {
        Self(vec![std::process::id()])
    }

    /// All of them together; `None` when there are none to measure.
    pub(crate) fn read(&self) -> anyhow::Result<Option<Reading>> {
        let mut sum = Reading::default();
        for &pid in &self.0 {
            sum.cpu +=
                cpu(&read(pid, "stat")?).with_context(|| format!("/proc/{pid}/stat is not what it should be"))?;
            sum.rss_kib += rss_kib(&read(pid, "status")?);
        }
        Ok((!self.0.is_empty()).then_some(sum))
    }
}

fn read(pid: u32, file: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).with_context(|| format!("could not read {path}: has the server ended?"))
}

fn cpu(stat: &str) -> Option<Duration> {
    // The name, in brackets, may hold anything: the numbers begin after the last bracket, with field 3.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    Some(Duration::from_millis((user + system) * 1000 / TICKS))
}

/// A process that is just ending has no such line.
fn rss_kib(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_hides_no_number() {
        let stat = "42 (a) b) (c) S 1 42 42 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu("42 (a) S"), None);
        assert_eq!(rss_kib("Name:\ta\nVmRSS:\t    2048 kB\n"), 2048);
    }

    #[test]
    fn a_process_that_is_gone_is_named() {
        let error = Meter::new(vec![u32::MAX]).read().unwrap_err();
        assert!(error.to_string().contains(&u32::MAX.to_string()), "{error}");
        assert!(Meter::own().read().unwrap().unwrap().rss_kib > 0);
        assert_eq!(Meter::default().read().unwrap(), None);
    }
}
