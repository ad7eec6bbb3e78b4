//! What only shows with several nodes on one Redis, or with a Redis that fails.

mod cluster;
mod keyspace;
mod lost_end;
mod nodes;
mod outage;
mod sessions;
mod slots;
mod truth;
mod turns;

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use trunkline_store::{Kind, LogLimits, MAX_USERS, Member, NewEntry, NodeIdentity, Store};
use trunkline_testkit::RedisServer;

/// Longer than a lease, since some tests wait for one to end.
const DEADLINE: Duration = Duration::from_secs(40);

/// The store of the node `id`.
fn node(server: &RedisServer, id: &str) -> Store {
    node_with(server, id, LogLimits::default())
}

fn node_with(server: &RedisServer, id: &str, limits: LogLimits) -> Store {
    let identity =
        NodeIdentity { id: id.into(), epoch: format!("epoch-of-{id}"), advertise: None, version: "1.0.0".into() };
    Store::redis(&server.url().parse().unwrap(), identity, limits)
}

fn entry(client_message_id: Option<&str>) -> NewEntry {
    NewEntry {
        conversation: "general".into(),
        kind: Kind::Message,
        sender: "alice".into(),
        participants: vec![],
        client_message_id: client_message_id.map(str::to_owned),
        timestamp_ms: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap(),
        body: "{}".into(),
    }
}

async fn members(store: &Store, room: &str) -> Vec<Member> {
    store.presence.members(room, MAX_USERS, None).await.unwrap().members
}

/// Runs a test, and fails it when it takes too long.
async fn within_deadline<T>(test: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(DEADLINE, test).await;
    outcome.unwrap_or_else(|_| panic!("the test did not end within {DEADLINE:?}"))
}
