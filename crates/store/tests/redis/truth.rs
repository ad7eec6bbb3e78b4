//! Nodes that freeze, die and come back in any order: what is announced alternates, and in the end presence is the truth.

use crate::{members, node, within_deadline};
use proptest::collection::vec;
use proptest::prelude::{Strategy, prop_oneof};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::collections::{BTreeMap, BTreeSet};
use trunkline_store::{Lease, Member, NodeLoad, Store, keys};
use trunkline_testkit::RedisServer;

const NODES: usize = 3;
const USERS: [&str; 3] = ["alice", "bob", "carol"];
const HISTORIES: u32 = 64;
const LONGEST: usize = 40;

#[derive(Debug, Clone)]
enum Event {
    Connect {
        node: usize,
        user: usize,
        socket: usize,
    },
    Disconnect {
        node: usize,
        user: usize,
        socket: usize,
    },
    /// Silent for longer than a lease.
    Freeze {
        node: usize,
    },
    Beat {
        node: usize,
    },
    Sweep {
        node: usize,
    },
    /// Another boot takes its place.
    Crash {
        node: usize,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let node = || 0..NODES;
    let seat = || (0..NODES, 0..USERS.len(), 0..2_usize);
    prop_oneof![
        4 => seat().prop_map(|(node, user, socket)| Event::Connect { node, user, socket }),
        4 => seat().prop_map(|(node, user, socket)| Event::Disconnect { node, user, socket }),
        2 => node().prop_map(|node| Event::Freeze { node }),
        2 => node().prop_map(|node| Event::Beat { node }),
        2 => node().prop_map(|node| Event::Sweep { node }),
        1 => node().prop_map(|node| Event::Crash { node }),
    ]
}

#[test]
fn whatever_happens_to_nodes_each_coming_and_going_is_told_once() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(RedisServer::start());
    let config = Config { cases: HISTORIES, max_shrink_iters: 500, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config)
        .run(&vec(event(), 1..LONGEST), |events| runtime.block_on(within_deadline(history(&server, &events))));
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

async fn history(server: &RedisServer, events: &[Event]) -> Result<(), TestCaseError> {
    let () = redis::cmd("FLUSHALL").query_async(&mut server.connection().await).await.unwrap();
    let mut world = World { server, nodes: Vec::new(), boots: 0, told: BTreeMap::new() };
    for _ in 0..NODES {
        let node = world.boot();
        world.nodes.push(node);
    }
    for node in 0..NODES {
        world.beat(node).await?;
    }
    for event in events {
        world.carry_out(event).await?;
    }
    world.settle().await
}

/// A boot of a node, and what is true of it.
struct Node {
    name: String,
    store: Store,
    sockets: BTreeSet<(usize, usize)>,
}

struct World<'a> {
    server: &'a RedisServer,
    nodes: Vec<Node>,
    boots: usize,
    /// Whether the user was announced as online last.
    told: BTreeMap<String, bool>,
}

