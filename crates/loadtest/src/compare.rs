//! Results of several servers side by side: medians, ratios to the first server of the same round, and how far they spread.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};

use crate::{
    outcome::{Load, Outcome},
    plot,
};

/// Prints the tables, and writes them to `markdown`, behind `preface`, with plots beside it.
///
/// # Errors
/// There is nothing to compare, or files can't be read or written.
pub(crate) fn run(directory: &Path, markdown: Option<&Path>, preface: Option<&Path>) -> anyhow::Result<()> {
    let workloads = read(directory)?;
    let mut text = String::new();
    for workload in &workloads {
        writeln!(text, "## {}\n\n{}", workload.name, workload.table())?;
        if let Some(markdown) = markdown {
            for (name, svg) in plot::of(workload)? {
                let file = beside(markdown, &workload.name, name)?;
                fs::write(&file, svg).with_context(|| format!("could not write {}", file.display()))?;
                let link = file.strip_prefix(markdown.parent().unwrap_or(Path::new(""))).unwrap_or(&file);
                writeln!(text, "![{name} of {}]({})\n", workload.name, link.display())?;
            }
        }
    }
    print!("{text}");
    if let Some(markdown) = markdown {
        let preface =
            preface.map(fs::read_to_string).transpose().context("could not read the preface")?.unwrap_or_default();
        fs::write(markdown, format!("{preface}{}\n", text.trim_end()))
            .with_context(|| format!("could not write {}", markdown.display()))?;
    }
    Ok(())
}

/// `docs/benchmarks/2026-01-31.md` has its plots in `docs/benchmarks/2026-01-31/`.
fn beside(markdown: &Path, workload: &str, plot: &str) -> anyhow::Result<PathBuf> {
    let directory = markdown.with_extension("");
    fs::create_dir_all(&directory).with_context(|| format!("could not make {}", directory.display()))?;
    Ok(directory.join(format!("{workload}-{plot}.svg")))
}

/// All runs of one workload. Servers and rounds are in the order in which they were measured.
#[derive(Debug)]
pub(crate) struct Runs {
    pub(crate) name: String,
    pub(crate) servers: Vec<String>,
    outcomes: Vec<Outcome>,
}

/// In the order of the files' names, which begin with their number.
fn read(directory: &Path) -> anyhow::Result<Vec<Runs>> {
    let entries = fs::read_dir(directory).with_context(|| format!("could not read {}", directory.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let mut outcomes = Vec::new();
    for file in files {
        let json = fs::read(&file)?;
        let outcome = serde_json::from_slice(&json);
        let outcome: Outcome = outcome.with_context(|| format!("{} is no result of this program", file.display()))?;
        // What grows may be the time to come as well as the memory taken.
        if outcome.scale.is_some() && outcome.memory.is_some() && outcome.load.is_none() {
            let workload = format!("{}-connect", outcome.workload);
            outcomes.push(Outcome { workload, memory: None, ..outcome.clone() });
        }
        outcomes.push(outcome);
    }
    ensure!(!outcomes.is_empty(), "{} has no results", directory.display());
    Ok(group(outcomes))
}

fn group(outcomes: Vec<Outcome>) -> Vec<Runs> {
    let mut workloads: Vec<Runs> = Vec::new();
    for outcome in outcomes {
        let known = workloads.iter().position(|runs| runs.name == outcome.workload);
        let known = known.unwrap_or_else(|| {
            workloads.push(Runs { name: outcome.workload.clone(), servers: Vec::new(), outcomes: Vec::new() });
            workloads.len() - 1
        });
        let runs = &mut workloads[known];
        if !runs.servers.contains(&outcome.server) {
            runs.servers.push(outcome.server.clone());
        }
        runs.outcomes.push(outcome);
    }
    workloads
}

/// What a workload is about: less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cost {
    Delivery,
    Connection,
    Memory,
    Growth,
}

impl Cost {
    fn of(outcome: &Outcome) -> Option<Self> {
        match (&outcome.memory, &outcome.load, &outcome.connect) {
            (Some(_), Some(_), _) => Some(Self::Growth),
            (Some(_), None, _) => Some(Self::Memory),
            (None, Some(_), _) => Some(Self::Delivery),
            (None, None, Some(_)) => Some(Self::Connection),
            (None, None, None) => None,
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Delivery => "server CPU s per million deliveries",
            Self::Connection => "server CPU µs per connection",
            Self::Memory => "KiB per connection",
            Self::Growth => "% more memory after the burst",
        }
    }

    fn read(self, outcome: &Outcome) -> Option<f64> {
        match self {
            Self::Delivery => Some(outcome.load.as_ref()?.server_cpu?.per_million),
            Self::Connection => outcome.connect.as_ref()?.server_cpu_us,
            Self::Memory => Some(outcome.memory?.per_connection_kib),
            Self::Growth => {
                let memory = outcome.memory?;
                Some((memory.after_kib as f64 / memory.before_kib.max(1) as f64 - 1.0) * 100.0)
            }
        }
    }
}

/// The middle of some figures, and their ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().filter(|figure| figure.is_finite()).collect();
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median = if figures.len().is_multiple_of(2) {
            f64::midpoint(figures[middle - 1], figures[middle])
        } else {
            figures[middle]
        };
        Some(Self { median, least, most })
    }

    fn written(self) -> String {
        let Self { median, least, most } = self;
        if figure(least) == figure(most) {
            figure(median)
        } else {
            format!("{} ({}–{})", figure(median), figure(least), figure(most))
        }
    }
}

