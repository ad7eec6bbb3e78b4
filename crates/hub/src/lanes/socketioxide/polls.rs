//! Polls that break off: a client that vanishes while it polls is noticed at once, not when its ping times out.
//!
//! Node.js closes the session on the spot. Here the next poll has [`REPOLL`] to come, because a balancer that loses the
//! node between it and this one may send the same request by another way.

use std::{sync::Arc, time::Duration};

use ahash::AHashMap;
use parking_lot::Mutex;
use socketioxide::socket::Sid;
use tokio_util::sync::CancellationToken;

/// How long a session whose poll broke off is kept for the next one.
const REPOLL: Duration = Duration::from_secs(1);

/// The sessions whose poll broke off a moment ago. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Polls(Arc<Mutex<AHashMap<Sid, CancellationToken>>>);

impl Polls {
    /// A poll of this session begins; `broke_off` is called if the returned value is dropped before it is
    /// [answered](Poll::answered).
    pub(super) fn begin<F: FnOnce(Missing)>(&self, sid: Sid, broke_off: F) -> Poll<F> {
        if let Some(missing) = self.0.lock().remove(&sid) {
            missing.cancel();
        }
        Poll { polls: self.clone(), sid, broke_off: Some(broke_off) }
    }
}

/// A poll that waits for its answer.
pub(super) struct Poll<F: FnOnce(Missing)> {
    polls: Polls,
    sid: Sid,
    broke_off: Option<F>,
}

impl<F: FnOnce(Missing)> Poll<F> {
    /// There is an answer.
    pub(super) fn answered(mut self) {
        self.broke_off = None;
    }
}

impl<F: FnOnce(Missing)> Drop for Poll<F> {
    fn drop(&mut self) {
        if let Some(broke_off) = self.broke_off.take() {
            let next = CancellationToken::new();
            self.polls.0.lock().insert(self.sid, next.clone());
            broke_off(Missing { polls: self.polls.clone(), sid: self.sid, next });
        }
    }
}

/// A session without a poll.
pub(super) struct Missing {
    polls: Polls,
    sid: Sid,
    next: CancellationToken,
}

impl Missing {
    /// Whether the next poll does not come within [`REPOLL`].
    pub(super) async fn for_good(self) -> bool {
        let came = self.next.run_until_cancelled(tokio::time::sleep(REPOLL)).await.is_none();
        if !came {
            self.polls.0.lock().remove(&self.sid);
        }
        !came
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_poll_that_breaks_off_and_is_not_made_again_is_missing() {
        let (polls, sid) = (Polls::default(), Sid::new());
        let mut missing = Vec::new();
        polls.begin(sid, |each| missing.push(each)).answered();
        assert!(missing.is_empty());
        drop(polls.begin(sid, |each| missing.push(each)));
        let forgiven = missing.pop().unwrap();
        let again = polls.begin(sid, |each| missing.push(each));
        assert!(!forgiven.for_good().await);
        drop(again);
        assert!(missing.pop().unwrap().for_good().await);
        assert!(polls.0.lock().is_empty());
    }
}
