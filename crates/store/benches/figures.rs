//! What the shared state costs, in a Redis of its own: bytes for each socket, commands for each operation, a dead node's
//! clean-up and what others notice of it.
//!
//! `cargo bench -p trunkline-store [-- --sockets N] [--nodes N]`: 1,000,000 sockets on 50 nodes unless told otherwise.
//! Ends with 1 if a bound is missed.

use futures_util::StreamExt;
use futures_util::stream::iter;
use redis::aio::MultiplexedConnection;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use trunkline_store::{Joined, Limits, NewEntry, NodeIdentity, NodeLoad, Session, Store, keys};
use trunkline_testkit::RedisServer;

const BYTES_PER_SOCKET: f64 = 600.0;
const CLEANED_WITHIN: Duration = Duration::from_secs(2);
const READ_P99: Duration = Duration::from_millis(5);

/// Calls in flight.
const IN_FLIGHT: usize = 100;

struct Scale {
    sockets: usize,
    nodes: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let scale = Scale { sockets: argument("--sockets", 1_000_000), nodes: argument("--nodes", 50) };
    let server = RedisServer::start().await;
    let mut redis = server.connection().await;
    let nodes: Vec<Store> = (0..scale.nodes).map(|n| node(&server, n)).collect();
    beat(&nodes).await;

    let mut met = true;
    met &= memory(&scale, &nodes, &mut redis).await;
    count(&nodes).await;
    met &= clean_up(&scale, &nodes, &mut redis).await;
    commands(&nodes, &mut redis).await;
    if met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn argument(name: &str, otherwise: usize) -> usize {
    let given = std::env::args().skip_while(|argument| argument != name).nth(1);
    given.map_or(otherwise, |given| given.parse().unwrap_or_else(|_| panic!("{name} takes a number, not {given:?}")))
}

fn epoch(n: usize) -> String {
    format!("{n:016x}")
}

fn node(server: &RedisServer, n: usize) -> Store {
    let identity = NodeIdentity { id: format!("node-{n}"), epoch: epoch(n), advertise: None, version: "1".into() };
    // Long enough that no record expires while the others are made.
    let limits = Limits { recovery_window: Duration::from_secs(3_600), ..Limits::default() };
    Store::redis(&server.url().parse().expect("the URL of a test server"), identity, limits)
}

async fn beat(nodes: &[Store]) {
    for store in nodes {
        store.nodes.heartbeat(NodeLoad::default()).await.expect("a heartbeat");
    }
}

/// User and socket, ids as long as they are in life.
fn ids(n: usize) -> (String, String) {
    (format!("user-{n:07}"), format!("socket-{n:013}"))
}

/// Sockets of node `n`.
fn of_node(scale: &Scale, n: usize) -> std::ops::Range<usize> {
    let each = scale.sockets / scale.nodes;
    n * each..(n + 1) * each
}

/// Calls `work` for each socket of each node. How long it took.
async fn for_all<F: Future<Output = ()>>(scale: &Scale, work: impl Fn(usize, usize) -> F) -> Duration {
    let started = Instant::now();
    for n in 0..scale.nodes {
        iter(of_node(scale, n)).map(|socket| work(n, socket)).buffer_unordered(IN_FLIGHT).collect::<Vec<()>>().await;
    }
    started.elapsed()
}

async fn used_memory(redis: &mut MultiplexedConnection) -> f64 {
    let info: String = redis::cmd("INFO").arg("memory").query_async(redis).await.expect("INFO");
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("used_memory");
    used.trim().parse().expect("a number")
}

async fn memory(scale: &Scale, nodes: &[Store], redis: &mut MultiplexedConnection) -> bool {
    let empty = used_memory(redis).await;
    let took = for_all(scale, async |n, socket| {
        let (user, socket) = ids(socket);
        nodes[n].presence.connect(&user, &socket).await.expect("a connect");
    })
    .await;
    let sockets = scale.sockets as f64;
    let present = used_memory(redis).await;
    println!(
        "{} sockets on {} nodes connected in {took:.1?}: {:.0} a second",
        scale.sockets,
        scale.nodes,
        sockets / took.as_secs_f64()
    );
    println!("presence: {:.0} bytes of Redis for each socket", (present - empty) / sockets);

    for_all(scale, async |n, socket| {
        let (user, socket) = ids(socket);
        let session = Session { socket, user, namespace: "/".into(), rooms: Vec::new() };
        let id = nodes[n].sessions.new_id();
        nodes[n].sessions.begin(&id, &session).await.expect("a session");
    })
    .await;
    let with_sessions = used_memory(redis).await;
    let all = (with_sessions - empty) / sockets;
    println!("presence and a session to recover: {all:.0} bytes (at most {BYTES_PER_SOCKET})");

    let each = of_node(scale, 0).len() as f64;
    enter_rooms(scale, nodes).await;
    println!("a room of 100 for a socket: {:.0} bytes more", (used_memory(redis).await - with_sessions) / each);
    all <= BYTES_PER_SOCKET
}

/// Puts the sockets of the first node into rooms of 100.
async fn enter_rooms(scale: &Scale, nodes: &[Store]) {
    let enter = of_node(scale, 0).map(async |n| {
        let (user, socket) = ids(n);
        nodes[0].presence.enter(&format!("room-{}", n / 100), &user, &socket).await.expect("a room");
    });
    iter(enter).buffer_unordered(IN_FLIGHT).collect::<Vec<()>>().await;
}

async fn count(nodes: &[Store]) {
    let mut times = Vec::new();
    let mut online = 0;
    for _ in 0..1_000 {
        let started = Instant::now();
        online = nodes[1].presence.count().await.expect("the count");
        times.push(started.elapsed());
    }
    println!("the count of {online} users: {:.1?} median (16 ZCARD, whatever their number)", quantile(&mut times, 0.5));
}

fn quantile(times: &mut [Duration], quantile: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * quantile) as usize]
}

