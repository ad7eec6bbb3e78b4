//! What a broadcast costs in allocations: the same for a thousand recipients as for one.

use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;
use trunkline_adapter::{Cluster, ClusterOptions};
use trunkline_hub::{
    Close, CloseReason, Encoded, Event, Flush, Handler, Handshake, Hub, Packet, Refusal, Socket, SocketId,
    lanes::{Outbox, SendError},
};

/// A client that reads at once: the lane's own queue is the lane's cost.
struct Reader;

impl Outbox for Reader {
    fn send(&self, _: &Packet, _: bool, _: Flush) -> Result<(), SendError> {
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

async fn allocations(recipients: usize) -> u64 {
    let hub = Hub::new();
    let namespace = hub.add_namespace("/", Arc::new(Quiet));
    let cluster = Cluster::start(hub, ClusterOptions::default());
    for number in 0..recipients {
        let id = SocketId::new(format!("socket {number}"));
        let handshake = Handshake::new(&HeaderMap::new(), "/", None);
        namespace.connect(id, handshake, Arc::new(Reader)).await.expect("nobody is refused").join("r");
    }
    // `["x", {type: 2, data: ["m", 1], nsp: "/"}, {rooms: ["r"]}]`
    let payload = b"\x93\xa1x\x83\xa4type\x02\xa4data\x92\xa1m\x01\xa3nsp\xa1/\x81\xa5rooms\x91\xa1r";
    let deliver = || cluster.inject(b"socket.io#/#r#", payload);
    deliver();
    allocation_counter::measure(deliver).count_total
}

#[tokio::test]
async fn a_fan_out_allocates_nothing_per_recipient() {
    let (one, many) = (allocations(1).await, allocations(1_000).await);
    println!("{one} allocations for one recipient, {many} for a thousand");
    assert_eq!(one, many);
    assert!(one > 0, "the counter counts");
}
