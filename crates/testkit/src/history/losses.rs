//! What is left of the promises when Redis forgets what it had acknowledged, as after a failover to a replica that had not
//! received it: what is in the logs in the end has reached everyone, and nobody keeps anything else without having been told.

use std::collections::{BTreeMap, BTreeSet};

use super::{History, Log, Seen, Violation};

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
    let (nothing, nobody) = (BTreeMap::new(), BTreeSet::new());
    let mut found: Vec<Violation> = Vec::new();
    for seen in &history.seen {
        let mut reader = Reader::of(seen);
        let own = own.get(seen.client.as_str()).unwrap_or(&nobody);
        reader.compare(logs.get(&seen.conversation).unwrap_or(&nothing), own);
        found.append(&mut reader.found);
    }
    found.sort();
    found
}

/// What a client takes a conversation to be.
struct Reader<'a> {
    log: &'a Log,
    /// What comes behind this number is due; `None` before it joined.
    from: Option<u64>,
    at: u64,
    has: BTreeMap<u64, &'a str>,
    found: Vec<Violation>,
}

impl<'a> Reader<'a> {
    fn of(log: &'a Log) -> Self {
        let mut reader = Self { log, from: None, at: 0, has: BTreeMap::new(), found: Vec::new() };
        log.events.iter().for_each(|event| reader.see(event));
        reader
    }

    fn see(&mut self, event: &'a Seen) {
        match event {
            Seen::From(seq) => {
                self.from.get_or_insert(*seq);
                self.at = self.at.max(*seq);
            }
            // It forgets what it had beyond; what it is told to leave out is not due.
            Seen::Reset(seq) => {
                self.has.split_off(&(seq + 1));
                let leaves_out = *seq > self.at;
                self.from = self.from.map(|from| if leaves_out { *seq } else { from.min(*seq) });
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
                self.has.insert(*seq, id);
                self.at = *seq;
            }
        }
    }

    /// Its own it has from the acknowledgement.
    fn compare(&mut self, log: &BTreeMap<u64, String>, own: &BTreeSet<&str>) {
        let Some(from) = self.from else { return };
        for (&seq, id) in log.range(from + 1..) {
            match self.has.get(&seq) {
                Some(has) if has == id => {}
                Some(_) => self.found(|client, conversation| Violation::Untold { client, conversation, seq }),
                None if own.contains(id.as_str()) => {}
                None => self.found(|client, conversation| Violation::Lost { client, conversation, seq }),
            }
        }
        let end = log.keys().next_back().copied().unwrap_or(0).max(from);
        let beyond: Vec<u64> = self.has.range(end + 1..).map(|(seq, _)| *seq).collect();
        for seq in beyond {
            self.found(|client, conversation| Violation::Untold { client, conversation, seq });
        }
    }

    fn found(&mut self, violation: impl FnOnce(String, String) -> Violation) {
        self.found.push(violation(self.log.client.clone(), self.log.conversation.clone()));
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
}