/// Three digits, or all before the point; counts as they are.
fn figure(figure: f64) -> String {
    let digits = if figure.fract() == 0.0 || figure.abs() >= 100.0 {
        0
    } else if figure.abs() >= 10.0 {
        1
    } else {
        2
    };
    format!("{figure:.digits$}")
}

impl Runs {
    /// The valid ones of a server, at a scale if there are several.
    fn of<'a>(&'a self, server: &'a str, scale: Option<f64>) -> impl Iterator<Item = &'a Outcome> + 'a {
        self.outcomes.iter().filter(move |outcome| outcome.server == server && outcome.valid && outcome.scale == scale)
    }

    /// Ascending; `None` where runs don't differ in scale.
    pub(crate) fn scales(&self) -> Vec<Option<f64>> {
        let mut scales: Vec<_> = self.outcomes.iter().map(|outcome| outcome.scale).collect();
        scales.sort_by(|one, other| one.unwrap_or(0.0).total_cmp(&other.unwrap_or(0.0)));
        scales.dedup();
        scales
    }

    fn cost(&self) -> Option<Cost> {
        self.outcomes.iter().filter(|outcome| outcome.valid).find_map(Cost::of)
    }

    pub(crate) fn unit(&self) -> &'static str {
        self.cost().map_or("", Cost::unit)
    }

    /// What it costs this server.
    pub(crate) fn costs(&self, server: &str, scale: Option<f64>) -> Option<Spread> {
        let cost = self.cost()?;
        Spread::of(self.of(server, scale).filter_map(|outcome| cost.read(outcome)))
    }

    /// How many times as much as the first server, in the same round; where runs differ in scale, as that at the first of them.
    fn ratios(&self, server: &str, scale: Option<f64>) -> Option<Spread> {
        let cost = self.cost().filter(|cost| *cost != Cost::Growth)?;
        let by_round = |server, scale| {
            let runs = self.of(server, scale);
            runs.filter_map(|outcome| Some((outcome.round, cost.read(outcome)?))).collect::<BTreeMap<_, _>>()
        };
        let reference = by_round(self.servers.first()?, *self.scales().first()?);
        Spread::of(
            by_round(server, scale).into_iter().filter_map(|(round, figure)| Some(figure / reference.get(&round)?)),
        )
    }

    /// The run in the middle, by its cost.
    pub(crate) fn middle<'a>(&'a self, server: &'a str) -> Option<&'a Outcome> {
        let cost = self.cost()?;
        let mut runs: Vec<_> = self.of(server, *self.scales().last()?).collect();
        runs.sort_by(|one, other| cost.read(one).unwrap_or(0.0).total_cmp(&cost.read(other).unwrap_or(0.0)));
        runs.get(runs.len() / 2).copied()
    }

    fn table(&self) -> String {
        let scaled = self.scales() != [None];
        let scale_head = if scaled { "at | " } else { "" };
        let mut table = format!(
            "| server | {scale_head}{} | times {} | a second | p50 ms | p99 ms | lost | repeated | overtaken | Redis CPU | generator CPU |\n|{}\n",
            self.unit(),
            self.servers.first().map_or("", String::as_str),
            "---|".repeat(if scaled { 12 } else { 11 }),
        );
        for server in &self.servers {
            for scale in self.scales() {
                let at = scale.map_or_else(String::new, |scale| format!("{scale} | "));
                // A String takes everything.
                let _ = writeln!(table, "| {server} | {at}{} |", self.cells(server, scale).join(" | "));
            }
        }
        for outcome in self.outcomes.iter().filter(|outcome| !outcome.valid) {
            let Outcome { server, round, doubts, .. } = outcome;
            let _ = writeln!(table, "\n{server}, round {round}, is invalid: {}.", doubts.join("; "));
        }
        table
    }

    fn cells(&self, server: &str, scale: Option<f64>) -> [String; 10] {
        let written = |spread: Option<Spread>| spread.map_or_else(|| "-".to_owned(), Spread::written);
        let of_run =
            |read: &dyn Fn(&Outcome) -> Option<f64>| written(Spread::of(self.of(server, scale).filter_map(read)));
        let of_load = |read: &dyn Fn(&Load) -> f64| of_run(&|outcome| outcome.load.as_ref().map(read));
        let times = |outcome: &Outcome| match (&outcome.load, &outcome.connect) {
            (Some(load), _) => Some(load.delivery.clone()),
            (None, connect) => connect.as_ref().map(|connect| connect.times.clone()),
        };
        [
            written(self.costs(server, scale)),
            written(self.ratios(server, scale)),
            of_run(&|outcome| match (&outcome.load, &outcome.connect) {
                (Some(load), _) => Some(load.delivered_per_second),
                (None, connect) => connect.as_ref().map(|connect| connect.per_second),
            }),
            of_run(&|outcome| times(outcome).map(|times| times.p50 as f64 / 1000.0)),
            of_run(&|outcome| times(outcome).map(|times| times.p99 as f64 / 1000.0)),
            of_load(&|load| load.lost as f64),
            of_load(&|load| load.repeated as f64),
            of_load(&|load| load.overtaken as f64),
            of_run(&|outcome| match (&outcome.load, &outcome.connect) {
                (Some(load), _) => load.redis_cpu.map(|cpu| cpu.per_million),
                (None, connect) => connect.as_ref().and_then(|connect| connect.redis_cpu_us),
            }),
            of_run(&|outcome| match (&outcome.load, &outcome.connect) {
                (Some(load), _) => Some(load.generator_cpu.per_million),
                (None, connect) => connect.as_ref().map(|connect| connect.generator_cpu_us),
            }),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Cpu;

    pub(crate) fn outcome(server: &str, round: u32, per_million: f64, valid: bool) -> Outcome {
        let load = Load { server_cpu: Some(Cpu { seconds: 1.0, per_million }), lost: 7, ..Load::default() };
        let doubts = if valid { vec![] } else { vec!["too slow".to_owned()] };
        let (workload, server) = ("room".to_owned(), server.to_owned());
        Outcome { workload, server, round, valid, doubts, load: Some(load), ..Outcome::default() }
    }

    #[test]
    fn ratios_are_those_of_the_same_round() {
        // The machine was half as fast in the second round: for both.
        let runs = group(vec![
            outcome("us", 1, 1.0, true),
            outcome("them", 1, 4.0, true),
            outcome("us", 2, 2.0, true),
            outcome("them", 2, 10.0, true),
        ]);
        let ratios = runs[0].ratios("them", None).unwrap();
        assert_eq!((ratios.median, ratios.least, ratios.most), (4.5, 4.0, 5.0));
        assert!(runs[0].table().contains("| them | 7 (4–10) | 4.50 (4–5) |"), "{}", runs[0].table());
    }

    #[test]
    fn invalid_runs_count_for_nothing_and_are_named() {
        let runs = group(vec![outcome("us", 1, 1.0, true), outcome("us", 2, 99.0, false)]);
        assert_eq!(runs[0].costs("us", None).unwrap().most, 1.0);
        assert!(runs[0].table().contains("us, round 2, is invalid: too slow."), "{}", runs[0].table());
    }

    #[test]
    fn plots_of_results_are_drawings() {
        let runs = group(vec![
            Outcome { scale: Some(10.0), ..outcome("us", 1, 1.0, true) },
            Outcome { scale: Some(100.0), ..outcome("us", 1, 2.0, true) },
        ]);
        let plots = plot::of(&runs[0]).unwrap();
        assert!(
            plots.iter().any(|(name, svg)| *name == "growth" && svg.starts_with("<svg") && svg.contains("polyline"))
        );
    }
}
