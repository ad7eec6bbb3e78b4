//! What a client brought along when it connected.

use std::{fmt, net::SocketAddr, sync::Arc, time::SystemTime};

use http::HeaderMap;
use serde_json::Value;

/// The peer of the TCP connection: whoever accepts it puts this into the extensions of its requests.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub SocketAddr);

/// Room for the headers of most requests, while they are put together.
const HEADERS: usize = 512;

/// The request that opened the connection, and the `auth` payload of a CONNECT packet.
///
/// Kept for as long as the socket lives, therefore small: the texts alone, shared by the sockets of a connection.
/// `Debug` shows neither headers, query nor `auth`: all three may hold tokens.
#[derive(Clone)]
pub struct Handshake {
    opening: Arc<Opening>,
    /// JSON text, or empty.
    auth: Box<str>,
}

struct Opening {
    /// `name: value` lines.
    headers: Box<str>,
    url: Box<str>,
    address: Option<SocketAddr>,
    time: SystemTime,
}

impl Handshake {
    /// Of a request that came in now. Header values that are no UTF-8 are kept as far as they are.
    pub fn new(headers: &HeaderMap, url: &str, address: Option<SocketAddr>) -> Self {
        Self::of_lines(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())), url, address)
    }

    /// The same of headers as they stood in the request. No line break may be in a name or a value.
    pub(crate) fn of_lines<'a>(
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
        url: &str,
        address: Option<SocketAddr>,
    ) -> Self {
        let mut lines = String::with_capacity(HEADERS);
        for (name, value) in headers {
            lines.extend(name.chars().map(|c| c.to_ascii_lowercase()));
            lines.push_str(": ");
            lines.push_str(&String::from_utf8_lossy(value));
            lines.push('\n');
        }
        let opening = Opening { headers: lines.into(), url: url.into(), address, time: SystemTime::now() };
        Self { opening: Arc::new(opening), auth: "".into() }
    }

    /// The same connection with the `auth` payload of one of its CONNECT packets, as JSON text.
    #[must_use]
    pub fn with_auth(&self, json: &str) -> Self {
        Self { opening: Arc::clone(&self.opening), auth: json.into() }
    }

    /// The `auth` payload; `Null` when there was none, or none that is JSON.
    pub fn auth(&self) -> Value {
        serde_json::from_str(&self.auth).unwrap_or_default()
    }

    /// Headers of the first request, cookies included, in the order in which they came; names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.opening.headers.lines().filter_map(|line| line.split_once(": "))
    }

    /// A header's first value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Path and query of the first request.
    pub fn url(&self) -> &str {
        &self.opening.url
    }

    /// The query part of the URL, without `?`; empty when there is none.
    pub fn query(&self) -> &str {
        self.opening.url.split_once('?').map_or("", |(_, query)| query)
    }

    /// The peer of the TCP connection.
    pub fn address(&self) -> Option<SocketAddr> {
        self.opening.address
    }

    /// When the connection was opened.
    pub fn time(&self) -> SystemTime {
        self.opening.time
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("address", &self.address())
            .field("time", &self.time())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn headers_are_found_and_secrets_are_not_shown() {
        let mut headers = HeaderMap::new();
        headers.insert("Authorization", "Bearer hunter2".parse().unwrap());
        headers.append("x-a", "1: 2".parse().unwrap());
        headers.append("x-a", "3".parse().unwrap());
        let handshake = Handshake::new(&headers, "/socket.io/?token=hunter2", None).with_auth(r#"{"token":"hunter2"}"#);
        assert_eq!(handshake.header("authorization"), Some("Bearer hunter2"));
        assert_eq!(handshake.header("X-A"), Some("1: 2"));
        assert_eq!(handshake.headers().count(), 3);
        assert_eq!(handshake.query(), "token=hunter2");
        assert_eq!(handshake.auth(), json!({"token": "hunter2"}));
        assert_eq!(handshake.with_auth("nonsense").auth(), Value::Null);
        assert!(!format!("{handshake:?}").contains("hunter2"));
    }
}
