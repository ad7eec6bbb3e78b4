//! One client: Engine.IO v4 and Socket.IO v5 over a WebSocket, as far as load needs them.

use anyhow::{Context, bail};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What the server said.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// An event and its arguments.
    Event {
        /// Its name.
        name: String,
        /// Its first argument.
        payload: Value,
    },
    /// The answer to event number `id`.
    Ack {
        /// The number.
        id: u64,
        /// The first value.
        payload: Value,
    },
}

/// The writing half.
#[derive(Debug)]
pub(crate) struct Sender(SplitSink<Stream, Message>);

/// The reading half.
#[derive(Debug)]
pub(crate) struct Receiver(SplitStream<Stream>);

/// Opens a connection for `user` and waits until the namespace is connected.
pub(crate) async fn connect(url: &str, user: &str) -> anyhow::Result<(Sender, Receiver)> {
    let url = format!("{}/socket.io/?EIO=4&transport=websocket&userId={user}", url.trim_end_matches('/'));
    let (stream, _) = connect_async(&url).await.with_context(|| format!("could not connect to {url}"))?;
    let (mut sender, mut receiver) = stream.split();
    loop {
        match receiver.next().await.context("closed before CONNECT was answered")?? {
            Message::Text(text) if text.starts_with('0') => sender.send(Message::text("40")).await?,
            Message::Text(text) if text.starts_with("40") => return Ok((Sender(sender), Receiver(receiver))),
            Message::Text(text) if text.starts_with("44") => bail!("refused: {}", &text[2..]),
            Message::Text(text) if text == "2" => sender.send(Message::text("3")).await?,
            _ => {}
        }
    }
}

impl Sender {
    /// Sends an event; with a number when it is to be answered.
    pub(crate) async fn emit(&mut self, name: &str, payload: &Value, id: Option<u64>) -> anyhow::Result<()> {
        let number = id.map(|id| id.to_string()).unwrap_or_default();
        let args = serde_json::to_string(&(name, payload))?;
        Ok(self.0.send(Message::text(format!("42{number}{args}"))).await?)
    }

    /// Answers a ping.
    pub(crate) async fn pong(&mut self) -> anyhow::Result<()> {
        Ok(self.0.send(Message::text("3")).await?)
    }
}

impl Receiver {
    /// The next thing the server says: `None` for a ping, which wants a [`Sender::pong`].
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Incoming>> {
        loop {
            let Message::Text(text) = self.0.next().await.context("the server closed the connection")?? else {
                continue;
            };
            match text.as_bytes() {
                b"2" => return Ok(None),
                [b'4', b'2', ..] => {
                    let (name, payload): (String, Value) = first_two(&text[2..])?;
                    return Ok(Some(Incoming::Event { name, payload }));
                }
                [b'4', b'3', ..] => {
                    let digits = text[2..].find('[').context("an ack without arguments")? + 2;
                    let payload: Vec<Value> = serde_json::from_str(&text[digits..])?;
                    let payload = payload.into_iter().next().unwrap_or_default();
                    return Ok(Some(Incoming::Ack { id: text[2..digits].parse()?, payload }));
                }
                [b'1', ..] | [b'4', b'1', ..] => bail!("the server ended the session"),
                _ => {}
            }
        }
    }
}

fn first_two(args: &str) -> anyhow::Result<(String, Value)> {
    let mut args = serde_json::from_str::<Vec<Value>>(args)?.into_iter();
    let name = args.next().and_then(|name| name.as_str().map(str::to_owned)).context("an event without a name")?;
    Ok((name, args.next().unwrap_or_default()))
}
