//! The opening handshake, RFC 6455 section 4.2. Most clients send it in one piece on a fresh connection; such a one is
//! read and answered here, at a fraction of what an HTTP server and its upgrade cost. What is anything else is left to the
//! HTTP server, errors included.

use std::net::SocketAddr;

use base64::{Engine, engine::general_purpose};
use http::uri::PathAndQuery;
use sha1::{Digest, Sha1};

use crate::{Handshake, lanes::PATH};

/// What the key of a handshake is answered with, RFC 6455 section 4.2.2.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Names subprotocols that a client would speak.
pub(super) const PROTOCOL: &str = "sec-websocket-protocol";

/// Headers of a handshake at the most, as many as the HTTP server takes.
const MAX_HEADERS: usize = 100;

/// A handshake for a new session, read from the first bytes of a connection.
#[derive(Debug)]
pub struct Opening<'a> {
    url: &'a str,
    headers: Vec<(&'a str, &'a [u8])>,
    key: &'a [u8],
}

impl<'a> Opening<'a> {
    /// Reads a request. `None` unless `bytes` are a whole handshake and nothing more.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let httparse::Status::Complete(length) = request.parse(bytes).ok()? else { return None };
        let url = request.path?;
        let (path, query) = url.split_once('?')?;
        let ours = length == bytes.len()
            // Whole: a fragment would be left out.
            && PathAndQuery::try_from(url).is_ok_and(|read| read.as_str() == url)
            && request.version == Some(1)
            && path.strip_suffix('/').unwrap_or(path) == PATH
            // No body may follow.
            && !has(request.headers, "content-length")
            && !has(request.headers, "transfer-encoding")
            && is_ours(request.method?, query, |name| values(request.headers, name).collect());
        let headers: Vec<_> = request.headers.iter().map(|header| (header.name, header.value)).collect();
        let key = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))?.1;
        ours.then_some(Self { url, headers, key })
    }

    /// A header's first value, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// Whether there is such a header, text or not.
    pub fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    /// The answer that agrees.
    pub(super) fn answer(&self) -> Vec<u8> {
        let accept = accept_key(self.key);
        let mut answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
        );
        if let Some(protocol) = self.header(PROTOCOL).and_then(first_protocol) {
            answer.extend(["Sec-WebSocket-Protocol: ", protocol, "\r\n"]);
        }
        answer.push_str("\r\n");
        answer.into_bytes()
    }

    pub(super) fn handshake(&self, peer: SocketAddr) -> Handshake {
        Handshake::of_lines(self.headers.iter().copied(), self.url, Some(peer))
    }
}

/// Whether a request asks for a WebSocket and a new session. `values` are those of a header.
pub(super) fn is_ours<'a>(method: &str, query: &str, values: impl Fn(&str) -> Vec<&'a [u8]>) -> bool {
    let pairs = || query.split('&').filter_map(|pair| pair.split_once('='));
    let lists = |name: &str, wanted: &str| {
        let lists = values(name);
        let mut parts = lists.iter().flat_map(|list| list.split(|&byte| byte == b','));
        parts.any(|part| part.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
    };
    method == "GET"
        && pairs().any(|pair| pair == ("transport", "websocket"))
        && pairs().any(|pair| pair == ("EIO", "4"))
        && !pairs().any(|(key, _)| key == "sid")
        && lists("upgrade", "websocket")
        && lists("connection", "upgrade")
        && lists("sec-websocket-version", "13")
        && !values("sec-websocket-key").is_empty()
}

/// The subprotocol that a client likes best, which is agreed to, as by Node's server: one that gets no answer gives up.
pub(super) fn first_protocol(offered: &str) -> Option<&str> {
    let first = offered.split(',').next()?.trim_ascii();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (!first.is_empty() && first.bytes().all(is_token)).then_some(first)
}

/// What a key is answered with.
pub(super) fn accept_key(key: &[u8]) -> String {
    general_purpose::STANDARD.encode(Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize())
}

fn values<'a>(headers: &[httparse::Header<'a>], name: &str) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

fn has(headers: &[httparse::Header<'_>], name: &str) -> bool {
    values(headers, name).next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "GET /socket.io/?EIO=4&transport=websocket&userId=a HTTP/1.1\r\nHost: chat.example\r\n\
        connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-A: 1: 2\r\n\r\n";

    #[test]
    fn a_plain_handshake_is_read_and_answered() {
        let opening = Opening::read(REQUEST.as_bytes()).unwrap();
        assert_eq!(opening.header("HOST"), Some("chat.example"));
        let answer = String::from_utf8(opening.answer()).unwrap();
        assert!(
            answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
            "as in the RFC: {answer}"
        );
        let handshake = opening.handshake(([127, 0, 0, 1], 1).into());
        assert_eq!(handshake.query(), "EIO=4&transport=websocket&userId=a");
        assert_eq!(handshake.header("x-a"), Some("1: 2"));
        assert!(handshake.headers().any(|header| header == ("upgrade", "WebSocket")));
    }

    #[test]
    fn the_subprotocol_that_is_offered_first_is_agreed_to() {
        let answer = |offered: &str| {
            let line = format!("\r\n\r\n{offered}");
            let request = REQUEST.replace("\r\n\r\n", &line[2..]) + "\r\n\r\n";
            String::from_utf8(Opening::read(request.as_bytes()).unwrap().answer()).unwrap()
        };
        assert!(
            answer("Sec-WebSocket-Protocol: chat.v1, chat").ends_with("\r\nSec-WebSocket-Protocol: chat.v1\r\n\r\n")
        );
        for offered in ["X-B: c", "Sec-WebSocket-Protocol: ", "Sec-WebSocket-Protocol: a b, c"] {
            assert!(!answer(offered).to_lowercase().contains(PROTOCOL), "{offered}");
        }
    }

    #[test]
    fn everything_else_is_left_to_the_http_server() {
        let cases = [
            ("GET /socket.io/", "POST /socket.io/"),
            ("GET /socket.io/", "GET /elsewhere/"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("EIO=4", "EIO=3"),
            ("websocket&", "polling&"),
            ("userId=a", "sid=a"),
            ("userId=a", "userId=<a>"),
            ("userId=a", "userId=a#b"),
            ("?", "#"),
            ("keep-alive, Upgrade", "keep-alive"),
            ("Upgrade: WebSocket", "Upgrade: h2c"),
            ("Version: 13", "Version: 8"),
            ("Sec-WebSocket-Key", "X-Key"),
            ("X-A: 1", "Content-Length: 1"),
            ("X-A: 1", "Transfer-Encoding: chunked"),
            ("X-A: 1", "X A: 1"),
            ("\r\n\r\n", "\r\n"),
            ("\r\n\r\n", "\r\n\r\nmore"),
        ];
        for (from, to) in cases {
            let request = REQUEST.replacen(from, to, 1);
            assert!(request != REQUEST && Opening::read(request.as_bytes()).is_none(), "{from} -> {to}");
        }
        assert!(Opening::read(&[]).is_none());
    }
}
