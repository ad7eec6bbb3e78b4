//! What the library calls when a client connects, sends and goes. All is done in extractors, which run in order.

use std::{
    borrow::Cow,
    convert::Infallible,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use bytestring::ByteString;
use socketioxide::{
    handler::{FromConnectParts, FromDisconnectParts, FromMessage},
    socket::DisconnectReason,
};
use socketioxide_core::Value;

use super::{link::Link, way_out::WayOut};
use crate::{
    lanes::Outbox,
    packet::Encoded,
    reason::{Close, CloseReason},
    socket::{AckReply, Event, Socket},
};

pub(super) type WireSocket = socketioxide::socket::Socket<Link>;

/// Ties a hub socket to the library's socket: when that one goes, however silently, the hub hears of it.
#[derive(Clone)]
pub(super) struct Registered(pub(super) Arc<Registration>);

pub(super) struct Registration {
    pub(super) socket: Socket,
    pub(super) way_out: Arc<WayOut>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        // Does nothing when the disconnect handler ran.
        self.socket.closed(CloseReason::TransportClose);
    }
}

/// A weak reference from a socket to itself, which only an extractor can get at.
#[derive(Clone)]
pub(super) struct WireHandle(pub(super) Weak<WireSocket>);

/// Extracts the `auth` payload, JSON text or empty; and, being the first extractor to run, notes the socket's [`WireHandle`].
pub(super) struct Auth(pub(super) String);

impl FromConnectParts<Link> for Auth {
    type Error = Infallible;
    fn from_connect_parts(socket: &Arc<WireSocket>, auth: &Option<Value>) -> Result<Self, Infallible> {
        socket.extensions.insert(WireHandle(Arc::downgrade(socket)));
        Ok(Self(auth.as_ref().and_then(Value::as_str).map(|text| text.as_str().to_owned()).unwrap_or_default()))
    }
}

/// What was to be done is done in the extractor, in order; there is nothing left to start a task for.
#[derive(Debug, thiserror::Error)]
#[error("handled in order")]
pub(super) struct Handled;

/// "Extracted" once CONNECT is out: from here on the socket hears us.
pub(super) struct Opened;

impl FromConnectParts<Link> for Opened {
    type Error = Handled;
    fn from_connect_parts(socket: &Arc<WireSocket>, _: &Option<Value>) -> Result<Self, Handled> {
        if let Some(Registered(registration)) = socket.extensions.get() {
            registration.way_out.open();
            registration.socket.opened();
            // Closed before there was an answer to CONNECT that could be taken back.
            if registration.socket.is_closed() {
                registration.way_out.close(Close::Namespace, None);
            }
        }
        Err(Handled)
    }
}

/// "Extracted" for each event, in the order of arrival.
pub(super) struct Inbound;

impl FromMessage<Link> for Inbound {
    type Error = Handled;
    fn from_message(socket: Arc<WireSocket>, value: Value, ack: Option<i64>) -> Result<Self, Handled> {
        let Some(Registered(registration)) = socket.extensions.get() else { return Err(Handled) };
        let Value::Str(text, attachments) = value else { return Err(Handled) };
        // The library has read the name already and closed the connection if there was none.
        let Ok(text) = ByteString::try_from(Bytes::from(text)) else { return Err(Handled) };
        let args = Encoded::new(text, attachments.map(Vec::from).unwrap_or_default());
        let Some(name) = args.event_name().map(Cow::into_owned) else { return Err(Handled) };
        registration.socket.receive(Event { name, args, ack: ack.map(|id| AckReply { id }) });
        Err(Handled)
    }
}

/// Extracted when the socket is gone. Must succeed: the library cleans up after the handler only if it was started.
pub(super) struct Closed;

impl FromDisconnectParts<Link> for Closed {
    type Error = Infallible;
    fn from_disconnect_parts(socket: &Arc<WireSocket>, reason: DisconnectReason) -> Result<Self, Infallible> {
        if let Some(Registered(registration)) = socket.extensions.get() {
            registration.socket.closed(match reason {
                DisconnectReason::TransportClose => CloseReason::TransportClose,
                DisconnectReason::MultipleHttpPollingError | DisconnectReason::PacketParsingError => {
                    CloseReason::ParseError
                }
                DisconnectReason::TransportError => CloseReason::TransportError,
                DisconnectReason::HeartbeatTimeout => CloseReason::PingTimeout,
                DisconnectReason::ClientNSDisconnect => CloseReason::ClientDisconnect,
                DisconnectReason::ServerNSDisconnect => CloseReason::ServerDisconnect,
                DisconnectReason::ClosingServer => CloseReason::Shutdown,
            });
        }
        Ok(Self)
    }
}
