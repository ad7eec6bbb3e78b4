//! One client: Engine.IO v4 and Socket.IO v5 over a WebSocket, as far as load needs them, at a cost that leaves the machine
//! to the servers: one buffer per connection, no masking (the key is zero), and nothing parsed that isn't looked at.

use std::fmt::Write;

use anyhow::{Context, bail};
use bytes::{Buf, BytesMut};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// The writing half.
#[derive(Debug)]
pub(crate) struct Sender(OwnedWriteHalf);

/// The reading half.
#[derive(Debug)]
pub(crate) struct Receiver {
    stream: OwnedReadHalf,
    buffer: BytesMut,
    /// Bytes at the front of `buffer` that were handed out already.
    used: usize,
}

/// What the server said.
#[derive(Debug)]
pub(crate) enum Incoming<'a> {
    /// An engine ping, which wants a [`Sender::pong`].
    Ping,
    /// `["event", …]`, and whatever else has no number.
    Event(&'a str),
    /// The answer to event number `id`, `[…]`.
    Ack { id: u64, args: &'a str },
}

/// Opens a connection for `user` to `ws://host:port` and waits until the namespace is connected.
pub(crate) async fn connect(url: &str, user: &str) -> anyhow::Result<(Sender, Receiver)> {
    let host = url.strip_prefix("ws://").context("a URL begins with ws://")?.trim_end_matches('/');
    let stream = TcpStream::connect(host).await.with_context(|| format!("could not connect to {host}"))?;
    stream.set_nodelay(true)?;
    let (stream, mut sender) = stream.into_split();
    let request = format!(
        "GET /socket.io/?EIO=4&transport=websocket&userId={user} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    sender.write_all(request.as_bytes()).await?;
    let (mut sender, mut receiver) = (Sender(sender), Receiver { stream, buffer: BytesMut::new(), used: 0 });
    receiver.answer().await?;
    loop {
        let text = receiver.text().await?;
        match text.as_bytes() {
            [b'0', ..] => sender.send("40").await?,
            [b'4', b'0', ..] => return Ok((sender, receiver)),
            [b'4', b'4', ..] => bail!("refused: {}", &text[2..]),
            [b'2'] => sender.pong().await?,
            _ => {}
        }
    }
}

impl Sender {
    /// Sends an event; with a number when it is to be answered.
    pub(crate) async fn emit(&mut self, name: &str, payload: &Value, id: Option<u64>) -> anyhow::Result<()> {
        let mut text = "42".to_owned();
        if let Some(id) = id {
            write!(text, "{id}")?;
        }
        text.push_str(&serde_json::to_string(&(name, payload))?);
        self.send(&text).await
    }

    /// Answers a ping.
    pub(crate) async fn pong(&mut self) -> anyhow::Result<()> {
        self.send("3").await
    }

    async fn send(&mut self, text: &str) -> anyhow::Result<()> {
        let mut frame = vec![0x81];
        match u16::try_from(text.len()) {
            Ok(length @ 0..=125) => frame.push(0x80 | length as u8),
            Ok(length) => {
                frame.push(0x80 | 126);
                frame.extend(length.to_be_bytes());
            }
            Err(_) => {
                frame.push(0x80 | 127);
                frame.extend((text.len() as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        Ok(self.0.write_all(&frame).await?)
    }
}

impl Receiver {
    /// The next thing the server says.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Incoming<'_>> {
        let text = self.text().await?;
        match text.as_bytes() {
            b"2" => Ok(Incoming::Ping),
            [b'4', b'3', ..] => {
                let begin = text.find('[').context("an ack without arguments")?;
                Ok(Incoming::Ack { id: text[2..begin].parse()?, args: &text[begin..] })
            }
            [b'1', ..] | [b'4', b'1', ..] => bail!("the server ended the session"),
            _ => Ok(Incoming::Event(text.get(2..).unwrap_or_default())),
        }
    }

    /// The answer to the handshake.
    async fn answer(&mut self) -> anyhow::Result<()> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.buffer.split_to(end + 4);
                let head = String::from_utf8_lossy(&head);
                let status = head.lines().next().unwrap_or_default();
                anyhow::ensure!(status.contains(" 101 "), "the handshake was refused: {status}");
                return Ok(());
            }
            self.fill().await?;
        }
    }

    /// The next text frame. Servers don't fragment what is this small.
    async fn text(&mut self) -> anyhow::Result<&str> {
        self.buffer.advance(self.used);
        self.used = 0;
        loop {
            if let Some((opcode, begin, end)) = frame(&self.buffer) {
                match opcode {
                    1 => {
                        self.used = end;
                        return Ok(std::str::from_utf8(&self.buffer[begin..end])?);
                    }
                    8 => bail!("the server closed the connection"),
                    _ => self.buffer.advance(end),
                }
            } else {
                self.fill().await?;
            }
        }
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        if self.buffer.is_empty() {
            // An idle client keeps no buffer: ten thousand of them fit beside the servers.
            self.buffer = BytesMut::new();
            self.stream.readable().await?;
        }
        self.buffer.reserve(4096);
        anyhow::ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the server closed the connection");
        Ok(())
    }
}

/// Opcode, begin of the payload, end of the frame; `None` when it isn't whole.
fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (begin, length) = match *bytes.get(1)? {
        126 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        short => (2, u64::from(short)),
    };
    let end = begin + usize::try_from(length).ok()?;
    (bytes.len() >= end).then_some((bytes[0] & 0x0f, begin, end))
}
