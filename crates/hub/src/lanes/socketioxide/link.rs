//! The door into the library.

use std::{
    convert::Infallible,
    sync::{Arc, Weak},
    time::Duration,
};

use ahash::AHashMap;
use futures_util::StreamExt;
use parking_lot::RwLock;
use socketioxide::{SocketError, adapter::Emitter, socket::Sid};
use socketioxide_core::{
    Str, Value,
    adapter::{BroadcastFlags, BroadcastOptions, CoreAdapter, CoreLocalAdapter, DefinedAdapter, SocketEmitter},
    packet::Packet as WirePacket,
};

use crate::lanes::SendError;

/// How long the library waits for an answer. Whoever wants one sooner gives up sooner.
const ACK_TIMEOUT: Duration = Duration::from_secs(60);

/// The library's adapter, one per namespace: for us it is only the door by which an encoded packet reaches one socket.
/// Rooms are the hub's.
pub(super) struct Link {
    local: CoreLocalAdapter<Emitter>,
    links: Links,
}

/// The adapters by namespace, filled as the library makes them.
#[derive(Clone, Default)]
pub(super) struct Links(Arc<RwLock<AHashMap<String, Weak<Link>>>>);

impl Links {
    pub(super) fn remove(&self, namespace: &str) {
        self.0.write().remove(namespace);
    }

    pub(super) fn get(&self, namespace: &str) -> Option<Arc<Link>> {
        self.0.read().get(namespace)?.upgrade()
    }
}

impl Link {
    pub(super) fn path(&self) -> Str {
        self.local.path().clone()
    }

    pub(super) fn send(&self, sid: Sid, packet: WirePacket) -> Result<(), SendError> {
        let failed = self.local.broadcast(packet, BroadcastOptions::new(sid)).err();
        match failed.as_deref() {
            None => Ok(()),
            Some([SocketError::Closed, ..]) => Err(SendError::Closed),
            Some(_) => Err(SendError::Full),
        }
    }

    /// Resolves to the answer, or to `None` when there is none in time, or the packet was not taken.
    pub(super) fn send_with_ack(
        &self,
        sid: Sid,
        packet: WirePacket,
    ) -> impl Future<Output = Option<Value>> + Send + use<> {
        let (answers, _) = self.local.broadcast_with_ack(packet, BroadcastOptions::new(sid), Some(ACK_TIMEOUT));
        async move {
            let (_, answer) = std::pin::pin!(answers).next().await?;
            answer.ok()
        }
    }

    pub(super) fn send_beside_the_queue(&self, sid: Sid, packet: WirePacket) {
        let mut options = BroadcastOptions::new(sid);
        options.add_flag(BroadcastFlags::Volatile);
        let _ = self.local.broadcast(packet, options);
    }

    /// Fails when the buffer is full; the socket then is as connected as before.
    pub(super) fn disconnect(&self, sid: Sid) -> Result<(), Vec<SocketError>> {
        self.local.disconnect_socket(BroadcastOptions::new(sid))
    }
}

impl CoreAdapter<Emitter> for Link {
    type Error = Infallible;
    type State = Links;
    type AckStream = <Emitter as SocketEmitter>::AckStream;
    type InitRes = ();

    fn new(links: &Links, local: CoreLocalAdapter<Emitter>) -> Self {
        Self { local, links: links.clone() }
    }

    fn init(self: Arc<Self>, on_success: impl FnOnce() + Send + 'static) {
        self.links.0.write().insert(self.local.path().as_str().to_owned(), Arc::downgrade(&self));
        on_success();
    }

    async fn broadcast_with_ack(
        &self,
        packet: WirePacket,
        options: BroadcastOptions,
        timeout: Option<Duration>,
    ) -> Result<Self::AckStream, Infallible> {
        Ok(self.local.broadcast_with_ack(packet, options, timeout).0)
    }

    fn get_local(&self) -> &CoreLocalAdapter<Emitter> {
        &self.local
    }
}

impl DefinedAdapter for Link {}
