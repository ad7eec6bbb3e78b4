//! What is printed: counts that should be zero, rates, and percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;

/// What one client saw.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Microseconds from sending to the ack.
    pub(crate) acks: Histogram<u64>,
    /// Microseconds from sending to the delivery.
    pub(crate) deliveries: Histogram<u64>,
    /// Acks that said no.
    pub(crate) refused: u64,
    /// Messages that came after one with a higher place.
    pub(crate) overtaken: u64,
    /// Messages that came twice.
    pub(crate) repeated: u64,
}

impl Default for Seen {
    fn default() -> Self {
        Self { acks: histogram(), deliveries: histogram(), refused: 0, overtaken: 0, repeated: 0 }
    }
}

/// What all of them saw.
#[derive(Debug)]
pub(crate) struct Report {
    expected: usize,
    took: Duration,
    /// CPU time of the servers.
    spent: Option<Duration>,
    seen: Seen,
}

impl Report {
    pub(crate) fn new(expected: usize, took: Duration, spent: Option<Duration>) -> Self {
        Self { expected, took, spent, seen: Seen::default() }
    }

    pub(crate) fn add(&mut self, seen: &Seen) -> anyhow::Result<()> {
        self.seen.acks.add(&seen.acks)?;
        self.seen.deliveries.add(&seen.deliveries)?;
        self.seen.refused += seen.refused;
        self.seen.overtaken += seen.overtaken;
        self.seen.repeated += seen.repeated;
        Ok(())
    }
}

/// Times in microseconds, up to ten minutes, to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are valid")
}

pub(crate) fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
}

pub(crate) fn print_connected(count: usize, took: Duration, times: &Histogram<u64>) {
    println!("connected    {count} in {took:.2?}, {:.0} a second, {}", rate(count as u64, took), percentiles(times));
}

/// CPU time of the servers while the clients connected. Kernel time spent in soft interrupts may be on somebody else's account.
pub(crate) fn print_spent_connecting(count: usize, spent: Duration) {
    println!("servers      {spent:.2?} of CPU time, {:.1} µs a connection", spent.as_secs_f64() / count as f64 * 1e6);
}

pub(crate) fn print(report: &Report) {
    let Report { expected, took, spent, seen } = report;
    let delivered = seen.deliveries.len();
    println!("delivered    {delivered} of {expected} in {took:.2?}, {:.0} a second", rate(delivered, *took));
    if let Some(spent) = spent {
        let each = spent.as_secs_f64() / (delivered.max(1) as f64) * 1e6;
        println!("servers      {spent:.2?} of CPU time, {each:.3} s per million deliveries");
    }
    println!("lost         {}", (*expected as u64).saturating_sub(delivered));
    println!("overtaken    {}", seen.overtaken);
    println!("repeated     {}", seen.repeated);
    println!("refused      {}", seen.refused);
    println!("to ack       {}", percentiles(&seen.acks));
    println!("to delivery  {}", percentiles(&seen.deliveries));
}

fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(f64::EPSILON)
}

fn percentiles(times: &Histogram<u64>) -> String {
    let at = |quantile| Duration::from_micros(times.value_at_quantile(quantile));
    format!("p50 {:.2?}, p99 {:.2?}, p99.9 {:.2?}, max {:.2?}", at(0.5), at(0.99), at(0.999), at(1.0))
}
