//! What is left of the promises when Redis forgets what it had acknowledged, as after a failover to a replica that had not
//! received it: what is in the logs in the end has reached everyone, and nobody keeps anything else without having been told.

use std::collections::{BTreeMap, BTreeSet};

use super::{History, Log, Order, Orders, Seen, Violation};

/// The logs as they stand in the end: conversation, number, the sender's own name for the message.
pub type Logs = BTreeMap<String, BTreeMap<u64, String>>;

/// Messages that were acknowledged and are in no log.
pub fn forgotten(history: &History, logs: &Logs) -> usize {
    let kept: BTreeSet<&str> = logs.values().flat_map(BTreeMap::values).map(String::as_str).collect();
    history.acknowledged.iter().filter(|ack| !kept.contains(ack.id.as_str())).count()
}

/// All that clients miss of `logs`, or have otherwise than there and were not told, sorted.
pub fn check_against(history: &History, logs: &Logs) -> Vec<Violation> {
    let mut own: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for ack in &history.acknowledged {
        own.entry(&ack.client).or_default().insert(&ack.id);
    }
    let orders = Orders::of(history);
    let (nothing, nobody, unknown) = (BTreeMap::new(), BTreeSet::new(), Order::default());
    let mut found: Vec<Violation> = Vec::new();
    for seen in &history.seen {
        let reader = Reader {
            seen,
            own: own.get(seen.client.as_str()).unwrap_or(&nobody),
            order: orders.by_conversation.get(seen.conversation.as_str()).unwrap_or(&unknown),
            log: logs.get(&seen.conversation).unwrap_or(&nothing),
            from: None,
            at: 0,
            has: BTreeMap::new(),
            found: Vec::new(),
        };
        found.append(&mut reader.read());
    }
    found.sort();
    found.dedup();
    found
}

/// What a client takes a conversation to be.
struct Reader<'a> {
    seen: &'a Log,
    /// What it sent and knows to be stored.
    own: &'a BTreeSet<&'a str>,
    /// All that ever had a number, also what is forgotten.
    order: &'a Order<'a>,
    /// As it stands in the end.
    log: &'a BTreeMap<u64, String>,
    /// What comes behind this number is due; `None` before it joined.
    from: Option<u64>,
    at: u64,
    has: BTreeMap<u64, &'a str>,
    found: Vec<Violation>,
}

impl<'a> Reader<'a> {
    fn read(mut self) -> Vec<Violation> {
        self.seen.events.iter().for_each(|event| self.see(event));
        self.compare();
        self.found
    }

    fn see(&mut self, event: &'a Seen) {
        match event {
            Seen::From(seq) => {
                self.from.get_or_insert(*seq);
                self.at = self.at.max(*seq);
            }
            // It loads again what the log has up to there, and what comes behind is due.
            Seen::Reset(seq) => {
                self.has.retain(|at, id| at <= seq && self.log.get(at).is_some_and(|kept| kept == id));
                self.from = self.from.and(Some(*seq));
                self.at = *seq;
            }
            Seen::Message { seq, id } => {
                if self.has.values().any(|known| known == id) {
                    let id = id.clone();
                    return self.found(|client, conversation| Violation::Repeat { client, conversation, id });
                }
                if *seq <= self.at {
                    let (seq, after) = (*seq, self.at);
                    return self.found(|client, conversation| Violation::Disorder { client, conversation, seq, after });
                }
                if self.from.is_some() {
                    let skipped: Vec<u64> = (self.at + 1..*seq).filter(|seq| !self.may_be_own(*seq)).collect();
                    skipped.into_iter().for_each(|seq| self.lost(seq));
                }
                self.has.insert(*seq, id);
                self.at = *seq;
            }
        }
    }

    /// Whether a message of its own had this number, in whichever log. Its own it has from the acknowledgement.
    fn may_be_own(&self, seq: u64) -> bool {
        self.order.ids.get(&seq).is_some_and(|ids| ids.iter().any(|id| self.own.contains(id)))
    }

    fn compare(&mut self) {
        let Some(from) = self.from else { return };
        for (&seq, id) in self.log.range(from + 1..) {
            match self.has.get(&seq) {
                Some(has) if has == id => {}
                Some(_) => self.untold(seq),
                None if self.own.contains(id.as_str()) => {}
                None => self.lost(seq),
            }
        }
        // It counts on from where it stands, whatever it has.
        let end = self.log.keys().next_back().copied().unwrap_or(0);
        let beyond: BTreeSet<u64> = self.has.range(end + 1..).map(|(seq, _)| *seq).chain([self.at]).collect();
        beyond.into_iter().filter(|seq| *seq > end).for_each(|seq| self.untold(seq));
    }

