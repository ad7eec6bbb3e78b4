//! One connection: Engine.IO v4 and Socket.IO v5 over a WebSocket, as far as load needs them, at a cost that leaves the machine
//! to the servers: a read buffer per thread, no masking (the key is zero), and nothing parsed that isn't looked at.
//!
//! Nothing here waits to write: what the peer doesn't take yet stays queued, so that a client that sends always reads too.

use std::{cell::RefCell, io, net::SocketAddr, time::Duration};

use anyhow::{Context, bail, ensure};
use tokio::{
    io::Interest,
    net::{TcpStream, lookup_host},
    time::timeout,
};

use crate::sources::Sources;

/// Bytes read in one system call, into a buffer that belongs to the thread.
const READ_BYTES: usize = 256 * 1024;

/// A connection that is not there after this long is counted as failed.
const OPENING: Duration = Duration::from_secs(30);

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Where to connect to, and what to say there.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    address: SocketAddr,
    host: String,
    /// Path and query of the handshake; `{user}` stands for the name.
    path: String,
    /// Empty for the main one, else `/name,`, as packets begin.
    namespace: String,
    /// Payload of CONNECT; `{user}` stands for the name.
    auth: String,
}

impl Target {
    /// `url` is `ws://host:port[/path]`.
    pub(crate) async fn new(url: &str, query: &str, namespace: &str, auth: &str) -> anyhow::Result<Self> {
        let rest = url.strip_prefix("ws://").with_context(|| format!("{url} does not begin with ws://"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = if path.is_empty() { "socket.io/" } else { path };
        let joint = if query.is_empty() { "" } else { "&" };
        let address = lookup_host(host).await.ok().and_then(|mut found| found.next());
        Ok(Self {
            address: address.with_context(|| format!("{url} names no host and port that can be found"))?,
            host: host.to_owned(),
            path: format!("/{path}?EIO=4&transport=websocket{joint}{query}"),
            namespace: if namespace == "/" { String::new() } else { format!("{namespace},") },
            auth: auth.to_owned(),
        })
    }

    fn named(text: &str, user: &str) -> String {
        text.replace("{user}", user)
    }
}

#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    namespace: String,
    /// The beginning of a frame whose end has not come. An idle client holds nothing: ten thousand of them fit beside the servers.
    rest: Vec<u8>,
    /// Frames to be written, of which `written` bytes are.
    out: Vec<u8>,
    written: usize,
}

/// What the server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incoming<'a> {
    /// CONNECT is answered.
    Connected,
    /// CONNECT is refused: why.
    Refused(&'a [u8]),
    /// `["event", …]`.
    Event(&'a [u8]),
    /// The answer to event number `id`, `[…]`.
    Ack { id: u64, args: &'a [u8] },
}

/// What stays between the connection and the one who reads from it.
enum Packet<'a> {
    Ping,
    Open,
    Ended,
    Said(Incoming<'a>),
    Other,
}

impl Connection {
    /// Opens a connection for `user` and waits until the namespace is connected.
    pub(crate) async fn open(target: &Target, user: &str, sources: &Sources) -> anyhow::Result<Self> {
        timeout(OPENING, Self::handshake(target, user, sources))
            .await
            .with_context(|| format!("{} did not answer within {} s", target.host, OPENING.as_secs()))?
    }

    async fn handshake(target: &Target, user: &str, sources: &Sources) -> anyhow::Result<Self> {
        let host = &target.host;
        let stream = sources.dial(target.address).await.with_context(|| format!("could not connect to {host}"))?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            Target::named(&target.path, user)
        );
        let namespace = target.namespace.clone();
        let mut connection = Self { stream, namespace, rest: Vec::new(), out: request.into_bytes(), written: 0 };
        connection.flush()?;
        connection.handshake_answer().await?;
        connection.frame(&format!("40{}{}", target.namespace, Target::named(&target.auth, user)));
        let mut answer = None;
        while answer.is_none() {
            connection.ready().await?;
            connection.read(|said| match said {
                Incoming::Connected => answer = Some(Ok(())),
                Incoming::Refused(why) => answer = Some(Err(String::from_utf8_lossy(why).into_owned())),
                _ => {}
            })?;
        }
        if let Some(Err(why)) = answer {
            bail!("the server refused: {why}");
        }
        Ok(connection)
    }

    /// The answer to the handshake. What comes behind it waits for the first [`read`](Self::read).
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

    /// Queues an event, `["name",payload]`, in three pieces; with a number when it is to be answered.
    /// Says how many bytes are queued.
    pub(crate) fn event(&mut self, pieces: [&str; 3], id: Option<u64>) -> usize {
        let id = id.map(|id| id.to_string()).unwrap_or_default();
        let length = 2 + self.namespace.len() + id.len() + pieces.iter().map(|piece| piece.len()).sum::<usize>();
        self.head(length);
        self.out.extend(b"42");
        self.out.extend(self.namespace.as_bytes());
        self.out.extend(id.as_bytes());
        pieces.iter().for_each(|piece| self.out.extend(piece.as_bytes()));
        self.out.len() - self.written
    }

    fn frame(&mut self, text: &str) {
        self.head(text.len());
        self.out.extend(text.as_bytes());
    }

    fn head(&mut self, length: usize) {
        self.out.push(0x81);
        match u16::try_from(length) {
            Ok(length @ 0..=125) => self.out.push(0x80 | length as u8),
            Ok(length) => {
                self.out.push(0x80 | 126);
                self.out.extend(length.to_be_bytes());
            }
            Err(_) => {
                self.out.push(0x80 | 127);
                self.out.extend((length as u64).to_be_bytes());
            }
        }
        self.out.extend([0; 4]);
    }

    /// Writes what the peer takes at once. The rest goes with a [`ready`](Self::ready).
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while self.written < self.out.len() {
            match self.stream.try_write(&self.out[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Waits until the server says something or takes what is queued: then [`read`](Self::read). Dropped while it waits, it has
    /// done nothing.
    ///
    /// # Errors
    /// The connection has ended.
    pub(crate) async fn ready(&mut self) -> io::Result<()> {
        self.flush()?;
        // What came with the answer to the handshake waits already.
        if frame(&self.rest).is_none() {
            let queued = self.written < self.out.len();
            let interest = if queued { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            self.stream.ready(interest).await?;
        }
        Ok(())
    }

    /// Hands what has come to `take`, if anything has. Pings are answered.
    ///
    /// # Errors
    /// The connection or the session has ended.
    pub(crate) fn read(&mut self, take: impl FnMut(Incoming<'_>)) -> anyhow::Result<()> {
        let waits = frame(&self.rest).is_some();
        self.read_some(waits, take)?;
        Ok(self.flush()?)
    }

    fn read_some(&mut self, waits: bool, mut take: impl FnMut(Incoming<'_>)) -> anyhow::Result<()> {
        let Self { stream, namespace, rest, out, .. } = self;
        let mut ended = false;
        let mut pings = 0;
        let mut each = |packet: Packet<'_>| match packet {
            Packet::Ping => pings += 1,
            Packet::Ended => ended = true,
            Packet::Said(said) => take(said),
            Packet::Open | Packet::Other => {}
        };
        SCRATCH.with_borrow_mut(|scratch| {
            if waits {
                let used = frames(rest, namespace, &mut each)?;
                *rest = rest[used..].to_vec();
                return anyhow::Ok(());
            }
            let read = match stream.try_read(scratch) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            ensure!(read > 0, "the server closed the connection");
            if rest.is_empty() {
                let used = frames(&scratch[..read], namespace, &mut each)?;
                rest.extend_from_slice(&scratch[used..read]);
            } else {
                rest.extend_from_slice(&scratch[..read]);
                let used = frames(rest, namespace, &mut each)?;
                *rest = rest[used..].to_vec();
            }
            Ok(())
        })?;
        ensure!(!ended, "the server ended the session");
        // A pong, masked with zero.
        (0..pings).for_each(|_| out.extend([0x81, 0x81, 0, 0, 0, 0, b'3']));
        Ok(())
    }
}

/// Hands each whole frame of `bytes` to `take`, and says how many bytes they were. Servers don't fragment what is this small.
fn frames(bytes: &[u8], namespace: &str, take: &mut impl FnMut(Packet<'_>)) -> anyhow::Result<usize> {
    let mut used = 0;
    while let Some((opcode, begin, end)) = frame(&bytes[used..]) {
        match opcode {
            1 => take(packet(&bytes[used + begin..used + end], namespace.as_bytes())?),
            8 => take(Packet::Ended),
            _ => {}
        }
        used += end;
    }
    Ok(used)
}

fn packet<'a>(text: &'a [u8], namespace: &[u8]) -> anyhow::Result<Packet<'a>> {
    let said = match text {
        b"2" => return Ok(Packet::Ping),
        [b'0', ..] => return Ok(Packet::Open),
        [b'1', ..] => return Ok(Packet::Ended),
        [b'4', kind, said @ ..] => match said.strip_prefix(namespace) {
            Some(said) => (kind, said),
            None => return Ok(Packet::Other),
        },
        _ => return Ok(Packet::Other),
    };
    Ok(match said {
        (b'0', _) => Packet::Said(Incoming::Connected),
        (b'1', _) => Packet::Ended,
        (b'2', event) => Packet::Said(Incoming::Event(event)),
        (b'3', ack) => {
            let begin = ack.iter().position(|&byte| byte == b'[').context("an ack without arguments")?;
            let id = std::str::from_utf8(&ack[..begin])?.parse().context("an ack without a number")?;
            Packet::Said(Incoming::Ack { id, args: &ack[begin..] })
        }
        (b'4', why) => Packet::Said(Incoming::Refused(why)),
        _ => Packet::Other,
    })
}

/// Opcode, begin of the payload, end of the frame; `None` when it isn't whole.
fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (begin, length) = match *bytes.get(1)? {
        126 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        short => (2, u64::from(short)),
    };
    let end = usize::try_from(length).ok()?.checked_add(begin)?;
    (bytes.len() >= end).then_some((bytes[0] & 0x0f, begin, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(bytes: &[u8], namespace: &str) -> Vec<String> {
        let mut all = Vec::new();
        frames(bytes, namespace, &mut |packet| {
            all.push(match packet {
                Packet::Said(Incoming::Event(event)) => String::from_utf8_lossy(event).into_owned(),
                Packet::Said(Incoming::Ack { id, args }) => format!("{id} {}", String::from_utf8_lossy(args)),
                Packet::Said(other) => format!("{other:?}"),
                Packet::Ping => "ping".into(),
                Packet::Open => "open".into(),
                Packet::Ended => "ended".into(),
                Packet::Other => "other".into(),
            });
        })
        .expect("well formed");
        all
    }

    fn server_frames(texts: &[&str]) -> Vec<u8> {
        texts.iter().flat_map(|text| [&[0x81, text.len() as u8], text.as_bytes()].concat()).collect()
    }

    #[test]
    fn packets_of_one_piece_are_told_apart() {
        let bytes = server_frames(&["0{}", "2", r#"42["e",1]"#, r#"4317[{"success":true}]"#, "41"]);
        assert_eq!(said(&bytes, ""), ["open", "ping", r#"["e",1]"#, r#"17 [{"success":true}]"#, "ended"]);
    }

    #[test]
    fn packets_of_another_namespace_are_not_ours() {
        let bytes = server_frames(&[r#"42/chat,["e"]"#, r#"42["e"]"#, "43/chat,3[]"]);
        assert_eq!(said(&bytes, "/chat,"), [r#"["e"]"#, "other", "3 []"]);
    }

    #[test]
    fn a_frame_whose_end_is_missing_waits() {
        let bytes = server_frames(&[r#"42["e",1]"#]);
        assert!((0..bytes.len()).all(|end| frame(&bytes[..end]).is_none()));
        assert_eq!(frame(&bytes), Some((1, 2, bytes.len())));
    }
}