impl World<'_> {
    fn boot(&mut self) -> Node {
        self.boots += 1;
        let name = format!("boot-{}", self.boots);
        Node { store: node(self.server, &name), name, sockets: BTreeSet::new() }
    }

    async fn carry_out(&mut self, event: &Event) -> Result<(), TestCaseError> {
        match *event {
            Event::Connect { node, user, socket } => {
                self.nodes[node].sockets.insert((user, socket));
                self.report(node, user, socket).await
            }
            Event::Disconnect { node, user, socket } => {
                if !self.nodes[node].sockets.remove(&(user, socket)) {
                    return Ok(());
                }
                let (store, name) = (&self.nodes[node].store, name_of(node, user, socket));
                store.presence.leave("room", USERS[user], &name).await.unwrap();
                let gone = store.presence.disconnect(USERS[user], &name).await.unwrap().last;
                if gone { self.tell(USERS[user], false) } else { Ok(()) }
            }
            Event::Freeze { node } => {
                self.end_leases_of(&self.nodes[node].name).await;
                Ok(())
            }
            Event::Beat { node } => self.beat(node).await,
            Event::Sweep { node } => self.sweep(node).await,
            Event::Crash { node } => {
                let next = self.boot();
                let crashed = std::mem::replace(&mut self.nodes[node], next);
                self.end_leases_of(&crashed.name).await;
                self.beat(node).await
            }
        }
    }

    async fn report(&mut self, node: usize, user: usize, socket: usize) -> Result<(), TestCaseError> {
        let (store, name) = (&self.nodes[node].store, name_of(node, user, socket));
        store.presence.enter("room", USERS[user], &name).await.unwrap();
        let came = store.presence.connect(USERS[user], &name).await.unwrap().first;
        if came { self.tell(USERS[user], true) } else { Ok(()) }
    }

    /// What a node does about what its heartbeat finds.
    async fn beat(&mut self, node: usize) -> Result<(), TestCaseError> {
        if self.nodes[node].store.nodes.heartbeat(NodeLoad::default()).await.unwrap() != Lease::Renewed {
            for (user, socket) in self.nodes[node].sockets.clone() {
                self.report(node, user, socket).await?;
            }
        }
        Ok(())
    }

    async fn sweep(&mut self, node: usize) -> Result<(), TestCaseError> {
        // Whoever was elected may be frozen.
        let () = redis::cmd("DEL").arg(keys::sweeper()).query_async(&mut self.server.connection().await).await.unwrap();
        for gone in self.nodes[node].store.presence.sweep().await.unwrap() {
            self.tell(&gone.user_id, false)?;
        }
        Ok(())
    }

    fn tell(&mut self, user: &str, online: bool) -> Result<(), TestCaseError> {
        let before = self.told.insert(user.to_owned(), online).unwrap_or(false);
        if before == online {
            return Err(TestCaseError::fail(format!("{user} was told twice to be online: {online}")));
        }
        Ok(())
    }

    async fn end_leases_of(&self, name: &str) {
        let mut connection = self.server.connection().await;
        for key in (0..keys::BUCKETS).map(keys::bucket_leases).chain([keys::leases()]) {
            let mut end = redis::cmd("ZADD");
            let () = end
                .arg(key)
                .arg("XX")
                .arg(1)
                .arg(format!("epoch-of-{name}"))
                .query_async(&mut connection)
                .await
                .unwrap();
        }
    }

    /// All that are alive beat, the dead are swept; then the store must know what is true.
    async fn settle(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..2 {
            for node in 0..NODES {
                self.beat(node).await?;
            }
            self.sweep(0).await?;
        }
        let store = self.nodes[1].store.clone();
        let mut expected = Vec::new();
        for (n, user) in USERS.into_iter().enumerate() {
            let sockets = self.nodes.iter().flat_map(|node| &node.sockets).filter(|(user, _)| *user == n).count();
            let found = store.presence.get(&[user.into()]).await.unwrap().remove(0);
            let told = self.told.get(user).copied().unwrap_or(false);
            if (found.sockets as usize, found.online, told) != (sockets, sockets > 0, sockets > 0) {
                let text =
                    format!("{user} has {sockets} sockets, is told to be online: {told}, and found as {found:?}");
                return Err(TestCaseError::fail(text));
            }
            if sockets > 0 {
                expected.push(Member { user_id: user.into(), sockets: found.sockets });
            }
        }
        let found = (members(&store, "room").await, store.presence.count().await.unwrap());
        let expected = (expected.clone(), expected.len() as u64);
        if found != expected {
            return Err(TestCaseError::fail(format!("in the room, and online: {found:?}, and not {expected:?}")));
        }
        Ok(())
    }
}

fn name_of(node: usize, user: usize, socket: usize) -> String {
    format!("socket {socket} of {} on {node}", USERS[user])
}
