//! What a run found: written as JSON, and printed as a table.

use std::{fmt::Write, time::Duration};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::crowd::{Run, Step};

/// Points of the curve that a plot of latency has, in percent.
const CURVE: [f64; 18] =
    [0.0, 10.0, 25.0, 50.0, 75.0, 80.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99, 99.999, 100.0];

/// The result of one run against one server.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) workload: String,
    /// What was measured, by `--server`.
    pub(crate) server: String,
    pub(crate) round: u32,
    /// Whether the load was what it should have been. If not, `doubts` say why, and no figure counts.
    pub(crate) valid: bool,
    pub(crate) doubts: Vec<String>,
    pub(crate) clients: u32,
    /// What is counted on the horizontal axis where runs differ in one respect.
    pub(crate) scale: Option<f64>,
    pub(crate) connect: Option<Once>,
    pub(crate) join: Option<Once>,
    pub(crate) load: Option<Load>,
    pub(crate) memory: Option<Memory>,
    pub(crate) stalled: Option<Stalled>,
    /// Addresses on the loopback interface that the clients had.
    pub(crate) source_addresses: u8,
}

/// A step that every client takes once, or as often as it has rooms.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Once {
    pub(crate) count: u64,
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    pub(crate) times: Times,
    /// Microseconds of CPU time each.
    pub(crate) server_cpu_us: Option<f64>,
    pub(crate) redis_cpu_us: Option<f64>,
    pub(crate) generator_cpu_us: f64,
}

/// Messages, and what became of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) seconds: f64,
    pub(crate) sent: u64,
    /// Of an open rate.
    pub(crate) planned_per_second: Option<f64>,
    pub(crate) expected: u64,
    pub(crate) delivered: u64,
    pub(crate) delivered_per_second: f64,
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) overtaken: u64,
    pub(crate) refused: u64,
    pub(crate) refusal: Option<String>,
    /// From when a message was to leave until a recipient had it.
    pub(crate) delivery: Times,
    /// From the same time to the ack.
    pub(crate) ack: Times,
    /// By how much messages left late: the generator's own doing.
    pub(crate) lag: Times,
    /// CPU seconds, in all and per million deliveries.
    pub(crate) server_cpu: Option<Cpu>,
    pub(crate) redis_cpu: Option<Cpu>,
    pub(crate) generator_cpu: Cpu,
    /// Seconds since the beginning, and deliveries up to then.
    pub(crate) series: Vec<(f64, u64)>,
    pub(crate) server_peak_kib: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Cpu {
    pub(crate) seconds: f64,
    pub(crate) per_million: f64,
}

/// The servers' resident memory.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) before_kib: u64,
    pub(crate) peak_kib: u64,
    pub(crate) after_kib: u64,
    /// How much of the growth each connection has.
    pub(crate) per_connection_kib: f64,
}

/// Clients that stopped reading.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Stalled {
    pub(crate) clients: u64,
    /// The server ended their connection: they know.
    pub(crate) closed: u64,
    /// They are connected and have everything.
    pub(crate) complete: u64,
    /// They are connected, have holes, and don't know.
    pub(crate) silent_holes: u64,
}

/// A distribution, in microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
    /// Percent, and the time that so many took at the most.
    pub(crate) curve: Vec<(f64, u64)>,
}

impl Times {
    pub(crate) fn new(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            count: histogram.len(),
            mean: histogram.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max(),
            curve: CURVE.iter().map(|&percent| (percent, at(percent / 100.0))).collect(),
        }
    }
}

impl Once {
    pub(crate) fn new(step: &Step) -> Self {
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / step.count.max(1) as f64;
        Self {
            count: step.count,
            seconds: step.took.as_secs_f64(),
            per_second: step.count as f64 / step.took.as_secs_f64().max(f64::EPSILON),
            times: Times::new(&step.times),
            server_cpu_us: step.spent.servers.map(|reading| each(reading.cpu)),
            redis_cpu_us: step.spent.redis.map(|reading| each(reading.cpu)),
            generator_cpu_us: each(step.spent.generator.cpu),
        }
    }
}

impl Load {
    pub(crate) fn new(run: &Run, planned_per_second: Option<f64>) -> Self {
        let seen = &run.seen;
        let cpu = |time: Duration| Cpu {
            seconds: time.as_secs_f64(),
            per_million: time.as_secs_f64() * 1e6 / seen.delivered.max(1) as f64,
        };
        let seconds = run.took.as_secs_f64();
        Self {
            seconds,
            sent: run.sent,
            planned_per_second,
            expected: run.expected,
            delivered: seen.delivered,
            delivered_per_second: seen.delivered as f64 / seconds.max(f64::EPSILON),
            lost: run.expected.saturating_sub(seen.delivered),
            repeated: seen.verdicts.repeated,
            overtaken: seen.verdicts.overtaken,
            refused: seen.refused,
            refusal: seen.refusal.clone(),
            delivery: Times::new(&seen.deliveries),
            ack: Times::new(&seen.acks),
            lag: Times::new(&seen.lag),
            server_cpu: run.spent.servers.map(|reading| cpu(reading.cpu)),
            redis_cpu: run.spent.redis.map(|reading| cpu(reading.cpu)),
            generator_cpu: cpu(run.spent.generator.cpu),
            series: run.series.clone(),
            server_peak_kib: run.peak_kib,
        }
    }

