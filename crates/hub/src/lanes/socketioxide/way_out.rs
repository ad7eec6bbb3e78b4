//! One socket's outbox.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use bytestring::ByteString;
use parking_lot::Mutex;
use socketioxide::{TransportType, extract::SocketRef, socket::Sid};
use socketioxide_core::{Str, Value, packet::Packet as WirePacket};

use super::{
    Lane, OUTBOX_PACKETS,
    extract::{WireHandle, WireSocket},
    link::Link,
};
use crate::{
    Flush,
    lanes::{CloseHandle, Outbox, SendError, backlog::Backlog},
    packet::{Encoded, Packet},
    reason::Close,
    socket::Socket,
};

/// One socket's outbox.
pub(super) struct WayOut {
    lane: Weak<Lane>,
    link: Arc<Link>,
    sid: Sid,
    wire: Weak<WireSocket>,
    /// The connection of the first request; the one in use, unless the session was upgraded.
    connection: Option<CloseHandle>,
    way: Mutex<Way>,
    /// Shared by the sockets of the session.
    backlog: Arc<Backlog>,
    limit: usize,
}

enum Way {
    /// CONNECT is not out yet: packets wait, at most [`OUTBOX_PACKETS`] of them.
    Waiting(VecDeque<WirePacket>),
    Open,
}

impl WayOut {
    pub(super) fn new(lane: &Arc<Lane>, link: Arc<Link>, socket: &SocketRef<Link>, backlog: Arc<Backlog>) -> Self {
        Self {
            lane: Arc::downgrade(lane),
            link,
            sid: socket.id,
            wire: socket.extensions.get::<WireHandle>().map(|handle| handle.0).unwrap_or_default(),
            connection: socket.req_parts().extensions.get::<CloseHandle>().cloned(),
            way: Mutex::new(Way::Waiting(VecDeque::new())),
            backlog,
            limit: lane.outbox_bytes,
        }
    }

    pub(super) fn sid(&self) -> Sid {
        self.sid
    }

    /// CONNECT is out.
    pub(super) fn open(&self) {
        let mut way = self.way.lock();
        if let Way::Waiting(waiting) = std::mem::replace(&mut *way, Way::Open) {
            // A failure shows again at the next packet, and closes the socket then.
            for packet in waiting {
                let _ = self.link.send(self.sid, packet);
            }
        }
    }

    /// Counts a packet of so many bytes, if there is room for it.
    fn admit(&self, bytes: usize, volatile: bool) -> Result<(), SendError> {
        let fits = self.backlog.admit(self.written(), bytes, volatile, self.limit);
        if fits { Ok(()) } else { Err(SendError::Full) }
    }

    /// Bytes that its WebSocket connection has taken; for polls the session counts by itself.
    fn written(&self) -> u64 {
        if !self.is_websocket() {
            return 0;
        }
        let connection = match self.lane.upgrade() {
            Some(lane) => self.current_connection(&lane),
            None => self.connection.clone(),
        };
        connection.map_or(0, |connection| connection.written())
    }

    /// The one that the session is on: since an upgrade, that of the upgrade.
    pub(super) fn current_connection(&self, lane: &Lane) -> Option<CloseHandle> {
        let upgraded = lane.upgrades.lock().get(self.sid);
        upgraded.or_else(|| self.connection.clone())
    }

    fn push(&self, packet: WirePacket) -> Result<(), SendError> {
        match &mut *self.way.lock() {
            Way::Open => self.link.send(self.sid, packet),
            Way::Waiting(waiting) if waiting.len() < OUTBOX_PACKETS => {
                waiting.push_back(packet);
                Ok(())
            }
            Way::Waiting(_) => Err(SendError::Full),
        }
    }

    pub(super) fn is_websocket(&self) -> bool {
        self.wire.upgrade().is_some_and(|socket| socket.transport_type() == TransportType::Websocket)
    }
}

impl Outbox for WayOut {
    // The library's own volatile slot keeps only the latest packet and lets it overtake: not used.
    fn send(&self, packet: &Packet, volatile: bool, _: Flush) -> Result<(), SendError> {
        self.admit(packet.event.len(), volatile)?;
        let value = &packet.socketioxide.get_or_init(|| Prepared(value_of(&packet.event))).0;
        self.push(WirePacket::event(self.link.path(), value.clone()))
    }

    fn send_with_id(&self, socket: &Socket, packet: &Packet, id: i64) -> Result<(), SendError> {
        let lane = self.lane.upgrade().ok_or(SendError::Closed)?;
        self.admit(packet.event.len(), false)?;
        // The library counts by itself and hands the answer to a stream of its own.
        let answers = self.link.send_with_ack(self.sid, WirePacket::event(self.link.path(), value_of(&packet.event)));
        let socket = socket.clone();
        lane.closings.spawn(async move {
            if let Some(Value::Str(text, attachments)) = answers.await
                && let Ok(text) = ByteString::try_from(Bytes::from(text))
            {
                socket.acked(id, Encoded::new(text, attachments.map(Vec::from).unwrap_or_default()));
            }
        });
        Ok(())
    }

    fn send_ack(&self, id: i64, args: &Encoded) -> Result<(), SendError> {
        self.admit(args.len(), false)?;
        self.push(WirePacket::ack(self.link.path(), value_of(args), id))
    }

    fn close(&self, how: Close, last: Option<&Packet>) {
        if let Some(last) = last
            && self.send(last, false, Flush::Now) == Err(SendError::Full)
        {
            // The one place where the slot beside the full queue helps.
            self.link.send_beside_the_queue(self.sid, WirePacket::event(self.link.path(), value_of(&last.event)));
        }
        if how == Close::Namespace && self.link.disconnect(self.sid).is_ok() {
            return;
        }
        if let Some(lane) = self.lane.upgrade() {
            lane.end(self);
        }
    }

    fn backlog(&self) -> usize {
        usize::try_from(self.backlog.waiting(self.written())).unwrap_or(usize::MAX)
    }

    fn transport(&self) -> &'static str {
        if self.is_websocket() { "websocket" } else { "polling" }
    }
}

/// An event's arguments as the library's parser takes them: made once per packet.
#[derive(Debug)]
pub(crate) struct Prepared(Value);

fn value_of(args: &Encoded) -> Value {
    let attachments = (!args.attachments.is_empty()).then(|| args.attachments.iter().cloned().collect());
    Value::Str(Str::copy_from_slice(&args.text), attachments)
}
