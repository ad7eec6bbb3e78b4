//! One client: Engine.IO v4 and Socket.IO v5 over a WebSocket, as far as load needs them, at a cost that leaves the machine
//! to the servers: a buffer per thread, no masking (the key is zero), and nothing parsed that isn't looked at.

use std::{cell::RefCell, fmt::Write, io};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt,
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// Bytes read in one system call, into a buffer that belongs to the thread.
const READ_BYTES: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// The writing half.
#[derive(Debug)]
pub(crate) struct Sender {
    stream: OwnedWriteHalf,
    /// What waits for [`flush`](Self::flush).
    frames: Vec<u8>,
}

/// The reading half.
#[derive(Debug)]
pub(crate) struct Receiver {
    stream: OwnedReadHalf,
    /// The beginning of a frame whose end has not come. An idle client holds nothing: ten thousand of them fit beside the servers.
    rest: Vec<u8>,
}

/// What the server said.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Incoming<'a> {
    /// An engine ping, which wants a [`Sender::pong`].
    Ping,
    /// The engine's first packet.
    Open,
    /// CONNECT is answered.
    Connected,
    /// CONNECT is refused: why.
    Refused(&'a [u8]),
    /// The server ended the session.
    Ended,
    /// `["event", …]`, and whatever else has no number.
    Event(&'a [u8]),
    /// The answer to event number `id`, `[…]`.
    Ack { id: u64, args: &'a [u8] },
}

/// Opens a connection for `user` to `ws://host:port` and waits until the namespace is connected.
pub(crate) async fn connect(url: &str, user: &str) -> anyhow::Result<(Sender, Receiver)> {
    let host = url.strip_prefix("ws://").context("a URL begins with ws://")?.trim_end_matches('/');
    let stream = TcpStream::connect(host).await.with_context(|| format!("could not connect to {host}"))?;
    stream.set_nodelay(true)?;
    let (reading, mut writing) = stream.into_split();
    let request = format!(
        "GET /socket.io/?EIO=4&transport=websocket&userId={user} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    writing.write_all(request.as_bytes()).await?;
    let mut sender = Sender { stream: writing, frames: Vec::new() };
    let mut receiver = Receiver { stream: reading, rest: Vec::new() };
    receiver.handshake_answer().await?;
    let mut connected = false;
    while !connected {
        let (mut opened, mut refused) = (false, None);
        receiver
            .read(|incoming| match incoming {
                Incoming::Open => opened = true,
                Incoming::Connected => connected = true,
                Incoming::Refused(why) => refused = Some(String::from_utf8_lossy(why).into_owned()),
                _ => {}
            })
            .await?;
        if let Some(why) = refused {
            bail!("refused: {why}");
        }
        if opened {
            sender.queue("40");
            sender.flush().await?;
        }
    }
    Ok((sender, receiver))
}

impl Sender {
    /// Queues an event; with a number when it is to be answered.
    pub(crate) fn emit(&mut self, name: &str, payload: &Value, id: Option<u64>) -> anyhow::Result<()> {
        let mut text = "42".to_owned();
        if let Some(id) = id {
            write!(text, "{id}")?;
        }
        text.push_str(&serde_json::to_string(&(name, payload))?);
        self.queue(&text);
        Ok(())
    }

    /// Queues the answer to a ping.
    pub(crate) fn pong(&mut self) {
        self.queue("3");
    }

    /// Sends what is queued.
    pub(crate) async fn flush(&mut self) -> anyhow::Result<()> {
        if !self.frames.is_empty() {
            self.stream.write_all(&std::mem::take(&mut self.frames)).await?;
        }
        Ok(())
    }

    fn queue(&mut self, text: &str) {
        self.frames.push(0x81);
        match u16::try_from(text.len()) {
            Ok(length @ 0..=125) => self.frames.push(0x80 | length as u8),
            Ok(length) => {
                self.frames.push(0x80 | 126);
                self.frames.extend(length.to_be_bytes());
            }
            Err(_) => {
                self.frames.push(0x80 | 127);
                self.frames.extend((text.len() as u64).to_be_bytes());
            }
        }
        self.frames.extend([0; 4]);
        self.frames.extend(text.as_bytes());
    }
}

impl Receiver {
    /// Waits until the server says something, and hands everything that has come to `take`.
    pub(crate) async fn read(&mut self, mut take: impl FnMut(Incoming<'_>)) -> anyhow::Result<()> {
        let mut ended = false;
        // What came with the answer to the handshake waits already.
        let mut used = self.frames_of_rest(&mut take, &mut ended)?;
        while !used {
            self.stream.readable().await?;
            let Self { stream, rest } = self;
            used = SCRATCH.with_borrow_mut(|scratch| {
                let read = match stream.try_read(scratch) {
                    Ok(read) => read,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error.into()),
                };
                ensure!(read > 0, "the server closed the connection");
                if rest.is_empty() {
                    let used = frames(&scratch[..read], &mut take, &mut ended)?;
                    rest.extend_from_slice(&scratch[used..read]);
                    return Ok(used > 0);
                }
                rest.extend_from_slice(&scratch[..read]);
                let used = frames(rest, &mut take, &mut ended)?;
                *rest = rest[used..].to_vec();
                Ok(used > 0)
            })?;
        }
        ensure!(!ended, "the server ended the session");
        Ok(())
    }

    fn frames_of_rest(&mut self, take: &mut impl FnMut(Incoming<'_>), ended: &mut bool) -> anyhow::Result<bool> {
        if self.rest.is_empty() {
            return Ok(false);
        }
        let used = frames(&self.rest, take, ended)?;
        self.rest = self.rest[used..].to_vec();
        Ok(used > 0)
    }

    /// The answer to the handshake. What comes behind it waits for [`read`](Self::read).
    async fn handshake_answer(&mut self) -> anyhow::Result<()> {
        loop {
            self.stream.readable().await?;
            match self.stream.try_read_buf(&mut self.rest) {
                Ok(read) => ensure!(read > 0, "the server closed the connection"),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            }
            if let Some(end) = self.rest.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.rest[..end]);
                let status = head.lines().next().unwrap_or_default();
                ensure!(status.contains(" 101 "), "the handshake was refused: {status}");
                self.rest = self.rest[end + 4..].to_vec();
                return Ok(());
            }
        }
    }
}

/// Hands each whole frame of `bytes` to `take`, and says how many bytes they were. Servers don't fragment what is this small.
fn frames(bytes: &[u8], take: &mut impl FnMut(Incoming<'_>), ended: &mut bool) -> anyhow::Result<usize> {
    let mut used = 0;
    while let Some((opcode, begin, end)) = frame(&bytes[used..]) {
        match opcode {
            1 => match incoming(&bytes[used + begin..used + end])? {
                Incoming::Ended => *ended = true,
                said => take(said),
            },
            8 => *ended = true,
            _ => {}
        }
        used += end;
    }
    Ok(used)
}

fn incoming(text: &[u8]) -> anyhow::Result<Incoming<'_>> {
    Ok(match text {
        b"2" => Incoming::Ping,
        [b'0', ..] => Incoming::Open,
        [b'4', b'0', ..] => Incoming::Connected,
        [b'4', b'4', why @ ..] => Incoming::Refused(why),
        [b'4', b'3', ack @ ..] => {
            let begin = ack.iter().position(|&byte| byte == b'[').context("an ack without arguments")?;
            Incoming::Ack { id: std::str::from_utf8(&ack[..begin])?.parse()?, args: &ack[begin..] }
        }
        [b'1', ..] | [b'4', b'1', ..] => Incoming::Ended,
        _ => Incoming::Event(text.get(2..).unwrap_or_default()),
    })
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