    /// Nothing lost, nothing twice, in order, nothing refused.
    pub(crate) fn is_clean(&self) -> bool {
        self.lost + self.repeated + self.overtaken + self.refused == 0
    }
}

impl Outcome {
    /// Whether clients saw what they should, as far as this run can say.
    pub(crate) fn is_clean(&self) -> bool {
        self.load.as_ref().is_none_or(Load::is_clean) && self.stalled.is_none_or(|stalled| stalled.silent_holes == 0)
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut lines = Lines::default();
        for (what, once) in [("connected", &self.connect), ("joined", &self.join)] {
            if let Some(once) = once.as_ref().filter(|once| once.count > 0) {
                lines.once(what, once);
            }
        }
        if let Some(load) = &self.load {
            lines.load(load);
        }
        if let Some(memory) = &self.memory {
            lines.memory(memory);
        }
        if let Some(Stalled { clients, closed, complete, silent_holes }) = self.stalled {
            lines.line(
                "stalled",
                format_args!("{clients}: {closed} closed, {complete} complete, {silent_holes} with silent holes"),
            );
        }
        if self.source_addresses > 1 {
            lines.line("sources", format_args!("127.0.0.1 to 127.0.0.{}", self.source_addresses));
        }
        for doubt in &self.doubts {
            lines.line("INVALID", format_args!("{doubt}"));
        }
        lines.0
    }
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn line(&mut self, name: &str, text: std::fmt::Arguments<'_>) {
        // A String takes everything.
        let _ = writeln!(self.0, "{name:<12} {text}");
    }

    fn once(&mut self, what: &str, once: &Once) {
        let Once { count, seconds, per_second, times, .. } = once;
        self.line(what, format_args!("{count} in {seconds:.2} s, {per_second:.0} a second, {}", percentiles(times)));
        let servers = once.server_cpu_us.map_or_else(String::new, |each| format!("servers {each:.1} µs, "));
        let redis = once.redis_cpu_us.map_or_else(String::new, |each| format!("Redis {each:.1} µs, "));
        self.line("  CPU each", format_args!("{servers}{redis}generator {:.1} µs", once.generator_cpu_us));
    }

    fn load(&mut self, load: &Load) {
        let Load { delivered, expected, seconds, delivered_per_second, .. } = load;
        self.line("sent", format_args!("{}", load.sent));
        if let Some(planned) = load.planned_per_second {
            self.line("  planned", format_args!("{planned:.0} a second; late {}", percentiles(&load.lag)));
        }
        self.line(
            "delivered",
            format_args!("{delivered} of {expected} in {seconds:.2} s, {delivered_per_second:.0} a second"),
        );
        let counts = [
            ("lost", load.lost),
            ("repeated", load.repeated),
            ("overtaken", load.overtaken),
            ("refused", load.refused),
        ];
        counts.into_iter().for_each(|(name, count)| self.line(name, format_args!("{count}")));
        if let Some(refusal) = &load.refusal {
            self.line("  first", format_args!("{refusal}"));
        }
        self.line("to ack", format_args!("{}", percentiles(&load.ack)));
        self.line("to delivery", format_args!("{}", percentiles(&load.delivery)));
        for (name, cpu) in
            [("servers", load.server_cpu), ("Redis", load.redis_cpu), ("generator", Some(load.generator_cpu))]
        {
            if let Some(Cpu { seconds, per_million }) = cpu {
                self.line(name, format_args!("{seconds:.2} s of CPU time, {per_million:.3} s per million deliveries"));
            }
        }
        if let Some(peak) = load.server_peak_kib {
            self.line("memory", format_args!("{:.1} MiB at the most", peak as f64 / 1024.0));
        }
    }

    fn memory(&mut self, memory: &Memory) {
        let [before, peak, after] =
            [memory.before_kib, memory.peak_kib, memory.after_kib].map(|kib| kib as f64 / 1024.0);
        let each = memory.per_connection_kib;
        self.line(
            "memory",
            format_args!("{before:.1} MiB before, {peak:.1} at the most, {after:.1} after; {each:.2} KiB a connection"),
        );
    }
}

fn percentiles(times: &Times) -> String {
    let Times { p50, p99, p999, max, count, .. } = *times;
    if count == 0 {
        return "-".to_owned();
    }
    let [p50, p99, p999, max] = [p50, p99, p999, max].map(Duration::from_micros);
    format!("p50 {p50:.2?}, p99 {p99:.2?}, p99.9 {p999:.2?}, max {max:.2?}")
}
