//! Bytes that wait in a library which doesn't tell how many: what was handed to it, less what left it.

use parking_lot::Mutex;

/// What one session has waiting. Never more than the truth: framing makes what leaves larger than what was handed over, and
/// whenever more has left than was handed over, nothing waits and the count begins anew.
#[derive(Debug, Default)]
pub(crate) struct Backlog(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    queued: u64,
    /// Bytes that left in answers to polls.
    polled: u64,
}

impl Backlog {
    /// Bytes that wait, when the session's connection has `written` so many so far.
    pub(crate) fn waiting(&self, written: u64) -> u64 {
        self.0.lock().waiting(written)
    }

    /// Counts a packet, unless there is no room for it. One larger than the limit fits when nothing else waits. A volatile
    /// one gives way early: it may take half of the room.
    pub(crate) fn admit(&self, written: u64, bytes: usize, volatile: bool, limit: usize) -> bool {
        let mut counts = self.0.lock();
        let (waiting, bytes) = (counts.waiting(written), bytes as u64);
        let room = if volatile { limit / 2 } else { limit } as u64;
        let fits = waiting == 0 || waiting + bytes <= room;
        if fits {
            counts.queued += bytes;
        }
        fits
    }

    /// So many bytes left in the answer to a poll.
    pub(crate) fn polled(&self, bytes: u64) {
        self.0.lock().polled += bytes;
    }
}

impl Counts {
    fn waiting(&mut self, written: u64) -> u64 {
        let left = self.polled + written;
        self.queued = self.queued.max(left);
        self.queued - left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_left_makes_room_and_overhead_does_not_add_up() {
        let backlog = Backlog::default();
        assert!(backlog.admit(0, 60, false, 100));
        assert!(!backlog.admit(0, 60, false, 100));
        // With its frame it was 64 bytes.
        assert!(backlog.admit(64, 60, false, 100));
        assert_eq!(backlog.waiting(64), 60);
        assert_eq!(backlog.waiting(128), 0);
        backlog.polled(500);
        assert!(backlog.admit(128, 1_000, false, 100), "a large packet fits when nothing waits");
        assert_eq!(backlog.waiting(128), 1_000);
    }

    #[test]
    fn volatile_packets_leave_half_of_the_room_to_others() {
        let backlog = Backlog::default();
        assert!(backlog.admit(0, 40, true, 100));
        assert!(!backlog.admit(0, 20, true, 100));
        assert!(backlog.admit(0, 60, false, 100));
    }
}
