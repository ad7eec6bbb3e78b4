//! What holds for any bytes that a client may send. Only the fuzzer and the tests see this: see `fuzz/`.

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{
    frame::{Decoder, HELD_BEYOND_LIMIT, Message, Next, Violation},
    opening::Opening,
    packet::{self, Incoming, Kind},
};
use crate::{Encoded, lanes::PATH};

/// Largest messages to try: none at all, and either side of what decides about a length's form.
const LIMITS: [usize; 6] = [0, 16, 125, 126, 400, 70_000];
const MOST_ATTACHMENTS: usize = 10;

/// Reads the first bytes of a connection as a handshake.
///
/// # Panics
/// When something passes that an HTTP server would refuse, or that is not whole.
pub fn opening(data: &[u8]) {
    let Some(opening) = Opening::read(data) else { return };
    assert!(Opening::read(&data[..data.len() - 1]).is_none(), "a handshake that is not whole");
    let handshake = opening.handshake(([127, 0, 0, 1], 1).into());
    let url: http::Uri = handshake.url().parse().expect("a URL");
    assert_eq!(url.path().trim_end_matches('/'), PATH);
    assert_eq!(url.query(), Some(handshake.query()));
    for (name, value) in handshake.headers() {
        http::HeaderName::from_bytes(name.as_bytes()).expect("a name");
        http::HeaderValue::from_str(value).expect("a value");
    }
    for name in ["host", "origin", "sec-websocket-key"] {
        assert_eq!(opening.has(name), handshake.header(name).is_some());
        assert!(opening.header(name).is_none_or(|value| handshake.header(name) == Some(value)));
    }
    let answer = opening.answer();
    assert!(answer.starts_with(b"HTTP/1.1 101 ") && answer.ends_with(b"=\r\n\r\n"));
}

/// Decodes frames: byte 0 selects a limit, bytes 1 to 3 the sizes of the pieces, and the rest is the stream.
///
/// # Panics
/// When the messages, or what ends them, depend on how the stream is cut, or more is held than allowed.
pub fn frame(data: &[u8]) {
    let Some((&[limit, cuts @ ..], stream)) = data.split_first_chunk::<4>() else { return };
    let largest = LIMITS[usize::from(limit) % LIMITS.len()];
    let cuts = cuts.map(|cut| usize::from(cut) + 1);
    let whole = read(stream, &[stream.len()], largest, Next::Go);
    for (sizes, after_each) in
        [(&cuts[..], Next::Go), (&[1], Next::Go), (&[stream.len()], Next::Pause), (&cuts, Next::Pause)]
    {
        assert_eq!(read(stream, sizes, largest, after_each), whole, "in pieces of {sizes:?}, {after_each:?}");
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close,
}

impl From<Message<'_>> for Seen {
    fn from(message: Message<'_>) -> Self {
        match message {
            Message::Text(text) => Self::Text(text.to_owned()),
            Message::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Message::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Message::Pong => Self::Pong,
            Message::Close => Self::Close,
        }
    }
}

/// Feeds `stream` in pieces of `sizes`, over and over.
fn read(stream: &[u8], sizes: &[usize], largest: usize, after_each: Next) -> (Vec<Seen>, Option<Violation>) {
    let mut decoder = Decoder::default();
    let mut seen = Vec::new();
    let mut sizes = sizes.iter().cycle();
    let mut rest = stream;
    while let Some(size) = sizes.next().filter(|_| !rest.is_empty()) {
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        rest = after;
        let mut input = piece.to_vec();
        loop {
            let next = decoder.read(&mut input, largest, |message| {
                seen.push(message.into());
                after_each
            });
            let allowed = largest + HELD_BEYOND_LIMIT + piece.len();
            assert!(decoder.held() <= allowed, "{} bytes are held of {allowed}", decoder.held());
            // Vectors double, and begin with 8.
            assert!(decoder.reserved() <= 2 * decoder.held() + 16, "{} bytes are reserved", decoder.reserved());
            match next {
                Ok(Next::Go) => break,
                Ok(Next::Pause) => input.clear(),
                Err(violation) => return (seen, Some(violation)),
            }
        }
        assert!(decoder.held() <= largest + HELD_BEYOND_LIMIT, "a read is held after it was handled");
    }
    (seen, None)
}

/// Reads a Socket.IO packet, and the same text as the arguments of an event.
///
/// # Panics
/// When a packet that was read is written in another meaning, or the arguments are not those that JSON has.
pub fn packet(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    arguments(text);
    let Ok(incoming) = Incoming::read(text, MOST_ATTACHMENTS) else { return };
    let Incoming { kind, namespace, id, data, attachments } = incoming;
    assert!(namespace.starts_with('/') && id.is_none_or(|id| id >= 0) && attachments <= MOST_ATTACHMENTS);
    arguments(data);
    let args = Encoded::new(data.to_owned(), vec![Bytes::new(); attachments]);
    let written = match (kind, id) {
        (Kind::Connect, _) => return,
        (Kind::Disconnect, Some(_)) => return,
        (Kind::Disconnect, None) => packet::disconnect(namespace),
        (Kind::Ack, Some(id)) => packet::ack(namespace, id, &args)[0].clone(),
        (Kind::Ack, None) => panic!("an ack without a number"),
        (Kind::Event, id) => packet::event(namespace, id, &args)[0].clone(),
    };
    assert_eq!(Incoming::read(engine_message(&written), MOST_ATTACHMENTS), Ok(incoming));
}

/// What a text frame of ours carries, less Engine.IO's type.
fn engine_message(frame: &[u8]) -> &str {
    let header = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    std::str::from_utf8(&frame[header + 1..]).expect("we write text")
}

fn arguments(text: &str) {
    let args = Encoded::new(text.to_owned(), Vec::new());
    let name = args.event_name();
    let payload = args.payload::<Value>();
    if name.is_some() {
        args.payload::<IgnoredAny>().expect("what has a name is an array");
    }
    // Where all of it is understood, the parts are what they are in the whole.
    let Ok(list) = serde_json::from_str::<Vec<Value>>(text) else { return };
    match list.first() {
        Some(Value::String(first)) => assert_eq!(name.as_deref(), Some(&**first)),
        Some(Value::Number(_)) => assert!(name.is_some()),
        _ => assert_eq!(name, None),
    }
    assert_eq!(payload.expect("the whole is understood").as_ref(), list.get(1));
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// What the fuzzer starts from, and whatever it has ever found.
    fn replay(target: &str, check: fn(&[u8])) {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let mut replayed = 0;
        for seed in fs::read_dir(&seeds).unwrap_or_else(|error| panic!("{}: {error}", seeds.display())) {
            let path = seed.unwrap().path();
            println!("{}", path.display());
            check(&fs::read(&path).unwrap());
            replayed += 1;
        }
        assert!(replayed >= 10, "{replayed} seeds of {target}");
    }

    #[test]
    fn every_seed_of_frames_holds() {
        replay("frame", super::frame);
    }

    #[test]
    fn every_seed_of_openings_holds() {
        replay("opening", super::opening);
    }

    #[test]
    fn every_seed_of_packets_holds() {
        replay("packet", super::packet);
    }
}
