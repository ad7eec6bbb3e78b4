//! What the shared state costs, in a Redis of its own: bytes for each socket, commands and microseconds for each operation,
//! a dead node's clean-up and what others notice of it.
//!
//! `cargo bench -p trunkline-store [-- --sockets N] [--nodes N]`: 1,000,000 sockets on 50 nodes unless told otherwise.
//! Ends with 1 if a bound is missed. Times of Redis are those of its processor: on a machine that has other things to do
//! they say more than the times that passed.

use futures_util::StreamExt;
use futures_util::stream::iter;
use redis::aio::MultiplexedConnection;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use trunkline_store::{
    Fill, Joined, Kind, Limits, NewEntry, NodeIdentity, NodeLoad, Part, Publication, Session, Store, keys,
};
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
    operations(&nodes, &mut redis).await;
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

/// What Redis has worked since it started.
async fn server_cpu(redis: &mut MultiplexedConnection) -> Duration {
    let info: String = redis::cmd("INFO").arg("cpu").query_async(redis).await.expect("INFO");
    let field = |name: &str| -> f64 {
        let of = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("a part of INFO");
        of.trim().parse().expect("seconds")
    };
    Duration::from_secs_f64(field("used_cpu_user") + field("used_cpu_sys"))
}

/// What this program has worked since it started; on Linux.
fn own_cpu() -> Duration {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name in brackets: state, then ten others, then the time in programs and in the kernel.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    Duration::from_secs_f64(fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND)
}

