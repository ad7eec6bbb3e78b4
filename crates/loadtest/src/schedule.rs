//! When the messages of an open rate are to leave: fixed before the first one does, so that a slow server can't slow the load
//! down and hide what it did to those who waited.

use std::time::{Duration, Instant};

use crate::plan::{Arrivals, Pace};

/// The times of one sender, ascending.
#[derive(Debug)]
pub(crate) struct Schedule {
    next: Instant,
    end: Instant,
    /// Mean time between two.
    gap: Duration,
    arrivals: Arrivals,
}

impl Schedule {
    /// The times of sender number `place` of `senders`, which share the rate of `pace`; none for a closed loop.
    pub(crate) fn new(pace: Pace, begin: Instant, place: u64, senders: u64) -> Self {
        let Pace::Open { per_second, lasting, arrivals } = pace else {
            return Self { next: begin, end: begin, gap: Duration::from_secs(1), arrivals: Arrivals::Even };
        };
        let gap = Duration::from_secs_f64((senders as f64 / per_second).max(1e-9));
        let first = match arrivals {
            Arrivals::Even => gap.mul_f64(place as f64 / senders as f64),
            Arrivals::Poisson => exponential(gap),
        };
        Self { next: begin + first, end: begin + lasting, gap, arrivals }
    }
}

impl Iterator for Schedule {
    type Item = Instant;

    fn next(&mut self) -> Option<Instant> {
        let due = self.next;
        self.next += match self.arrivals {
            Arrivals::Even => self.gap,
            Arrivals::Poisson => exponential(self.gap),
        };
        (due < self.end).then_some(due)
    }
}

fn exponential(mean: Duration) -> Duration {
    // 1 - u is never 0, and its logarithm is finite.
    mean.mul_f64(-(1.0 - rand::random::<f64>()).ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(arrivals: Arrivals, senders: u64) -> Vec<Duration> {
        let begin = Instant::now();
        let pace = Pace::Open { per_second: 1000.0, lasting: Duration::from_secs(2), arrivals };
        let mut times: Vec<_> = (0..senders)
            .flat_map(|place| Schedule::new(pace, begin, place, senders))
            .map(|time| time - begin)
            .collect();
        times.sort_unstable();
        times
    }

    #[test]
    fn senders_share_a_rate_evenly_and_out_of_step() {
        let times = times(Arrivals::Even, 7);
        assert!((1990..=2010).contains(&times.len()), "{}", times.len());
        let apart = times.windows(2).map(|two| two[1] - two[0]);
        assert!(apart.into_iter().all(|apart| apart < Duration::from_micros(1100)));
    }

    #[test]
    fn independent_arrivals_have_the_same_rate_and_come_in_clumps() {
        let times = times(Arrivals::Poisson, 5);
        // Six standard deviations.
        assert!((1730..=2270).contains(&times.len()), "{}", times.len());
        let close = times.windows(2).filter(|two| two[1] - two[0] < Duration::from_micros(100)).count();
        assert!(close > 50, "{close}");
    }
}
