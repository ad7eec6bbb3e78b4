//! A client of a member's namespace.

use std::sync::{Arc, Mutex};

use http::HeaderMap;
use trunkline_hub::{
    Close, Encoded, Flush, Handshake, Packet, Socket, SocketId,
    lanes::{Outbox, SendError},
};

use crate::core::Core;

/// The texts of the events that a client gets.
#[derive(Clone, Default)]
pub(super) struct Client(Arc<Mutex<Vec<String>>>);

impl Client {
    pub(super) async fn of(core: &Core, id: &str, room: &str) -> (Self, Socket) {
        let client = Self::default();
        let namespace = core.hub.namespace("/").expect("it is served");
        let handshake = Handshake::new(&HeaderMap::new(), "/", None);
        let socket = namespace.connect(SocketId::new(id), handshake, Arc::new(client.clone())).await;
        let socket = socket.expect("nobody is refused");
        socket.join(room);
        (client, socket)
    }

    pub(super) fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

impl Outbox for Client {
    fn send(&self, packet: &Packet, _: bool, _: Flush) -> Result<(), SendError> {
        self.0.lock().expect("no panic").push(packet.event().text.to_string());
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
