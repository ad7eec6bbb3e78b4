//! Waiting for something that happens soon, with a deadline and a message.

use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What a probe of [`eventually`] may answer: `bool` (true ends the wait) or `Option<T>` (`Some` ends it with a value).
pub trait Outcome {
    /// What the wait returns.
    type Value;
    /// The value, once there is one.
    fn reached(self) -> Option<Self::Value>;
}

impl Outcome for bool {
    type Value = ();
    fn reached(self) -> Option<()> {
        self.then_some(())
    }
}

impl<T> Outcome for Option<T> {
    type Value = T;
    fn reached(self) -> Self {
        self
    }
}

/// Asks `probe` again and again until it is satisfied, and returns its value.
///
/// The pause between two questions grows from 2 to 50 ms. A probe that hangs counts as unsatisfied at the deadline.
///
/// # Panics
/// When `deadline` passes first; the message is "`what` did not happen within …".
pub async fn eventually<P, F, O>(deadline: Duration, what: &str, mut probe: P) -> O::Value
where
    P: FnMut() -> F,
    F: Future<Output = O>,
    O: Outcome,
{
    let until = Instant::now() + deadline;
    let mut pause = FIRST_PAUSE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, probe()).await.map(Outcome::reached) {
            Ok(Some(value)) => return value,
            Ok(None) if Instant::now() < until => tokio::time::sleep(pause).await,
            _ => panic!("{what} did not happen within {deadline:?}"),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn it_returns_the_first_value_there_is() {
        let asked = Cell::new(0);
        let value = eventually(Duration::from_secs(5), "the third question", || async {
            asked.set(asked.get() + 1);
            (asked.get() == 3).then_some("here")
        })
        .await;
        assert_eq!((value, asked.get()), ("here", 3));
    }

    #[tokio::test]
    #[should_panic(expected = "the moon turning green did not happen within 20ms")]
    async fn the_panic_says_what_did_not_happen() {
        eventually(Duration::from_millis(20), "the moon turning green", || async { false }).await;
    }

    #[tokio::test]
    #[should_panic(expected = "an answer did not happen")]
    async fn a_probe_that_hangs_does_not_outlive_the_deadline() {
        eventually(Duration::from_millis(20), "an answer", std::future::pending::<bool>).await;
    }
}
