//! The lane for clients that open a WebSocket straight away: Engine.IO v4 and Socket.IO v5 of our own.
//!
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
mod outbox;
mod packet;
mod wheel;

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use base64::{Engine, engine::general_purpose};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use tokio::net::TcpStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{connection::Connection, flusher::Flushers, wheel::Wheel};
use super::{Closable, Options};
use crate::{Handshake, Hub, PeerAddress};

/// How long a client may take from its connection to its first CONNECT.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the key of a handshake is answered with, RFC 6455 section 4.2.2.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

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
            flushers: Flushers::new(options.flushers),
            connections: TaskTracker::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }));
        let this = Arc::clone(&lane.0);
        lane.0.tasks.spawn(async move { this.wheel.turn(this.stop.clone()).await });
        for at in 0..lane.0.flushers.count() {
            let this = Arc::clone(&lane.0);
            lane.0.tasks.spawn(async move { this.flushers.run(at, this.options.flush_delay, this.stop.clone()).await });
        }
        lane
    }

    /// Whether this request is a WebSocket handshake for a new session. All others are another lane's.
    pub fn takes<B>(&self, request: &Request<B>) -> bool {
        if !self.0.options.websocket || request.method() != Method::GET {
            return false;
        }
        let pairs = || request.uri().query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        pairs().any(|pair| pair == ("transport", "websocket"))
            && pairs().any(|pair| pair == ("EIO", "4"))
            && !pairs().any(|(key, _)| key == "sid")
            && is_handshake(request.headers())
    }

    /// Answers the handshake and serves the connection from then on.
    pub fn call(&self, mut request: Request<Body>) -> Response<Body> {
        let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else { return bad_request() };
        let accept = accept_key(key);
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
            connections.spawn(lane.serve(parts.io.into_inner().into_inner(), handshake, early));
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        response
    }

    /// Ends what is still connected, waits until it has ended, and ends all tasks. Nothing may come in any more.
    pub async fn close(&self) {
        self.0.wheel.connections().iter().for_each(|connection| connection.finish(None));
        self.0.connections.close();
        self.0.connections.wait().await;
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl Lane {
    async fn serve(self: Arc<Self>, stream: TcpStream, handshake: Handshake, early: Vec<u8>) {
        let connection = Arc::new(Connection::new(Arc::clone(&self), stream, handshake));
        connection.open();
        self.wheel.add(&connection);
        let _end = End { lane: &self, connection: &connection };
        Arc::clone(&connection).run(early).await;
    }

    /// 20 random characters, as Node's ids have.
    fn fresh_id(&self) -> String {
        general_purpose::URL_SAFE_NO_PAD.encode(rand::random::<[u8; 15]>())
    }

    /// What the engine says first.
    fn open_packet(&self) -> String {
        let Options { ping_interval, ping_timeout, max_payload, .. } = &self.options;
        format!(
            r#"0{{"sid":"{}","upgrades":[],"pingInterval":{},"pingTimeout":{},"maxPayload":{max_payload}}}"#,
            self.fresh_id(),
            ping_interval.as_millis(),
            ping_timeout.as_millis(),
        )
    }
}

/// Takes a connection off the wheel, also when its task panics.
struct End<'a> {
    lane: &'a Lane,
    connection: &'a Arc<Connection>,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.lane.wheel.remove(self.connection);
        self.connection.ended(crate::CloseReason::Internal);
    }
}

fn is_handshake(headers: &HeaderMap) -> bool {
    let has = |name, wanted: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value: &str| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(wanted)))
    };
    has(header::UPGRADE, "websocket")
        && has(header::CONNECTION, "upgrade")
        && has(header::SEC_WEBSOCKET_VERSION, "13")
        && headers.contains_key(header::SEC_WEBSOCKET_KEY)
}

fn accept_key(key: &HeaderValue) -> HeaderValue {
    let digest = Sha1::new().chain_update(key.as_bytes()).chain_update(KEY_SUFFIX).finalize();
    HeaderValue::from_str(&general_purpose::STANDARD.encode(digest)).unwrap_or(HeaderValue::from_static(""))
}

fn bad_request() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_answered_as_in_the_rfc() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept_key(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
