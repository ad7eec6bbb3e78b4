//! What a broadcast costs in allocations: the same for a thousand recipients as for one.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use http::HeaderMap;
use trunkline_adapter::{Cluster, ClusterOptions};
use trunkline_hub::{
    Close, CloseReason, Encoded, Event, Flush, Handler, Handshake, Hub, Packet, Refusal, Socket, SocketId, Targets,
    lanes::{Outbox, SendError},
};

/// A client that reads at once: the lane's own queue is the lane's cost.
struct Reader;

static DELIVERED: AtomicUsize = AtomicUsize::new(0);

impl Outbox for Reader {
    fn send(&self, _: &Packet, _: bool, _: Flush) -> Result<(), SendError> {
        DELIVERED.fetch_add(1, Ordering::Relaxed);
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

/// Of each way to send to `recipients` sockets.
async fn allocations(recipients: usize) -> [u64; 4] {
    let hub = Hub::new();
    let namespace = hub.add_namespace("/", Arc::new(Quiet));
    let cluster = Cluster::start(hub, ClusterOptions::default());
    for number in 0..=recipients {
        let id = SocketId::new(format!("socket {number}"));
        let handshake = Handshake::new(&HeaderMap::new(), "/", None);
        let socket = namespace.connect(id, handshake, Arc::new(Reader)).await.expect("nobody is refused");
        socket.join(if number == 0 { "x" } else { "r" });
    }
    // `["x", {type: 2, data: ["m", 1], nsp: "/"}, opts]`
    let packet = b"\x93\xa1x\x83\xa4type\x02\xa4data\x92\xa1m\x01\xa3nsp\xa1/".as_slice();
    let to_room = [packet, b"\x81\xa5rooms\x91\xa1r"].concat();
    let to_all = [packet, b"\x80"].concat();
    let to_all_but_one = [packet, b"\x81\xa6except\x91\xa1x"].concat();
    let (event, room) = (Encoded::event("m", &1), Targets::room("r"));
    let ways: [&dyn Fn(); 4] = [
        &|| cluster.inject(b"socket.io#/#r#", &to_room),
        &|| cluster.inject(b"socket.io#/#", &to_all),
        &|| cluster.inject(b"socket.io#/#", &to_all_but_one),
        &|| cluster.emit("/", event.clone(), &room, false),
    ];
    ways.map(|deliver| {
        deliver();
        let before = DELIVERED.load(Ordering::Relaxed);
        let allocations = allocation_counter::measure(deliver).count_total;
        assert!(DELIVERED.load(Ordering::Relaxed) - before >= recipients, "it is delivered");
        allocations
    })
}

// One test, since what is delivered is counted for all.
#[tokio::test]
async fn a_fan_out_allocates_nothing_per_recipient() {
    let (one, many) = (allocations(1).await, allocations(1_000).await);
    println!("{one:?} allocations for one recipient, {many:?} for a thousand");
    assert_eq!(one, many);
    assert!(one[0] > 0, "the counter counts");
}
