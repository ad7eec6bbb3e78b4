//! What a client brought along when it connected.

use std::{fmt, net::SocketAddr, time::SystemTime};

use http::HeaderMap;
use serde_json::Value;

/// The peer of the TCP connection: whoever accepts it puts this into the extensions of its requests.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub SocketAddr);

/// The request that opened the connection, and the `auth` payload of the CONNECT packet.
///
/// `Debug` shows neither headers, query nor `auth`: all three may hold tokens.
#[derive(Clone)]
pub struct Handshake {
    /// Headers of the first request, cookies included.
    pub headers: HeaderMap,
    /// Path and query of the first request.
    pub url: String,
    /// The `auth` payload, `Null` when there was none.
    pub auth: Value,
    /// The peer of the TCP connection.
    pub address: Option<SocketAddr>,
    /// When the connection was opened.
    pub time: SystemTime,
}

impl Handshake {
    /// The query part of the URL, without `?`; empty when there is none.
    pub fn query(&self) -> &str {
        self.url.split_once('?').map_or("", |(_, query)| query)
    }

    /// A header's value, when it is there once at least and readable text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").field("address", &self.address).field("time", &self.time).finish_non_exhaustive()
    }
}
