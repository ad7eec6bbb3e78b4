//! What clients sent, were acknowledged and saw, and the proof that it is what was promised. Pure.
//!
//! Promised is, for each conversation: what was acknowledged reaches everyone who is in it, nobody gets anything twice, and
//! there is one order for all, without gaps. Clients come and go; whoever comes back brings a cursor, so to the checker a
//! client has one long history per conversation, whatever connections it took.

mod losses;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use losses::{Logs, check_against, forgotten};

/// All that happened in a run.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// What was acknowledged.
    pub acknowledged: Vec<Acknowledged>,
    /// What each client saw of each conversation that it was in from some moment to the end.
    pub seen: Vec<Log>,
}

/// A message that its sender knows to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// Who sent it.
    pub client: String,
    /// Where to.
    pub conversation: String,
    /// The sender's own name for it, unique in the run.
    pub id: String,
    /// Its number in the conversation.
    pub seq: u64,
}

/// What one client saw of one conversation.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// Who.
    pub client: String,
    /// Of which conversation.
    pub conversation: String,
    /// In the order in which it happened.
    pub events: Vec<Seen>,
}

/// What a client sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It joined, and everything after this number is due.
    From(u64),
    /// A message.
    Message {
        /// Its number.
        seq: u64,
        /// The sender's own name for it.
        id: String,
    },
    /// It was told that messages are missing, and that it goes on after this number.
    Reset(u64),
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// An acknowledged message did not reach somebody who was there.
    Lost {
        /// Who misses it.
        client: String,
        /// Where.
        conversation: String,
        /// Its number.
        seq: u64,
    },
    /// A message was skipped that nobody was told is stored, but which was.
    Gap {
        /// Who misses it.
        client: String,
        /// Where.
        conversation: String,
        /// Its number.
        seq: u64,
    },
    /// Somebody got a message again.
    Repeat {
        /// Who.
        client: String,
        /// Where.
        conversation: String,
        /// The sender's name for the message.
        id: String,
    },
    /// Somebody got a message after one that comes behind it.
    Disorder {
        /// Who.
        client: String,
        /// Where.
        conversation: String,
        /// The number that came too late.
        seq: u64,
        /// The number before it.
        after: u64,
    },
    /// Two messages have one number, or one message has two: there is more than one order.
    TwoOrders {
        /// Where.
        conversation: String,
        /// The number.
        seq: u64,
        /// The messages that have it, or the message that has another.
        ids: Vec<String>,
    },
    /// Somebody has another message at a number than the log has, and was not told that the log lost it.
    Untold {
        /// Who.
        client: String,
        /// Where.
        conversation: String,
        /// The number.
        seq: u64,
    },
    /// Somebody who is connected is not online, or the reverse.
    Presence {
        /// Who.
        user: String,
        /// What the cluster says.
        online: bool,
    },
}

impl Violation {
    /// What kind it is, for a table.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Lost { .. } => "lost",
            Self::Gap { .. } => "gap",
            Self::Repeat { .. } => "repeat",
            Self::Disorder { .. } => "disorder",
            Self::TwoOrders { .. } => "two orders",
            Self::Untold { .. } => "untold",
            Self::Presence { .. } => "presence",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { client, conversation, seq } => {
                write!(f, "{client} never got #{seq} of {conversation}, which was acknowledged")
            }
            Self::Gap { client, conversation, seq } => write!(f, "{client} skipped #{seq} of {conversation}"),
            Self::Repeat { client, conversation, id } => write!(f, "{client} got {id} in {conversation} again"),
            Self::Disorder { client, conversation, seq, after } => {
                write!(f, "{client} got #{seq} of {conversation} after #{after}")
            }
            Self::TwoOrders { conversation, seq, ids } => {
                write!(f, "#{seq} of {conversation} is {}", ids.join(" and "))
            }
            Self::Untold { client, conversation, seq } => {
                write!(f, "{client} has a #{seq} of {conversation} that the log lost, and was not told")
            }
            Self::Presence { user, online: true } => write!(f, "{user} counts as online and is not connected"),
            Self::Presence { user, online: false } => write!(f, "{user} counts as offline and is connected"),
        }
    }
}