async fn memory(scale: &Scale, nodes: &[Store], redis: &mut MultiplexedConnection) -> bool {
    let empty = used_memory(redis).await;
    let (worked, own) = (server_cpu(redis).await, own_cpu());
    let took = for_all(scale, async |n, socket| {
        let (user, socket) = ids(socket);
        nodes[n].presence.connect(&user, &socket).await.expect("a connect");
    })
    .await;
    let sockets = scale.sockets as f64;
    let (worked, own) = (server_cpu(redis).await - worked, own_cpu() - own);
    let present = used_memory(redis).await;
    println!(
        "{} sockets on {} nodes connected in {took:.1?}: {:.0} a second; {:.1} µs of Redis and {:.1} µs of the nodes each",
        scale.sockets,
        scale.nodes,
        sockets / took.as_secs_f64(),
        worked.as_secs_f64() * 1e6 / sockets,
        own.as_secs_f64() * 1e6 / sockets
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
    let () = redis::cmd("CONFIG").arg("RESETSTAT").query_async(redis).await.expect("RESETSTAT");
    let mut own = redis.clone();
    let worked = server_cpu(redis).await;
    let sweeping = async {
        let started = Instant::now();
        let mut gone = 0;
        loop {
            let found = nodes[1].presence.sweep().await.expect("a sweep").len();
            gone += found;
            if found == 0 {
                return (gone, started.elapsed(), server_cpu(&mut own).await);
            }
        }
    };
    let during = Duration::from_secs(2);
    let ((gone, took, swept), mut busy) = tokio::join!(sweeping, reads(&nodes[2], during, scale.sockets));
    let mut quiet = quiet;
    let (p99, quiet_p99) = (quantile(&mut busy, 0.99), quantile(&mut quiet, 0.99));
    let worked = swept - worked;
    println!("{gone} sockets of a dead node, each in a room, cleaned up in {took:.2?} (at most {CLEANED_WITHIN:?})");
    println!("Redis worked {worked:.2?} of that, reads included; {}", slow(redis).await);
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

/// How long the longest scripts took since statistics began.
async fn slow(redis: &mut MultiplexedConnection) -> String {
    let info: String = redis::cmd("INFO").arg("latencystats").query_async(redis).await.expect("INFO");
    let line = info.lines().find_map(|line| line.strip_prefix("latency_percentiles_usec_evalsha:"));
    format!("µs for each script: {}", line.unwrap_or("unknown to this Redis").replace([',', '='], " "))
}

/// Each operation, as often as gives a mean.
const REPEATED: usize = 500;

/// What is measured one by one, in an order in which each can succeed.
#[derive(Debug, Clone, Copy)]
enum Operation {
    Connect,
    Session,
    Join,
    Send,
    Direct,
    Get,
    Count,
    Leave,
    Disconnect,
}

const OPERATIONS: [Operation; 9] = [
    Operation::Connect,
    Operation::Session,
    Operation::Join,
    Operation::Send,
    Operation::Direct,
    Operation::Get,
    Operation::Count,
    Operation::Leave,
    Operation::Disconnect,
];

/// What Redis did for each operation, called one after the other.
async fn operations(nodes: &[Store], redis: &mut MultiplexedConnection) {
    let store = &nodes[1];
    for operation in OPERATIONS {
        // Loads the script.
        operation.once(store, 0).await;
        let () = redis::cmd("CONFIG").arg("RESETSTAT").query_async(redis).await.expect("RESETSTAT");
        let worked = server_cpu(redis).await;
        for n in 1..=REPEATED {
            operation.once(store, n).await;
        }
        let worked = (server_cpu(redis).await - worked).as_secs_f64() * 1e6 / REPEATED as f64;
        println!("{operation:?}: {worked:.0} µs of Redis; {}", stats(redis).await);
    }
}

impl Operation {
    async fn once(self, store: &Store, n: usize) {
        let (user, socket) = (format!("late-{n:07}"), format!("late-socket-{n:08}"));
        let room = format!("room-{}", n % 10);
        let outcome = match self {
            Self::Connect => store.presence.connect(&user, &socket).await.map(drop),
            Self::Session => {
                let session = Session { socket, user, namespace: "/".into(), rooms: Vec::new() };
                store.sessions.begin(&store.sessions.new_id(), &session).await
            }
            Self::Join => store.presence.join(&room, &user, &socket, std::slice::from_ref(&room)).await.map(|joined| {
                assert!(matches!(joined, Joined::In(_)));
            }),
            Self::Send => store.log.append(message(&room, &user, n), &[to_room()]).await.map(drop),
            Self::Direct => store.log.append(message(&format!("dm:{user}:x"), &user, n), &[to_room()]).await.map(drop),
            Self::Get => store.presence.get(&[user]).await.map(drop),
            Self::Count => store.presence.count().await.map(drop),
            Self::Leave => store.presence.leave(&room, &user, &socket).await,
            Self::Disconnect => store.presence.disconnect(&user, &socket).await.map(drop),
        };
        outcome.unwrap_or_else(|error| panic!("{self:?}: {error}"));
    }
}

fn to_room() -> Publication {
    let literal = || Part::Literal("a packet in msgpack around the holes, about so long".into());
    Publication { channel: b"socket.io#/#room#".to_vec(), parts: vec![literal(), Part::Fill(Fill::Seq), literal()] }
}

fn message(conversation: &str, user: &str, n: usize) -> NewEntry {
    NewEntry {
        conversation: conversation.into(),
        kind: Kind::Message,
        sender: user.into(),
        participants: vec![user.into()],
        client_message_id: Some(n.to_string()),
        timestamp_ms: 1_800_000_000_000,
        body: "{\"content\":\"hello\"}".into(),
    }
}

/// For each operation: microseconds in scripts, and `command×calls`, by name; those inside scripts too.
async fn stats(redis: &mut MultiplexedConnection) -> String {
    let info: String = redis::cmd("INFO").arg("commandstats").query_async(redis).await.expect("INFO");
    let mut in_scripts = 0.0;
    let mut calls: Vec<String> = Vec::new();
    for line in info.lines() {
        let Some((name, of)) = line.strip_prefix("cmdstat_").and_then(|line| line.split_once(':')) else { continue };
        let field = |field: &str| -> f64 {
            let value = of.split(',').find_map(|part| part.strip_prefix(field)?.strip_prefix('='));
            value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
        };
        if matches!(name, "config|resetstat" | "info") {
            continue;
        }
        if name == "evalsha" {
            in_scripts = field("usec");
        }
        calls.push(format!("{name}×{:.2}", field("calls") / REPEATED as f64));
    }
    calls.sort_unstable();
    format!("{:.1} µs in scripts; {}", in_scripts / REPEATED as f64, calls.join(" "))
}
