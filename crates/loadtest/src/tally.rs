//! What the clients saw: how long things took, and whether anything is missing, came twice or was overtaken.

use std::{sync::Mutex, time::Duration};

use hdrhistogram::Histogram;

/// Times in microseconds, up to ten minutes, to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are valid")
}

pub(crate) fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
}

/// Locks; a panic elsewhere has not broken what is counted here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What some clients saw together. A histogram takes 170 KiB, so there is one for many clients.
#[derive(Debug)]
pub(crate) struct Seen {
    /// From the time a message was meant to leave to its arrival.
    pub(crate) deliveries: Histogram<u64>,
    /// From the same time to the ack.
    pub(crate) acks: Histogram<u64>,
    /// By how much messages left late, at an open rate: what the generator did wrong.
    pub(crate) lag: Histogram<u64>,
    /// Different messages, summed over the clients that got them.
    pub(crate) delivered: u64,
    pub(crate) verdicts: Verdicts,
    /// Acks that said no.
    pub(crate) refused: u64,
    /// The first such answer.
    pub(crate) refusal: Option<String>,
}

/// What should not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdicts {
    /// Messages that came after a later one of the same stream.
    pub(crate) overtaken: u64,
    /// Messages that came once more.
    pub(crate) repeated: u64,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            deliveries: histogram(),
            acks: histogram(),
            lag: histogram(),
            delivered: 0,
            verdicts: Verdicts::default(),
            refused: 0,
            refusal: None,
        }
    }
}

impl Seen {
    pub(crate) fn add(&mut self, other: &Self) {
        let Self { deliveries, acks, lag, .. } = other;
        for (sum, part) in [(&mut self.deliveries, deliveries), (&mut self.acks, acks), (&mut self.lag, lag)] {
            sum.add(part).expect("all histograms have the same bounds");
        }
        self.delivered += other.delivered;
        self.verdicts.overtaken += other.verdicts.overtaken;
        self.verdicts.repeated += other.verdicts.repeated;
        self.refused += other.refused;
        self.refusal = self.refusal.take().or_else(|| other.refusal.clone());
    }
}

/// Which messages of one stream a client has.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    newest: u64,
    /// Below `newest`: ranges, both ends included, that have not come. Ascending.
    missing: Vec<(u64, u64)>,
}

/// What an arrival was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The next, or one further on, which leaves a hole.
    New,
    /// It fills a hole: a later one was here before it.
    Overtaken,
    Repeated,
}

impl Stream {
    /// Numbers count from 1.
    pub(crate) fn arrived(&mut self, number: u64) -> Arrival {
        if number > self.newest {
            if number > self.newest + 1 {
                self.missing.push((self.newest + 1, number - 1));
            }
            self.newest = number;
            return Arrival::New;
        }
        let hole = self.missing.partition_point(|&(_, last)| last < number);
        match self.missing.get(hole).copied() {
            Some((first, last)) if first <= number => {
                let left = [(first, number - 1), (number + 1, last)].into_iter().filter(|(first, last)| first <= last);
                self.missing.splice(hole..=hole, left);
                Arrival::Overtaken
            }
            _ => Arrival::Repeated,
        }
    }

    /// Of `sent` messages, those that never came.
    pub(crate) fn lost(&self, sent: u64) -> u64 {
        let holes: u64 = self.missing.iter().map(|(first, last)| last - first + 1).sum();
        holes + sent.saturating_sub(self.newest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arrivals(numbers: &[u64]) -> (Vec<Arrival>, Stream) {
        let mut stream = Stream::default();
        (numbers.iter().map(|&number| stream.arrived(number)).collect(), stream)
    }

    #[test]
    fn a_stream_in_order_is_all_new_and_complete() {
        let (arrivals, stream) = arrivals(&[1, 2, 3, 4]);
        assert!(arrivals.iter().all(|&arrival| arrival == Arrival::New));
        assert_eq!(stream.lost(4), 0);
    }

    #[test]
    fn a_planted_loss_is_counted_in_the_middle_and_at_the_end() {
        let (_, stream) = arrivals(&[1, 2, 5]);
        assert_eq!(stream.lost(5), 2);
        assert_eq!(stream.lost(7), 4);
        assert_eq!(Stream::default().lost(3), 3);
    }

    #[test]
    fn a_planted_repeat_is_no_overtaking() {
        let (arrivals, stream) = arrivals(&[1, 2, 2, 1, 3]);
        assert_eq!(arrivals[2..4], [Arrival::Repeated, Arrival::Repeated]);
        assert_eq!(stream.lost(3), 0);
    }

    #[test]
    fn a_planted_overtaking_is_neither_loss_nor_repeat_until_it_comes_again() {
        let (arrivals, stream) = arrivals(&[1, 4, 3, 3, 2]);
        assert_eq!(arrivals[2..], [Arrival::Overtaken, Arrival::Repeated, Arrival::Overtaken]);
        assert_eq!(stream.lost(4), 0);
    }

    proptest! {
        /// Whatever the network does, the counts are those of a plain set.
        #[test]
        fn a_stream_counts_as_a_set_does(numbers in prop::collection::vec(1_u64..40, 0..120)) {
            let mut set = std::collections::BTreeSet::new();
            let mut stream = Stream::default();
            for &number in &numbers {
                let newest = set.last().copied().unwrap_or(0);
                let expected = match set.insert(number) {
                    false => Arrival::Repeated,
                    true if number < newest => Arrival::Overtaken,
                    true => Arrival::New,
                };
                prop_assert_eq!(stream.arrived(number), expected);
            }
            prop_assert_eq!(stream.lost(40), 40 - set.len() as u64);
        }
    }
}