/// All promises that `history` breaks, sorted.
pub fn check(history: &History) -> Vec<Violation> {
    let orders = Orders::of(history);
    let mut violations = orders.contradictions();
    for log in &history.seen {
        let conversation = orders.by_conversation.get(log.conversation.as_str());
        violations.extend(check_log(log, conversation.unwrap_or(&Order::default())));
    }
    violations.sort();
    violations
}

/// Whether the cluster's word on who is online is the truth.
pub fn check_presence(connected: &BTreeSet<String>, online: &BTreeMap<String, bool>) -> Vec<Violation> {
    let differs = |(user, online): (&String, &bool)| {
        (connected.contains(user) != *online).then(|| Violation::Presence { user: user.clone(), online: *online })
    };
    online.iter().filter_map(differs).collect()
}

/// What is known of one conversation.
#[derive(Debug, Default)]
struct Order<'a> {
    /// The messages that somebody says have a number.
    ids: BTreeMap<u64, BTreeSet<&'a str>>,
    /// Who sent what was acknowledged.
    acknowledged: BTreeMap<u64, &'a str>,
}

#[derive(Debug, Default)]
struct Orders<'a> {
    by_conversation: BTreeMap<&'a str, Order<'a>>,
}

impl<'a> Orders<'a> {
    fn of(history: &'a History) -> Self {
        let mut orders = Self::default();
        for ack in &history.acknowledged {
            let order = orders.by_conversation.entry(&ack.conversation).or_default();
            order.ids.entry(ack.seq).or_default().insert(&ack.id);
            order.acknowledged.insert(ack.seq, &ack.client);
        }
        for log in &history.seen {
            let order = orders.by_conversation.entry(&log.conversation).or_default();
            for event in &log.events {
                if let Seen::Message { seq, id } = event {
                    order.ids.entry(*seq).or_default().insert(id);
                }
            }
        }
        orders
    }

    fn contradictions(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for (conversation, order) in &self.by_conversation {
            let mut numbers: BTreeMap<&str, u64> = BTreeMap::new();
            for (&seq, ids) in &order.ids {
                let moved = ids.iter().any(|id| numbers.insert(id, seq).is_some_and(|other| other != seq));
                if moved || ids.len() > 1 {
                    let ids = ids.iter().map(ToString::to_string).collect();
                    found.push(Violation::TwoOrders { conversation: (*conversation).to_owned(), seq, ids });
                }
            }
        }
        found
    }
}

