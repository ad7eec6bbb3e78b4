//! The work behind one event, as often as asked for, so that `scripts/guard` can count its instructions.
//!
//!   instructions WHAT TIMES
//!
//! One thread, no timers and no network: two runs differ by what a hash table's random keys make of it.

use std::{
    hint::black_box,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use http::HeaderMap;
use trunkline_adapter::{
    Cluster, ClusterOptions,
    bench::{Wire, decode, encode},
};
use trunkline_hub::{
    Close, CloseReason, Encoded, Event, Flush, Handler, Handshake, Hub, Packet, Refusal, Socket, SocketId,
    lanes::{Outbox, SendError},
};
use trunkline_store::{Fill, Kind, Limits, NewEntry, NodeIdentity, Part, Publication, Store};

/// About 100 bytes, as in the benchmarks.
const EVENT: &str =
    r#"["message:new",{"id":"c:e:12","content":"hello there, how are you?","senderId":"ann","seq":1234567,"ok":true}]"#;

/// What has to be translated value by value: nesting, numbers of every size, escapes, text beyond ASCII.
const MIXED: &str = r#"["update",{"list":[1,-2,300,70000,5000000000,0.5,null,true],"text":"a \"quoted\" line\nand ünïcödé","deep":{"a":{"b":{"c":[[],{},""]}}},"more":[{"k":1},{"k":2},{"k":3}]}]"#;

const RECIPIENTS: u64 = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, times] = arguments.as_slice() else { return usage() };
    let Ok(times) = times.parse::<u64>() else { return usage() };
    match what.as_str() {
        "encode" => (0..times).for_each(|_| drop(black_box(encode(Wire::Classic, black_box(EVENT))))),
        "decode" => {
            let encoded = encode(Wire::Classic, EVENT);
            (0..times).for_each(|_| {
                black_box(decode(Wire::Classic, black_box(&encoded)));
            });
        }
        // To msgpack and back to JSON.
        "transcode" => (0..times).for_each(|_| {
            black_box(decode(Wire::Classic, &encode(Wire::Classic, black_box(MIXED))));
        }),
        "fan-out" => fan_out(times).await,
        "append" => append(times).await,
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("instructions encode|decode|transcode|fan-out|append TIMES");
    ExitCode::from(2)
}

/// An event from another node, to that many sockets of this one: decoded, translated, found and handed to each lane.
async fn fan_out(times: u64) {
    let hub = Hub::new();
    let namespace = hub.add_namespace("/", Arc::new(Quiet));
    let cluster = Cluster::start(hub, ClusterOptions::default());
    let reader = Arc::<Reader>::default();
    for number in 0..RECIPIENTS {
        let id = SocketId::new(format!("socket {number}"));
        let handshake = Handshake::new(&HeaderMap::new(), "/", None);
        let socket = namespace.connect(id, handshake, Arc::clone(&reader) as Arc<dyn Outbox>).await;
        socket.expect("nobody is refused").join("room");
    }
    let payload = encode(Wire::Classic, EVENT);
    (0..times).for_each(|_| cluster.inject(b"socket.io#/#room#", black_box(&payload)));
    // An event that was not understood would be cheap.
    assert_eq!(reader.0.load(Ordering::Relaxed), times * RECIPIENTS);
}

/// One message in the log, published with its place, without Redis.
async fn append(times: u64) {
    let node = NodeIdentity { id: "node".into(), epoch: "0".into(), advertise: None, version: "1".into() };
    let publish = Arc::new(|channel: &[u8], payload: &[u8]| {
        black_box((channel, payload));
    });
    let store = Store::memory(node, publish, Limits::default());
    let publications = [Publication {
        channel: b"socket.io#/#room#".to_vec(),
        parts: vec![
            Part::Literal(EVENT.as_bytes().into()),
            Part::Fill(Fill::Seq),
            Part::Literal(EVENT.as_bytes().into()),
        ],
    }];
    for number in 0..times {
        let entry = NewEntry {
            conversation: "room".into(),
            kind: Kind::Message,
            sender: "ann".into(),
            participants: vec!["ann".into()],
            client_message_id: Some(number.to_string()),
            timestamp_ms: 1_800_000_000_000,
            body: r#"{"content":"hello there, how are you?"}"#.into(),
        };
        store.log.append(entry, &publications).await.expect("memory takes everything");
    }
}

/// A client that reads at once: the lane's own queue is the lane's cost.
#[derive(Default)]
struct Reader(AtomicU64);

impl Outbox for Reader {
    fn send(&self, _: &Packet, _: bool, _: Flush) -> Result<(), SendError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
    fn send_with_id(&self, _: &Socket, _: &Packet, _: i64) -> Result<(), SendError> {
        Ok(())
    }
    fn send_ack(&self, _: i64, _: &Encoded) -> Result<(), SendError> {
        Ok(())
    }
    fn backlog(&self) -> usize {
        0
    }
    fn close(&self, _: Close, _: Option<&Packet>) {}
    fn transport(&self) -> &'static str {
        "test"
    }
}

struct Quiet;

#[async_trait]
impl Handler for Quiet {
    async fn connecting(&self, _: &Socket) -> Result<(), Refusal> {
        Ok(())
    }
    async fn connected(&self, _: &Socket) {}
    async fn event(&self, _: &Socket, _: Event) {}
    fn refused(&self, _: &Socket, _: Event) {}
    fn farewell(&self, _: &Socket, _: CloseReason) -> Option<Encoded> {
        None
    }
    async fn disconnected(&self, _: &Socket, _: CloseReason) {}
}
