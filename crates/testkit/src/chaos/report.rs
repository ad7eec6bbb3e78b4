//! What a run came to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::{Chaos, Scenario, World};
use crate::history::{History, Seen, Violation};

/// The outcome of a run. Its text is Markdown.
#[derive(Debug, Clone)]
pub struct Report {
    /// What was run.
    pub chaos: Chaos,
    /// Faults that were done, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Broken promises.
    pub violations: Vec<Violation>,
    /// Messages that were acknowledged.
    pub acknowledged: usize,
    /// Messages that were not, by the end.
    pub unacknowledged: Vec<String>,
    /// Messages that clients got.
    pub deliveries: usize,
    /// Connections that clients made.
    pub connects: u64,
    /// Times that a client was told that messages are missing for good.
    pub resets: u64,
    /// How long clients took from CONNECT until they had all they had missed, sorted.
    pub resumed_in: Vec<Duration>,
    /// After an avalanche: how long each client took from the death of its node until it had all it had missed, sorted.
    pub back_in: Vec<Duration>,
    /// With failovers: acknowledged messages that are in no log any more.
    pub forgotten: Option<usize>,
    /// From the first client to the last check.
    pub took: Duration,
}

impl World {
    pub(super) fn report(
        &self,
        history: &History,
        faults: BTreeMap<&'static str, u64>,
        violations: Vec<Violation>,
    ) -> Report {
        let mut report = Report {
            chaos: self.chaos.clone(),
            faults,
            violations,
            acknowledged: history.acknowledged.len(),
            unacknowledged: Vec::new(),
            deliveries: 0,
            connects: 0,
            resets: 0,
            resumed_in: Vec::new(),
            back_in: Vec::new(),
            forgotten: None,
            took: self.began.elapsed(),
        };
        for record in self.clients.values() {
            let record = record.lock().expect("no panic under this lock");
            let messages =
                |events: &Vec<Seen>| events.iter().filter(|seen| matches!(seen, Seen::Message { .. })).count();
            report.deliveries += record.seen.values().map(messages).sum::<usize>();
            report.unacknowledged.extend(record.unacknowledged.iter().cloned());
            report.connects += record.connects;
            report.resets += record.resets;
            report.resumed_in.extend(&record.resumed_in);
            report.back_in.extend(record.back_in);
        }
        report.resumed_in.sort();
        report.back_in.sort();
        report
    }
}

impl Report {
    /// Whether every promise was kept: nothing broken, everything acknowledged, and nobody told that something is missing, unless
    /// Redis may forget.
    pub fn is_whole(&self) -> bool {
        let back = self.chaos.scenario != Scenario::Avalanche || self.back_in.len() == self.chaos.clients;
        let told = self.resets == 0 || self.forgotten.is_some();
        self.violations.is_empty() && told && self.unacknowledged.is_empty() && back
    }

    /// Faults that were done.
    pub fn fault_count(&self) -> u64 {
        self.faults.values().sum()
    }

    fn percentile(&self, percent: usize) -> Duration {
        let at = (self.resumed_in.len() * percent / 100).min(self.resumed_in.len().saturating_sub(1));
        self.resumed_in.get(at).copied().unwrap_or_default()
    }

    fn violations_of(&self, kinds: &[&str]) -> usize {
        self.violations.iter().filter(|violation| kinds.contains(&violation.kind())).count()
    }
}

/// Violations that are printed one by one.
const SHOWN: usize = 20;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Chaos { seed, nodes, clients, conversations, .. } = &self.chaos;
        writeln!(f, "seed {seed}: {} faults in {} s", self.fault_count(), self.took.as_secs())?;
        writeln!(f, "\n{nodes} nodes, {clients} clients, {conversations} conversations\n")?;
        writeln!(f, "| fault | times |\n|---|---:|")?;
        for (kind, times) in &self.faults {
            writeln!(f, "| {kind} | {times} |")?;
        }
        writeln!(f, "\n| what | how many |\n|---|---:|")?;
        writeln!(f, "| messages acknowledged | {} |", self.acknowledged)?;
        writeln!(f, "| messages never acknowledged | {} |", self.unacknowledged.len())?;
        writeln!(f, "| deliveries | {} |", self.deliveries)?;
        writeln!(f, "| connections made by clients | {} |", self.connects)?;
        let (median, most) = (self.percentile(50), self.percentile(99));
        writeln!(f, "| CONNECT to all caught up, median and 99th percentile | {median:.0?}, {most:.0?} |")?;
        if let (Scenario::Avalanche, last) = (self.chaos.scenario, self.back_in.last().copied().unwrap_or_default()) {
            let back = format!("{} of {clients}, the last after {last:.1?}", self.back_in.len());
            writeln!(f, "| **clients back with all they had missed** | {back} |")?;
        }
        if let Some(forgotten) = self.forgotten {
            writeln!(f, "| acknowledged messages that Redis forgot in failovers | {forgotten} |")?;
            writeln!(f, "| **clients that had one and were not told** | {} |", self.violations_of(&["untold"]))?;
        }
        writeln!(f, "| **acknowledged messages lost** | {} |", self.violations_of(&["lost", "gap"]))?;
        writeln!(f, "| **repeats** | {} |", self.violations_of(&["repeat"]))?;
        writeln!(f, "| **order violations** | {} |", self.violations_of(&["disorder", "two orders"]))?;
        writeln!(f, "| **presence wrong in the end** | {} |", self.violations_of(&["presence"]))?;
        writeln!(f, "| clients told that something is missing | {} |", self.resets)?;
        for id in self.unacknowledged.iter().take(SHOWN) {
            writeln!(f, "\n- {id} was never acknowledged")?;
        }
        for violation in self.violations.iter().take(SHOWN) {
            writeln!(f, "\n- {violation}")?;
        }
        if self.violations.len() > SHOWN {
            writeln!(f, "\n- and {} more", self.violations.len() - SHOWN)?;
        }
        Ok(())
    }
}
