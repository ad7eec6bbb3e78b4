//! Whether the promises were kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::client::{Phase, Shared};
use super::world::{LOOK_AGAIN, World, start_node};
use super::{Report, Scenario};
use crate::history::{self, History, Log, Logs, Seen, Violation};
use crate::{Node, connect};

/// How long everything may take to come right once the faults have ended: longer than a lease and all time-outs.
pub(super) const HEALED_WITHIN: Duration = Duration::from_secs(90);

/// Users whose presence is asked for in one question.
const ASKED_AT_ONCE: usize = 500;

impl World {
    /// The faults are over; what is not acknowledged is sent until it is.
    pub(super) async fn heal(&self) {
        for slot in &self.nodes {
            let mut node = slot.node.lock().await;
            if node.is_none() && self.chaos.scenario != Scenario::Avalanche {
                *node = Some(start_node(&slot.flags).await);
            }
        }
        self.phase.send_replace(Phase::Listening);
        let until = Instant::now() + HEALED_WITHIN;
        while Instant::now() < until {
            if self.all(|record| record.unacknowledged.is_empty()) && self.broken().await.0.is_empty() {
                return;
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// The promises that are broken, and how many acknowledged messages are forgotten where that may happen.
    async fn broken(&self) -> (Vec<Violation>, Option<usize>) {
        if self.chaos.scenario != Scenario::Failover {
            return (history::check(&self.history()), None);
        }
        let history = self.history();
        let logs = self.logs().await.unwrap_or_default();
        (history::check_against(&history, &logs), Some(history::forgotten(&history, &logs)))
    }

    pub(super) async fn judge(&self, faults: BTreeMap<&'static str, u64>) -> Report {
        let (mut violations, forgotten) = self.broken().await;
        violations.extend(self.check_presence().await);
        let report = Report { forgotten, ..self.report(&self.history(), faults, violations) };
        self.phase.send_replace(Phase::Over);
        let mut running = self.running.lock().await;
        while running.join_next().await.is_some() {}
        report
    }

    /// All conversations, as any node has them. `None` while none answers.
    async fn logs(&self) -> Option<Logs> {
        let url = self.nodes.first()?.node.lock().await.as_ref().map(Node::url)?;
        let asking = connect(&format!("{url}?userId=checker"), "/", serde_json::Value::Null).await.ok()?;
        let conversations: BTreeSet<String> =
            self.clients.values().flat_map(|client| seen_by(client).into_keys()).collect();
        let mut logs = Logs::new();
        for conversation in conversations {
            let log: &mut BTreeMap<u64, String> = logs.entry(conversation.clone()).or_default();
            loop {
                let after = log.keys().next_back().copied().unwrap_or(0);
                let ask = json!({ "conversationId": conversation, "after": after, "limit": 500 });
                let page = asking.emit_with_ack("message:history", ask, Duration::from_secs(10)).await;
                let messages = page["messages"].as_array()?;
                log.extend(
                    messages.iter().filter_map(|message| {
                        Some((message["seq"].as_u64()?, message["content"].as_str()?.to_owned()))
                    }),
                );
                if messages.is_empty() {
                    break;
                }
            }
        }
        asking.close().await;
        Some(logs)
    }

    fn history(&self) -> History {
        let mut history = History::default();
        for (client, record) in &self.clients {
            let acknowledged = record.lock().expect("no panic under this lock").acknowledged.clone();
            history.acknowledged.extend(acknowledged);
            // Who left has no claim on what came later.
            if !self.leaving.contains(client) || *self.phase.borrow() == Phase::Talking {
                history.seen.extend(seen_by(record).into_iter().map(|(conversation, events)| Log {
                    client: client.clone(),
                    conversation,
                    events,
                }));
            }
        }
        history
    }

    /// What the cluster says of who is online, until it is right or the time is over.
    async fn check_presence(&self) -> Vec<Violation> {
        let users: Vec<&String> = self.clients.keys().collect();
        let until = Instant::now() + HEALED_WITHIN;
        loop {
            let connected = self.clients.keys().filter(|user| !self.leaving.contains(*user)).cloned().collect();
            let mut violations = Vec::new();
            for slot in &self.nodes {
                let Some(url) = slot.node.lock().await.as_ref().map(Node::url) else { continue };
                let Ok(asking) = connect(&format!("{url}?userId=checker"), "/", serde_json::Value::Null).await else {
                    continue;
                };
                let mut online = BTreeMap::new();
                for users in users.chunks(ASKED_AT_ONCE) {
                    let ask = json!({ "userIds": users });
                    let answer = asking.emit_with_ack("presence:get", ask, Duration::from_secs(10)).await;
                    let users = answer["users"].as_array().into_iter().flatten();
                    online.extend(
                        users.filter_map(|user| Some((user["userId"].as_str()?.to_owned(), user["online"].as_bool()?))),
                    );
                }
                violations.extend(history::check_presence(&connected, &online));
                asking.close().await;
            }
            if violations.is_empty() || Instant::now() >= until {
                return violations;
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

fn seen_by(client: &Shared) -> BTreeMap<String, Vec<Seen>> {
    client.lock().expect("no panic under this lock").seen.clone()
}
