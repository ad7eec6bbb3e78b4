//! Pure: whether a stored message proves, by its place among those of all logs, that whoever got it from this node got
//! everything before it too.
//!
//! One server publishes in the order of stamps, and one connection brings that here. So a message that comes in order says
//! that nothing before it is still to come, unless the connection was lost in between, or this node reads what it missed,
//! or has read something ahead of the connection.

use std::collections::VecDeque;

use trunkline_adapter::LinkState;
use trunkline_store::Stamp;

/// Generations of stamps that are remembered: one a restart of Redis.
const GENERATIONS: usize = 4;

/// How far this node has come in the one order of all logs.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// The newest stamp that was handed out or is about to be, of each generation; the latest generation last.
    newest: VecDeque<Stamp>,
    /// Streams that are being repaired.
    repairs: usize,
    /// Repairs so far.
    begun: u64,
    /// Since when the link was up when all logs were last compared with what this node has.
    looked: Option<LinkState>,
}

impl Order {
    /// A message comes in live, and is about to be handed out. Whether its stamp proves something.
    pub(crate) fn live(&mut self, stamp: Option<&Stamp>, link: LinkState) -> bool {
        stamp.is_some_and(|stamp| self.raise(stamp)) && self.is_whole(link)
    }

    /// Messages up to `stamp` were read from a log and are about to be handed out: what comes live with a smaller stamp proves
    /// nothing about them.
    pub(crate) fn read(&mut self, stamp: &Stamp) {
        self.raise(stamp);
    }

    /// Whether `stamp` is not behind the newest of its generation, which it is then.
    fn raise(&mut self, stamp: &Stamp) -> bool {
        if let Some(newest) = self.newest.iter_mut().find(|newest| newest.generation == stamp.generation) {
            let in_order = newest.number <= stamp.number;
            newest.number = newest.number.max(stamp.number);
            return in_order;
        }
        if self.newest.len() == GENERATIONS {
            self.newest.pop_front();
        }
        self.newest.push_back(stamp.clone());
        true
    }

    /// Whether every message that was published and came, or should have come, is handed out.
    pub(crate) fn is_whole(&self, link: LinkState) -> bool {
        let heard = match link {
            LinkState::Embedded => true,
            LinkState::Connected { .. } => self.looked == Some(link),
            LinkState::Connecting | LinkState::Degraded { .. } => false,
        };
        heard && self.repairs == 0
    }

    /// The newest stamp, when everything up to it is handed out.
    pub(crate) fn now(&self, link: LinkState) -> Option<&Stamp> {
        self.newest.back().filter(|_| self.is_whole(link))
    }

    /// A stream is behind.
    pub(crate) fn begin_repair(&mut self) {
        self.repairs += 1;
        self.begun += 1;
    }

    /// It no longer is.
    pub(crate) fn end_repair(&mut self) {
        self.repairs = self.repairs.saturating_sub(1);
    }

    /// Names the time between two repairs: as long as it is the same, nothing had to be repaired.
    pub(crate) fn repairs_begun(&self) -> u64 {
        self.begun
    }

    /// All logs were compared with what this node has, beginning while the link was `link`; each that was behind is being
    /// repaired.
    pub(crate) fn looked(&mut self, link: LinkState) {
        self.looked = Some(link);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn stamp(number: u64) -> Stamp {
        Stamp { generation: "g".into(), number }
    }

    #[test]
    fn what_comes_in_order_proves_what_was_before_it() {
        let mut order = Order::default();
        for number in [1, 5, 5, 9] {
            assert!(order.live(Some(&stamp(number)), LinkState::Embedded), "{number}");
        }
        assert!(!order.live(None, LinkState::Embedded));
        assert_eq!(order.now(LinkState::Embedded), Some(&stamp(9)));
    }

    #[test]
    fn what_was_read_ahead_of_the_link_is_not_proved_by_what_comes_before_it() {
        let mut order = Order::default();
        assert!(order.live(Some(&stamp(1)), LinkState::Embedded));
        order.read(&stamp(5));
        assert!(!order.live(Some(&stamp(2)), LinkState::Embedded));
        assert!(!order.live(Some(&stamp(4)), LinkState::Embedded));
        assert!(order.live(Some(&stamp(5)), LinkState::Embedded));
    }

    #[test]
    fn nothing_is_proved_while_something_is_repaired() {
        let mut order = Order::default();
        order.begin_repair();
        order.begin_repair();
        order.end_repair();
        assert!(!order.live(Some(&stamp(1)), LinkState::Embedded));
        assert_eq!(order.now(LinkState::Embedded), None);
        order.end_repair();
        assert!(order.live(Some(&stamp(2)), LinkState::Embedded));
        assert_eq!(order.repairs_begun(), 2);
    }

    #[test]
    fn nothing_is_proved_from_a_loss_of_the_link_until_the_logs_were_looked_at() {
        let mut order = Order::default();
        let first = LinkState::Connected { since: Instant::now() };
        assert!(!order.live(Some(&stamp(1)), first));
        order.looked(first);
        assert!(order.live(Some(&stamp(2)), first));
        assert!(!order.live(Some(&stamp(3)), LinkState::Connecting));
        let second = LinkState::Connected { since: Instant::now() + Duration::from_secs(1) };
        assert!(!order.live(Some(&stamp(4)), second));
        order.looked(first);
        assert!(!order.live(Some(&stamp(5)), second), "that look began before");
        order.looked(second);
        assert!(order.live(Some(&stamp(6)), second));
    }

    #[test]
    fn generations_are_counted_each_for_itself() {
        let mut order = Order::default();
        let other = |number| Stamp { generation: "h".into(), number };
        assert!(order.live(Some(&stamp(100)), LinkState::Embedded));
        order.read(&other(7));
        order.read(&stamp(90));
        assert!(!order.live(Some(&other(6)), LinkState::Embedded));
        assert!(order.live(Some(&other(8)), LinkState::Embedded));
        assert_eq!(order.now(LinkState::Embedded), Some(&other(8)));
    }
}
