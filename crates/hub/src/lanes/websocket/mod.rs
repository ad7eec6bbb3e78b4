//! The lane for clients that open a WebSocket straight away: Engine.IO v4 and Socket.IO v5 of our own.
//!
//! - `opening`: the handshake, without an HTTP server when it is a plain one
//! - `frame`: what RFC 6455 says about bytes; `packet`: what Socket.IO says about text
//! - `connection`: the task that reads, and a socket's way out
//! - `outbox`: what waits to be written, shared with all other recipients
//! - `flusher`: who writes after a fan-out; `wheel`: heartbeats and deadlines
//!
//! What an idle connection costs is what decides how many there can be. It holds a task that waits for the socket to
//! become readable, and its identity: no buffer, no timer, no channel.
//!
//! No compression is offered: permessage-deflate costs up to 300 KiB a connection, and a frame that is
//! compressed for one can't be shared by all.

mod connection;
mod flusher;
mod frame;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod opening;
mod outbox;
mod packet;
mod wheel;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::opening::Opening;
use self::{
    connection::Connection,
    flusher::Flushers,
    opening::{PROTOCOL, accept_key, first_protocol},
    wheel::Wheel,
};
use super::{Closable, Options};
use crate::{Handshake, Hub, PeerAddress};

/// How long a client may take from its connection to its first CONNECT.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The lane. Cheap to clone.
#[derive(Clone)]
pub struct WebSocketLane(Arc<Lane>);

struct Lane {
    hub: Hub,
    options: Options,
    wheel: Wheel,
    flushers: Flushers,
    connections: TaskTracker,
    /// Heartbeats, flushers, and what sees the end of a connection through.
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl std::fmt::Debug for WebSocketLane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocketLane").finish_non_exhaustive()
    }
}

impl WebSocketLane {
    /// A lane into `hub`. Needs a Tokio runtime: heartbeats and flushers are tasks, until [`close`](Self::close).
    pub fn new(hub: Hub, options: &Options) -> Self {
        let lane = Self(Arc::new(Lane {
            hub,
            options: options.clone(),
            wheel: Wheel::new(options.ping_interval, options.ping_timeout, CONNECT_TIMEOUT),
            flushers: Flushers::new(options.flushers, options.flush_delay),
            connections: TaskTracker::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }));
        let this = Arc::clone(&lane.0);
        lane.0.tasks.spawn(async move { this.wheel.turn(this.stop.clone()).await });
        for at in 0..lane.0.flushers.count() {
            let this = Arc::clone(&lane.0);
            lane.0.tasks.spawn(async move { this.flushers.run(at, this.stop.clone()).await });
        }
        lane
    }

    /// Whether this request is a WebSocket handshake for a new session. All others are another lane's.
    pub fn takes<B>(&self, request: &Request<B>) -> bool {
        let values = |name: &str| request.headers().get_all(name).iter().map(HeaderValue::as_bytes).collect();
        self.0.options.websocket
            && opening::is_ours(request.method().as_str(), request.uri().query().unwrap_or_default(), values)
    }

    /// Answers the handshake and serves the connection from then on: the future that is returned, which must be spawned.
    pub fn accept(
        &self,
        opening: &Opening<'_>,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> impl Future<Output = ()> + Send + use<> {
        let mut first = opening.answer();
        first.extend_from_slice(&self.0.open_frame());
        let connection = Connection::new(Arc::clone(&self.0), stream, opening.handshake(peer));
        Arc::new(connection).begin(first.into(), Vec::new())
    }

    /// Whether handshakes may come here at all.
    pub fn is_open(&self) -> bool {
        self.0.options.websocket
    }

    /// The same for a handshake that an HTTP server has read: one that came behind other requests on its connection,
    /// or in pieces.
    pub fn call(&self, mut request: Request<Body>) -> Response<Body> {
        let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else { return bad_request() };
        let accept = HeaderValue::from_str(&accept_key(key.as_bytes()));
        let Ok(accept) = accept else { return bad_request() };
        let offered = request.headers().get(PROTOCOL).and_then(|offered| offered.to_str().ok());
        let protocol = offered.and_then(first_protocol).and_then(|protocol| HeaderValue::from_str(protocol).ok());
        let address = request.extensions().get::<PeerAddress>().map(|peer| peer.0);
        let handshake = Handshake::new(request.headers(), &request.uri().to_string(), address);
        let upgrade = hyper::upgrade::on(&mut request);
        let lane = Arc::clone(&self.0);
        self.0.connections.spawn(async move {
            let Ok(upgraded) = upgrade.await else { return };
            // Only a plain connection that we accepted ourselves can be served at this price.
            let Ok(parts) = upgraded.downcast::<TokioIo<Closable<TcpStream>>>() else {
                tracing::error!("the listener must hand out closable TCP streams");
                return;
            };
            // In a task of its own, which holds nothing of the handshake.
            let connections = lane.connections.clone();
            // Copied: even when empty, the bytes that came along hold hyper's read buffer.
            let early = parts.read_buf.to_vec();
            let first = lane.open_frame();
            let connection = Connection::new(lane, parts.io.into_inner().into_inner(), handshake);
            connections.spawn(Arc::new(connection).begin(first, early));
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        protocol.map(|protocol| headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol));
        response
    }

    /// Ends what is still connected, waits until it has ended, and ends all tasks. Nothing may come in any more.
    pub async fn close(&self) {
        // Closed first: whoever comes to the wheel from here on sees it and ends by itself.
        self.0.connections.close();
        self.0.wheel.connections().iter().for_each(|connection| connection.finish(None));
        self.0.connections.wait().await;
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl Lane {
    /// What the engine says first.
    fn open_frame(&self) -> Bytes {
        let Options { ping_interval, ping_timeout, max_payload, .. } = &self.options;
        let packet = format!(
            r#"0{{"sid":"{}","upgrades":[],"pingInterval":{},"pingTimeout":{},"maxPayload":{max_payload}}}"#,
            self.hub.fresh_id(),
            ping_interval.as_millis(),
            ping_timeout.as_millis(),
        );
        frame::text(&[&packet])
    }
}

fn bad_request() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}
