//! What one socket says: into the outbox that it shares with the other namespaces of its connection.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::{Bytes, BytesMut};

use super::Connection;
use crate::{
    lanes::{
        Flush, Outbox, SendError,
        websocket::{outbox::Volatile, packet},
    },
    packet::{Encoded, Packet, Run},
    reason::Close,
    socket::Socket,
};

/// One socket's way out.
pub(super) struct Way {
    pub(super) connection: Arc<Connection>,
    pub(super) namespace: Arc<str>,
    /// Whether CONNECT is answered. Changes once, under the outbox's lock.
    pub(super) open: AtomicBool,
    /// Whether the client is told how to come back, and takes a text at the end of a packet for an offset.
    pub(super) recovers: bool,
}

impl Way {
    fn push(&self, frames: &[Bytes], volatile: Volatile) -> Result<(), SendError> {
        let limit = self.connection.lane.options.outbox_bytes;
        let mut outbox = self.connection.outbox.lock();
        if self.open.load(Ordering::Acquire) {
            outbox.push(frames, volatile, limit)
        } else {
            outbox.hold(frames, limit)
        }
    }

    /// An event as this client is to get it: the same bytes as everyone of its kind.
    fn frames<'a>(&self, packet: &'a Packet) -> &'a [Bytes] {
        let encode = |event: &Encoded| packet::event(&self.namespace, None, event);
        if self.recovers
            && let Some(guarded) = packet.guard(encode)
        {
            return guarded;
        }
        packet.websocket.get_or_init(|| encode(&packet.event))
    }

    /// Sees to the writing of so many `packets`.
    fn flush(&self, flush: Flush, packets: usize) {
        match flush {
            Flush::Now => self.connection.flush(),
            Flush::Next => self.connection.lane.flushers.add_next(&self.connection),
            Flush::Soon => self.connection.lane.flushers.add(&self.connection, packets),
        }
    }
}

impl Outbox for Way {
    fn send(&self, packet: &Packet, volatile: bool, flush: Flush) -> Result<(), SendError> {
        self.push(self.frames(packet), volatile.then(|| packet.subject()))?;
        self.flush(flush, 1);
        Ok(())
    }

    /// Their bytes, joined: copying them once costs less than a queue entry, a reference and a slice for each and every socket.
    fn send_run(&self, run: &Run<'_>, flush: Flush) -> Result<(), SendError> {
        if self.recovers {
            return run.packets().iter().try_for_each(|packet| self.send(packet, false, flush));
        }
        let frames = || run.packets().iter().flat_map(|packet| self.frames(packet));
        let joined = run.websocket.get_or_init(|| {
            let mut joined = BytesMut::with_capacity(frames().map(Bytes::len).sum());
            frames().for_each(|frame| joined.extend_from_slice(frame));
            joined.freeze()
        });
        self.push(std::slice::from_ref(joined), None)?;
        self.flush(flush, run.packets().len());
        Ok(())
    }

    fn send_with_id(&self, _: &Socket, packet: &Packet, id: i64) -> Result<(), SendError> {
        self.push(&packet::event(&self.namespace, Some(id), &packet.event), None)?;
        self.connection.flush();
        Ok(())
    }

    fn send_ack(&self, id: i64, args: &Encoded) -> Result<(), SendError> {
        self.push(&packet::ack(&self.namespace, id, args), None)?;
        self.flush(Flush::Next, 1);
        Ok(())
    }

    fn close(&self, how: Close, last: Option<&Packet>) {
        let last = last.map(|packet| self.frames(packet));
        if how == Close::Transport {
            return self.connection.finish(last);
        }
        // Whoever answers CONNECT sees that the socket is closed. Asked under the lock under which that changes.
        let is_answered = {
            let _outbox = self.connection.outbox.lock();
            self.open.load(Ordering::Acquire)
        };
        if is_answered {
            self.connection.throw_out(&self.namespace, last);
        }
    }

    fn backlog(&self) -> usize {
        self.connection.outbox.lock().bytes()
    }

    fn transport(&self) -> &'static str {
        "websocket"
    }

    fn recovers(&self) -> bool {
        self.recovers
    }
}