/// Ends the first node's lease as a crash does, and lets another clean up while a third reads.
async fn clean_up(scale: &Scale, nodes: &[Store], redis: &mut MultiplexedConnection) -> bool {
    beat(nodes).await;
    let leases = (0..keys::BUCKETS).map(keys::bucket_leases).chain([keys::leases()]);
    for leases in leases {
        let ended = redis::cmd("ZADD").arg(leases).arg("XX").arg(1).arg(epoch(0)).query_async(redis).await;
        let () = ended.expect("a lease");
    }
    let quiet = reads(&nodes[2], Duration::from_secs(1), scale.sockets).await;
    let sweeping = async {
        let started = Instant::now();
        let mut gone = 0;
        loop {
            let found = nodes[1].presence.sweep().await.expect("a sweep").len();
            gone += found;
            if found == 0 {
                return (gone, started.elapsed());
            }
        }
    };
    let during = Duration::from_secs(2);
    let ((gone, took), mut busy) = tokio::join!(sweeping, reads(&nodes[2], during, scale.sockets));
    let mut quiet = quiet;
    let (p99, quiet_p99) = (quantile(&mut busy, 0.99), quantile(&mut quiet, 0.99));
    println!("{gone} sockets of a dead node, each in a room, cleaned up in {took:.2?} (at most {CLEANED_WITHIN:?})");
    println!("reads meanwhile: {p99:.2?} p99 of {} (at most {READ_P99:?}; {quiet_p99:.2?} before)", busy.len());
    gone == of_node(scale, 0).len() && took < CLEANED_WITHIN && p99 < READ_P99
}

async fn reads(store: &Store, during: Duration, users: usize) -> Vec<Duration> {
    let (started, mut times, mut n) = (Instant::now(), Vec::new(), 0);
    while started.elapsed() < during {
        let asked = Instant::now();
        store.presence.get(&[ids(n * 7_919 % users).0]).await.expect("presence");
        times.push(asked.elapsed());
        n += 1;
    }
    times
}

/// The commands that Redis carried out for one operation each, those inside scripts too.
async fn commands(nodes: &[Store], redis: &mut MultiplexedConnection) {
    let store = &nodes[1];
    let room = ["room-1".to_owned()];
    for round in 0..2 {
        let (user, socket) = (format!("late-{round}"), format!("late-socket-{round}"));
        let id = store.sessions.new_id();
        let session = Session { socket: socket.clone(), user: user.clone(), namespace: "/".into(), rooms: Vec::new() };
        for operation in ["connect", "join", "send", "leave", "disconnect"] {
            let () = redis::cmd("CONFIG").arg("RESETSTAT").query_async(redis).await.expect("RESETSTAT");
            match operation {
                "connect" => {
                    let (presence, sessions) = (&store.presence, &store.sessions);
                    tokio::try_join!(presence.connect(&user, &socket), sessions.begin(&id, &session)).map(drop)
                }
                "join" => store.presence.join("room-1", &user, &socket, &room).await.map(|joined| {
                    assert!(matches!(joined, Joined::In(_)));
                }),
                "send" => store.log.append(message(&user, round), &[]).await.map(drop),
                "leave" => store.presence.leave("room-1", &user, &socket).await,
                _ => store.presence.disconnect(&user, &socket).await.map(drop),
            }
            .expect("an operation");
            // The first round loads scripts.
            if round == 1 {
                println!("{operation}: {}", stats(redis).await);
            }
        }
    }
}

fn message(user: &str, round: usize) -> NewEntry {
    NewEntry {
        conversation: "room-1".into(),
        kind: trunkline_store::Kind::Message,
        sender: user.into(),
        participants: vec![user.into()],
        client_message_id: Some(round.to_string()),
        timestamp_ms: 1_800_000_000_000,
        body: "{\"content\":\"hello\"}".into(),
    }
}

/// `command×calls`, by name, and the microseconds of the scripts.
async fn stats(redis: &mut MultiplexedConnection) -> String {
    let info: String = redis::cmd("INFO").arg("commandstats").query_async(redis).await.expect("INFO");
    let mut micros = 0.0;
    let mut calls: Vec<String> = Vec::new();
    for line in info.lines() {
        let Some((name, of)) = line.strip_prefix("cmdstat_").and_then(|line| line.split_once(':')) else { continue };
        let field = |field: &str| of.split(',').find_map(|part| part.strip_prefix(field)?.strip_prefix('='));
        if name.starts_with("config") {
            continue;
        }
        // What scripts call is in the time of the script already.
        if matches!(name, "evalsha" | "zcard" | "smismember") {
            micros += field("usec").and_then(|usec| usec.parse::<f64>().ok()).unwrap_or(0.0);
        }
        calls.push(format!("{name}×{}", field("calls").unwrap_or("?")));
    }
    calls.sort_unstable();
    format!("{micros:.0} µs in Redis: {}", calls.join(" "))
}
