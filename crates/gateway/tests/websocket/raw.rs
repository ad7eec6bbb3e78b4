//! A WebSocket client that does what it is told, right or wrong.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use trunkline_testkit::Node;

use crate::SOON;

/// Opcodes of RFC 6455.
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

pub(crate) struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A close frame with this code.
    Code(u16),
    /// End of file without one.
    Eof,
}

/// A handshake with more headers.
pub(crate) fn request(node: &Node, target: &str, more: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n",
        node.address()
    )
}

impl Raw {
    /// Opens a WebSocket as `user`, and takes the engine's open packet off.
    pub(crate) async fn open(node: &Node, user: &str) -> Self {
        let mut raw = Self::handshake(node, &format!("/socket.io/?EIO=4&transport=websocket&userId={user}")).await;
        let open = raw.text().await;
        assert!(open.starts_with('0'), "{open}");
        raw
    }

    /// Opens a WebSocket and connects to the main namespace, up to and without `connected`.
    pub(crate) async fn connect(node: &Node, user: &str) -> Self {
        let mut raw = Self::open(node, user).await;
        raw.send_text("40").await;
        raw.expect("40{").await;
        raw.expect("42[\"connected\"").await;
        raw
    }

    /// The status line of a handshake that is refused.
    pub(crate) async fn refused(node: &Node, target: &str) -> String {
        let (_, head) = Self::ask(node, target).await;
        head.lines().next().unwrap_or_default().to_owned()
    }

    async fn ask(node: &Node, target: &str) -> (Self, String) {
        let mut raw = Self::dial(node).await;
        raw.write(request(node, target, "").as_bytes()).await;
        let head = raw.head().await;
        (raw, head)
    }

    /// A connection on which nothing has been said.
    pub(crate) async fn dial(node: &Node) -> Self {
        Self { stream: TcpStream::connect(node.address()).await.unwrap(), buffer: Vec::new() }
    }

    pub(crate) async fn handshake(node: &Node, target: &str) -> Self {
        let (raw, head) = Self::ask(node, target).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.to_lowercase().contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        assert!(!head.to_lowercase().contains("sec-websocket-extensions"), "{head}");
        raw
    }

    /// The next answer's head.
    pub(crate) async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let rest = self.buffer.split_off(end + 4);
                return String::from_utf8(std::mem::replace(&mut self.buffer, rest)).unwrap();
            }
            assert_ne!(self.fill().await, 0, "closed during the handshake");
        }
    }

    /// Bytes as they are. Whether they were taken does not matter here.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let _ = timeout(SOON, self.stream.write_all(bytes)).await.expect("written in time");
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.write(&frame(0x80 | TEXT, text.as_bytes())).await;
    }

    async fn fill(&mut self) -> usize {
        let read = timeout(SOON, self.stream.read_buf(&mut self.buffer)).await.expect("something in time");
        // A reset is an end too.
        read.unwrap_or(0)
    }

    /// The next frame: opcode and payload; `None` at the end of the stream.
    pub(crate) async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((opcode, begin, end)) = parse(&self.buffer) {
                let rest = self.buffer.split_off(end);
                let frame = std::mem::replace(&mut self.buffer, rest);
                return Some((opcode, frame[begin..].to_vec()));
            }
            if self.fill().await == 0 {
                return None;
            }
        }
    }

    /// The next text. Answers engine pings on the way.
    pub(crate) async fn text(&mut self) -> String {
        loop {
            match self.frame().await {
                Some((TEXT, payload)) if payload == b"2" => self.send_text("3").await,
                Some((TEXT, payload)) => return String::from_utf8(payload).unwrap(),
                other => panic!("expected a text, got {other:?}"),
            }
        }
    }

    /// Skips texts until a pong.
    pub(crate) async fn pong(&mut self) -> Vec<u8> {
        loop {
            match self.frame().await {
                Some((PONG, payload)) => return payload,
                Some((TEXT, payload)) if payload == b"2" => self.send_text("3").await,
                Some((TEXT, payload)) if !payload.starts_with(b"43") => {}
                other => panic!("expected a pong, got {other:?}"),
            }
        }
    }

    /// Skips texts until one begins with this.
    pub(crate) async fn expect(&mut self, begin: &str) -> String {
        loop {
            let text = self.text().await;
            if text.starts_with(begin) {
                return text;
            }
        }
    }

    /// Waits for the end, for as long as `patience`, when nothing else is to come.
    pub(crate) async fn quiet_end(&mut self, patience: Duration) -> End {
        let mut byte = [0];
        let read = timeout(patience, self.stream.read(&mut byte)).await.expect("an end in time");
        assert_eq!(read.unwrap_or(0), 0, "nothing else was to come");
        End::Eof
    }

    /// Reads to the end.
    pub(crate) async fn end(&mut self) -> End {
        loop {
            match self.frame().await {
                Some((CLOSE, payload)) => return End::Code(u16::from_be_bytes([payload[0], payload[1]])),
                Some(_) => {}
                None => return End::Eof,
            }
        }
    }
}

/// A frame as a client must send it: masked. `first` is the first byte.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | u8::try_from(length).unwrap()),
        length @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Opcode, begin of the payload, end of the frame; `None` when it isn't whole. A server's frame is not masked, and this
/// server sends each message as one frame, its length in the shortest form.
fn parse(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (begin, length) = match *bytes.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap()))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap())).unwrap()),
        short => (2, usize::from(short)),
    };
    assert_eq!(bytes[0] & 0xf0, 0x80, "the last fragment, without reserved bits");
    let shortest = match length {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    assert_eq!(begin, shortest, "the shortest form of {length}");
    (bytes.len() >= begin + length).then_some((bytes[0] & 0x0f, begin, begin + length))
}