fn check_log(log: &Log, order: &Order<'_>) -> Vec<Violation> {
    let (client, conversation) = (log.client.as_str(), log.conversation.as_str());
    let mut found = Vec::new();
    let mut ids = BTreeSet::new();
    let mut at = None;
    // Its own it has from the acknowledgement.
    let missing = |seqs: std::ops::Range<u64>| {
        seqs.filter_map(|seq| {
            let (client, conversation) = (client.to_owned(), conversation.to_owned());
            match order.acknowledged.get(&seq) {
                Some(sender) if *sender == client => None,
                Some(_) => Some(Violation::Lost { client, conversation, seq }),
                None => Some(Violation::Gap { client, conversation, seq }),
            }
        })
        .collect::<Vec<_>>()
    };
    for event in &log.events {
        match event {
            Seen::From(seq) => at = Some(at.unwrap_or(0).max(*seq)),
            Seen::Reset(seq) => at = Some(*seq),
            Seen::Message { seq, id } => {
                if !ids.insert(id.as_str()) {
                    let (client, conversation, id) = (client.to_owned(), conversation.to_owned(), id.clone());
                    found.push(Violation::Repeat { client, conversation, id });
                    continue;
                }
                match at {
                    Some(after) if *seq <= after => {
                        let (client, conversation) = (client.to_owned(), conversation.to_owned());
                        found.push(Violation::Disorder { client, conversation, seq: *seq, after });
                        continue;
                    }
                    Some(after) => found.extend(missing(after + 1..*seq)),
                    None => {}
                }
                at = Some(*seq);
            }
        }
    }
    if let (Some(at), Some(last)) = (at, order.acknowledged.keys().next_back()) {
        // Behind what it saw last nothing is known but what was acknowledged.
        found.extend(missing(at + 1..last + 1).into_iter().filter(|missing| matches!(missing, Violation::Lost { .. })));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: &str = "room";

    fn ack(client: &str, seq: u64) -> Acknowledged {
        Acknowledged { client: client.into(), conversation: ROOM.into(), id: format!("m{seq}"), seq }
    }

    fn messages(seqs: &[u64]) -> Vec<Seen> {
        seqs.iter().map(|seq| Seen::Message { seq: *seq, id: format!("m{seq}") }).collect()
    }

    fn log(client: &str, from: u64, seqs: &[u64]) -> Log {
        let events = std::iter::once(Seen::From(from)).chain(messages(seqs)).collect();
        Log { client: client.into(), conversation: ROOM.into(), events }
    }

    /// Bob sent 1 to 4 and Ada 5; Ada joined at the start, Carol after 2.
    fn whole() -> History {
        let acknowledged = (1..=4).map(|seq| ack("bob", seq)).chain([ack("ada", 5)]).collect();
        History { acknowledged, seen: vec![log("ada", 0, &[1, 2, 3, 4]), log("carol", 2, &[3, 4, 5])] }
    }

    fn kinds(history: &History) -> Vec<&'static str> {
        check(history).iter().map(Violation::kind).collect()
    }

    #[test]
    fn a_whole_history_has_no_violations() {
        assert_eq!(check(&whole()), []);
    }

    #[test]
    fn a_message_that_is_missing_in_between_is_lost() {
        let mut history = whole();
        history.seen[0] = log("ada", 0, &[1, 2, 4]);
        let lost = Violation::Lost { client: "ada".into(), conversation: ROOM.into(), seq: 3 };
        assert_eq!(check(&history), [lost]);
    }

    #[test]
    fn a_message_that_is_missing_at_the_end_is_lost() {
        let mut history = whole();
        history.seen[1] = log("carol", 2, &[3, 4]);
        assert_eq!(kinds(&history), ["lost"]);
    }

    #[test]
    fn a_message_that_is_missing_at_the_start_is_lost() {
        let mut history = whole();
        history.seen[1] = log("carol", 2, &[4, 5]);
        assert_eq!(kinds(&history), ["lost"]);
    }

    #[test]
    fn who_hears_nothing_at_all_misses_everything() {
        let mut history = whole();
        history.seen[1] = log("carol", 2, &[]);
        assert_eq!(kinds(&history), ["lost"; 3]);
    }

    #[test]
    fn a_stored_message_that_was_never_acknowledged_is_missed_too() {
        let mut history = whole();
        history.acknowledged.retain(|ack| ack.seq != 3);
        history.seen[1] = log("carol", 2, &[4, 5]);
        assert_eq!(kinds(&history), ["gap"]);
    }

    #[test]
    fn a_message_that_comes_again_is_a_repeat() {
        let mut history = whole();
        history.seen[0] = log("ada", 0, &[1, 2, 2, 3, 4]);
        assert_eq!(kinds(&history), ["repeat"]);
    }

    #[test]
    fn a_message_that_comes_late_is_disorder() {
        let mut history = whole();
        history.seen[0] = log("ada", 0, &[1, 3, 2, 4]);
        assert_eq!(kinds(&history), ["lost", "disorder"]);
    }

    #[test]
    fn one_number_for_two_messages_is_two_orders() {
        let mut history = whole();
        history.seen[1].events[1] = Seen::Message { seq: 3, id: "another".into() };
        assert_eq!(kinds(&history), ["two orders"]);
    }

    #[test]
    fn one_message_with_two_numbers_is_two_orders() {
        let mut history = whole();
        history.acknowledged.push(Acknowledged { id: "m4".into(), ..ack("bob", 6) });
        assert!(kinds(&history).contains(&"two orders"));
    }

    #[test]
    fn a_reset_excuses_what_it_covers_and_nothing_else() {
        let mut history = whole();
        history.seen[1].events = vec![Seen::From(2), Seen::Reset(4), Seen::Message { seq: 5, id: "m5".into() }];
        assert_eq!(check(&history), []);
        history.seen[1].events.pop();
        assert_eq!(kinds(&history), ["lost"]);
    }

    #[test]
    fn presence_is_compared_both_ways() {
        let connected = BTreeSet::from(["ada".to_owned(), "bob".to_owned()]);
        let online = [("ada", true), ("bob", false), ("carol", true), ("dan", false)];
        let online = online.map(|(user, online)| (user.to_owned(), online)).into();
        let violations: Vec<_> = check_presence(&connected, &online).iter().map(ToString::to_string).collect();
        assert_eq!(
            violations,
            ["bob counts as offline and is connected", "carol counts as online and is not connected"]
        );
    }
}
