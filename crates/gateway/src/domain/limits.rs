//! How often a socket may send.

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota};

use crate::{config::Rate, dialects::EventRate};

/// Times the burst that a socket may send in vain before it is closed.
const PATIENCE: u32 = 4;

/// The rules of one socket.
#[derive(Debug)]
pub(crate) struct Limits {
    all: DefaultDirectRateLimiter,
    dialects: Option<(Option<&'static str>, DefaultDirectRateLimiter)>,
    /// Of events that were refused.
    patience: DefaultDirectRateLimiter,
}

/// What is to be done with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Handle it.
    Fine,
    /// Refuse it.
    TooOften,
    /// The socket goes on and on: close it.
    Hopeless,
}

impl Limits {
    pub(crate) fn new(rate: Rate, dialects: Option<EventRate>) -> Self {
        let quota = |burst| Quota::per_second(rate.per_second).allow_burst(burst);
        let own = |rate: EventRate| {
            // A period is shared out evenly, with all of it at once at the beginning.
            let quota = Quota::with_period(rate.period / rate.events.get()).map(|quota| quota.allow_burst(rate.events));
            quota.map(|quota| (rate.event, DefaultDirectRateLimiter::direct(quota)))
        };
        Self {
            all: DefaultDirectRateLimiter::direct(quota(rate.burst)),
            dialects: dialects.and_then(own),
            patience: DefaultDirectRateLimiter::direct(quota(
                rate.burst.saturating_mul(NonZeroU32::new(PATIENCE).unwrap_or(NonZeroU32::MIN)),
            )),
        }
    }

    pub(crate) fn judge(&self, event: &str) -> Verdict {
        let by_dialect = || match &self.dialects {
            Some((only, limiter)) if only.is_none_or(|only| only == event) => limiter.check().is_ok(),
            _ => true,
        };
        match () {
            () if self.all.check().is_ok() && by_dialect() => Verdict::Fine,
            () if self.patience.check().is_ok() => Verdict::TooOften,
            () => Verdict::Hopeless,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn number(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    #[test]
    fn a_burst_passes_and_what_never_ends_is_hopeless() {
        let limits = Limits::new(Rate { per_second: number(1), burst: number(3) }, None);
        let verdicts: Vec<_> = (0..16).map(|_| limits.judge("x")).collect();
        assert_eq!(verdicts[..3], [Verdict::Fine; 3]);
        assert_eq!(verdicts[3..15], [Verdict::TooOften; 12]);
        assert_eq!(verdicts[15], Verdict::Hopeless);
    }

    #[test]
    fn a_dialects_rule_counts_the_event_that_it_is_about() {
        let rule = EventRate { event: Some("message"), events: number(2), period: Duration::from_secs(60) };
        let limits = Limits::new(Rate { per_second: number(100), burst: number(100) }, Some(rule));
        assert_eq!([limits.judge("message"), limits.judge("message")], [Verdict::Fine; 2]);
        assert_eq!([limits.judge("message"), limits.judge("other")], [Verdict::TooOften, Verdict::Fine]);
    }
}
