//! What a client sends: messages of Engine.IO, packets of Socket.IO and their attachments.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;

use super::Connection;
use crate::{
    lanes::websocket::{
        frame::{self, Decoder, Message, Next},
        outbox::PONGS,
        packet::{Incoming, Kind},
    },
    packet::Encoded,
    reason::CloseReason,
    socket::{AckReply, Event},
};

/// Attachments of one packet, as in Node's parser since 4.2.6.
const MAX_ATTACHMENTS: usize = 10;

/// What the reader does when it is through with what it has read.
pub(super) enum Then {
    /// Read more.
    Read,
    /// The same, after all others had their turn.
    ReadOn,
    /// Answer this CONNECT, then go on.
    Connect(Box<Connect>),
    /// End the connection.
    End(CloseReason),
}

pub(super) struct Connect {
    pub(super) namespace: String,
    pub(super) auth: String,
}

/// A binary event or ack that waits for its attachments.
struct Partial {
    kind: Kind,
    namespace: String,
    id: Option<i64>,
    data: String,
    missing: usize,
    attachments: Vec<Bytes>,
    bytes: usize,
}

/// The state of the reader between reads. Small, because every idle connection has one.
#[derive(Default)]
pub(super) struct Reader {
    decoder: Decoder,
    partial: Option<Box<Partial>>,
}

impl Connection {
    /// Handles what was read. Stops at a CONNECT, whose answer takes a while.
    pub(super) fn take(self: &Arc<Self>, reader: &mut Reader, input: &mut [u8]) -> Then {
        let largest = self.lane.options.max_payload;
        let Reader { decoder, partial } = reader;
        let mut then = Then::Read;
        let read = decoder.read(input, largest, |message| {
            then = self.message(message, partial);
            if matches!(then, Then::Read) { Next::Go } else { Next::Pause }
        });
        if let Err(violation) = read {
            tracing::debug!(error = %violation, "closing a connection");
            self.say_goodbye(violation.close_code());
            return Then::End(CloseReason::ParseError);
        }
        then
    }

    fn message(self: &Arc<Self>, message: Message<'_>, partial: &mut Option<Box<Partial>>) -> Then {
        match message {
            Message::Text(text) => self.engine_message(text, partial),
            Message::Binary(bytes) => self.attachment(bytes, partial),
            Message::Ping(payload) => {
                // Dropped when the peer reads nothing: then it has no use for it.
                let _ = self.outbox.lock().push(&[frame::pong(payload)], PONGS, self.lane.options.outbox_bytes);
                // Not one by one, should a peer ask and ask.
                self.lane.flushers.add(self, 1);
                Then::Read
            }
            Message::Pong => Then::Read,
            Message::Close => {
                self.say_goodbye(1000);
                Then::End(CloseReason::TransportClose)
            }
        }
    }

    fn engine_message(self: &Arc<Self>, text: &str, partial: &mut Option<Box<Partial>>) -> Then {
        match text.as_bytes() {
            [b'4', ..] if partial.is_none() => match Incoming::read(&text[1..], MAX_ATTACHMENTS) {
                Ok(incoming) => self.packet(incoming, partial),
                Err(_) => self.malformed(),
            },
            [b'3', ..] => {
                self.pinged.store(0, Ordering::Relaxed);
                Then::Read
            }
            [b'1'] => {
                self.say_goodbye(1000);
                Then::End(CloseReason::TransportClose)
            }
            // Noop, and an upgrade that has nothing to upgrade from.
            [b'5' | b'6'] => Then::Read,
            _ => self.malformed(),
        }
    }

    fn packet(self: &Arc<Self>, incoming: Incoming<'_>, partial: &mut Option<Box<Partial>>) -> Then {
        let Incoming { kind, namespace, id, data, attachments } = incoming;
        if attachments > 0 {
            *partial = Some(Box::new(Partial {
                kind,
                namespace: namespace.to_owned(),
                id,
                data: data.to_owned(),
                missing: attachments,
                attachments: Vec::with_capacity(attachments),
                bytes: data.len(),
            }));
            return Then::Read;
        }
        match kind {
            Kind::Connect => {
                Then::Connect(Box::new(Connect { namespace: namespace.to_owned(), auth: data.to_owned() }))
            }
            Kind::Disconnect => {
                self.left(namespace);
                Then::Read
            }
            Kind::Event | Kind::Ack => self.deliver(kind, namespace, id, Encoded::new(data.to_owned(), Vec::new())),
        }
    }

    fn attachment(self: &Arc<Self>, bytes: &[u8], partial: &mut Option<Box<Partial>>) -> Then {
        let Some(mut waiting) = partial.take() else { return self.malformed() };
        waiting.bytes += bytes.len();
        if waiting.bytes > self.lane.options.max_payload {
            self.say_goodbye(1009);
            return Then::End(CloseReason::ParseError);
        }
        waiting.attachments.push(Bytes::copy_from_slice(bytes));
        waiting.missing -= 1;
        if waiting.missing > 0 {
            *partial = Some(waiting);
            return Then::Read;
        }
        let Partial { kind, namespace, id, data, attachments, .. } = *waiting;
        self.deliver(kind, &namespace, id, Encoded::new(data, attachments))
    }

    fn deliver(self: &Arc<Self>, kind: Kind, namespace: &str, id: Option<i64>, args: Encoded) -> Then {
        // As on Node: a packet for a namespace that the client is not in ends the connection.
        let Some(socket) = self.socket(namespace) else { return self.malformed() };
        if kind == Kind::Ack {
            if let Some(id) = id {
                socket.acked(id, args);
            }
            return Then::Read;
        }
        let Some(name) = args.event_name().map(std::borrow::Cow::into_owned) else { return self.malformed() };
        socket.receive(Event { name, args, ack: id.map(|id| AckReply { id }) });
        Then::Read
    }

    fn malformed(&self) -> Then {
        self.say_goodbye(1002);
        Then::End(CloseReason::ParseError)
    }
}
