//! How the rooms listened for follow a hub that is in use.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::HeaderMap;
use tokio::time::Instant;
use trunkline_hub::{Handshake, Hub, SocketId};

use super::client::Client;
use crate::{fuzzing::Nobody, interest::Interests};

/// The hub tells of rooms under a lock of its own, which whoever compares needs too.
#[test]
fn rooms_may_open_and_empty_while_they_are_compared() {
    const DEADLINE: std::time::Duration = std::time::Duration::from_secs(30);
    let hub = Hub::new();
    let namespace = hub.add_namespace("/", Arc::new(Nobody));
    let interests = Arc::new(Interests::default());
    assert!(hub.set_interest(Arc::clone(&interests) as _));
    interests.serve("/", &hub);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let handshake = Handshake::new(&HeaderMap::new(), "/", None);
    let entering = namespace.connect(SocketId::new("s"), handshake, Arc::new(Client::default()));
    let socket = runtime.block_on(entering).expect("nobody is refused");
    let (finished, done) = std::sync::mpsc::channel();
    let moving = Arc::new(AtomicBool::new(true));
    std::thread::spawn({
        let (moving, finished) = (Arc::clone(&moving), finished.clone());
        move || {
            for number in 0..20_000 {
                let room = (number % 512).to_string();
                socket.join(room.as_str());
                socket.leave(&room);
            }
            moving.store(false, Ordering::Relaxed);
            finished.send(())
        }
    });
    std::thread::spawn(move || {
        while moving.load(Ordering::Relaxed) {
            interests.reconcile(&hub, Instant::now());
        }
        finished.send(())
    });
    for _ in 0..2 {
        done.recv_timeout(DEADLINE).expect("neither waits for the other for ever");
    }
}
