//! What a broadcast costs in allocations: the same for a thousand recipients as for one.

mod support;

use std::sync::{Arc, atomic::Ordering};

use http::HeaderMap;
use support::{Quiet, Received};
use trunkline_adapter::{Cluster, ClusterOptions};
use trunkline_hub::{Encoded, Handshake, Hub, SocketId, Targets};

/// Of each way to send to `recipients` sockets.
async fn allocations(recipients: usize) -> [u64; 4] {
    let hub = Hub::new();
    let namespace = hub.add_namespace("/", Arc::new(Quiet));
    let cluster = Cluster::start(hub, ClusterOptions::default());
    // One for all of them: the queues of a lane are the lane's cost.
    let received = Arc::new(Received::default());
    for number in 0..=recipients {
        let id = SocketId::new(format!("socket {number}"));
        let handshake = Handshake::new(&HeaderMap::new(), "/", None);
        let socket = namespace.connect(id, handshake, Arc::clone(&received) as _).await.expect("nobody is refused");
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
        let before = received.0.load(Ordering::Relaxed);
        let allocations = allocation_counter::measure(deliver).count_total;
        assert!(received.0.load(Ordering::Relaxed) - before >= recipients, "it is delivered");
        allocations
    })
}

#[tokio::test]
async fn a_fan_out_allocates_nothing_per_recipient() {
    let (one, many) = (allocations(1).await, allocations(1_000).await);
    println!("{one:?} allocations for one recipient, {many:?} for a thousand");
    assert_eq!(one, many);
    assert!(one[0] > 0, "the counter counts");
}