    fn lost(&mut self, seq: u64) {
        self.found(|client, conversation| Violation::Lost { client, conversation, seq });
    }

    fn untold(&mut self, seq: u64) {
        self.found(|client, conversation| Violation::Untold { client, conversation, seq });
    }

    fn found(&mut self, violation: impl FnOnce(String, String) -> Violation) {
        self.found.push(violation(self.seen.client.clone(), self.seen.conversation.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Acknowledged;
    use super::*;

    fn logs(ids: &[&str]) -> Logs {
        let log = (1..).zip(ids.iter().map(ToString::to_string)).collect();
        BTreeMap::from([("room".to_owned(), log)])
    }

    fn history(events: Vec<Seen>) -> History {
        let ack =
            |id: &str, seq| Acknowledged { client: "bob".into(), conversation: "room".into(), id: id.into(), seq };
        let log = |client: &str, events| Log { client: client.into(), conversation: "room".into(), events };
        let bobs = log("bob", vec![Seen::From(0), Seen::Reset(1)]);
        History { acknowledged: vec![ack("a", 1), ack("b", 2), ack("c", 2)], seen: vec![log("ada", events), bobs] }
    }

    fn saw(seq: u64, id: &str) -> Seen {
        Seen::Message { seq, id: id.into() }
    }

    fn kinds(events: Vec<Seen>, ids: &[&str]) -> Vec<&'static str> {
        check_against(&history(events), &logs(ids)).iter().map(Violation::kind).collect()
    }

    #[test]
    fn who_is_told_and_goes_on_with_what_is_left_misses_nothing() {
        let events = || vec![Seen::From(0), saw(1, "a"), saw(2, "b"), Seen::Reset(1), saw(2, "c")];
        assert_eq!(kinds(events(), &["a", "c"]), [] as [&str; 0]);
        assert_eq!(forgotten(&history(events()), &logs(&["a", "c"])), 1, "b");
    }

    #[test]
    fn who_keeps_what_is_lost_was_not_told() {
        assert_eq!(kinds(vec![Seen::From(0), saw(1, "a"), saw(2, "b")], &["a"]), ["untold"]);
        assert_eq!(kinds(vec![Seen::From(0), saw(1, "a"), saw(2, "b")], &["a", "c"]), ["untold"]);
    }

    #[test]
    fn who_is_told_and_then_misses_something_has_lost_it() {
        let events = vec![Seen::From(0), saw(1, "a"), saw(2, "b"), Seen::Reset(1)];
        assert_eq!(kinds(events, &["a", "c"]), ["lost"]);
    }

    #[test]
    fn repeats_and_disorder_are_found_between_resets() {
        let events = vec![Seen::From(0), saw(1, "a"), saw(2, "c"), saw(3, "c"), saw(2, "d")];
        assert_eq!(kinds(events, &["a", "c"]), ["repeat", "disorder"]);
        let again = vec![Seen::From(0), saw(1, "a"), saw(2, "c"), Seen::Reset(0), saw(1, "a"), saw(2, "c")];
        assert_eq!(kinds(again, &["a", "c"]), [] as [&str; 0]);
    }

    #[test]
    fn what_a_reset_leaves_out_is_not_due() {
        let events = vec![Seen::From(0), Seen::Reset(2), saw(3, "b")];
        assert_eq!(kinds(events, &["a", "c", "b"]), [] as [&str; 0]);
    }

    #[test]
    fn who_is_told_to_load_again_keeps_nothing_that_is_lost() {
        let events = vec![Seen::From(0), saw(1, "a"), saw(2, "b"), saw(3, "d"), Seen::Reset(2), saw(3, "b")];
        assert_eq!(kinds(events, &["a", "c", "b"]), [] as [&str; 0], "also when what was lost is sent again");
    }

    #[test]
    fn a_reset_does_not_excuse_what_was_skipped_before() {
        let events = vec![Seen::From(0), saw(1, "a"), saw(3, "b"), Seen::Reset(3)];
        assert_eq!(kinds(events, &["a", "c", "b"]), ["lost"]);
    }

    #[test]
    fn a_message_of_ones_own_that_was_lost_is_no_gap() {
        let bobs = vec![Seen::From(0), saw(1, "x"), saw(3, "d"), Seen::Reset(2), saw(3, "y")];
        let mut history = history(vec![]);
        history.seen[1].events = bobs;
        assert_eq!(check_against(&history, &logs(&["x", "z", "y"])), []);
    }

    #[test]
    fn who_joined_where_the_log_no_longer_reaches_is_told() {
        assert_eq!(kinds(vec![Seen::From(2)], &["a"]), ["untold"]);
        assert_eq!(kinds(vec![Seen::From(2), Seen::Reset(1)], &["a"]), [] as [&str; 0]);
    }
}
