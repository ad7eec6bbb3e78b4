//! Broadcasts: an event and whom it is for, as a msgpack array `[uid, packet, opts]`.
//!
//! Reading is total and as lenient as Node and the emitters of other languages need. Writing is strict: a
//! message that Node can't decode ends the Node process, so optional keys are left out and never null.

use std::time::Duration;

use bytes::Bytes;
use trunkline_hub::{Encoded, RoomName, Targets};

use crate::{
    limits::MESSAGE_BYTES,
    transcode::{DecodeError, EncodeError, Reader, Token, event_to_json, event_to_msgpack, lossy, write},
};

/// A packet that carries an event.
pub(crate) const EVENT: u64 = 2;
/// The same with attachments. Servers send `EVENT` in either case, some emitters don't.
const BINARY_EVENT: u64 = 5;

/// An event from another member and whom it is for.
#[derive(Debug, PartialEq)]
pub(crate) struct Broadcast {
    /// Absent means `/`.
    pub namespace: Option<String>,
    pub event: Encoded,
    pub targets: Targets,
    pub flags: Flags,
    /// The client may answer it, although nobody waits: a Node server that recovers connections numbers the events of
    /// its own sockets that want acks.
    pub numbered: bool,
    /// The message's id, when a message log completed this broadcast.
    pub stored: Option<String>,
    /// Its place among those of all logs, if it has one.
    pub stamp: Option<String>,
}

/// The option of ours that names a stored message. Node takes the options it knows and looks at no others.
const STORED: &str = "stored";

/// The one that says where it stands among those of all logs.
pub(crate) const STAMP: &str = "stamp";

/// How an event is to be sent, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    pub volatile: bool,
    /// How long the sender waits for acks.
    pub timeout: Option<Duration>,
}

/// Who sent the broadcast in `payload`, without reading the rest of it; `None` when the sender has no name.
pub(crate) fn sender(payload: &[u8]) -> Result<Option<&[u8]>, DecodeError> {
    let mut reader = Reader::new(payload);
    match reader.token()? {
        Token::Array(1..) => reader.text(),
        _ => Err(DecodeError::Field("the list of uid, packet and options")),
    }
}

/// A broadcast whose event is not read yet.
pub(crate) struct Unopened<'a> {
    packet: Packet<'a>,
    options: Options,
}

/// Reads all of a broadcast but its event.
pub(crate) fn unopened(payload: &[u8]) -> Result<Unopened<'_>, DecodeError> {
    let mut reader = Reader::new(payload);
    let Token::Array(length @ 3..) = reader.token()? else {
        return Err(DecodeError::Field("the list of uid, packet and options"));
    };
    reader.value()?;
    // Where they stand, and not cut out first: that would be one more walk over every message.
    let packet = read_packet(&mut reader)?;
    let options = read_options(&mut reader)?;
    for _ in 3..length {
        reader.value()?;
    }
    reader.end()?;
    Ok(Unopened { packet, options })
}

pub(crate) fn decode(payload: &[u8]) -> Result<Broadcast, DecodeError> {
    unopened(payload)?.open()
}

/// Reads a packet and its options, which broadcasts and requests for acks have in common.
pub(crate) fn read_broadcast(packet: &[u8], options: &[u8]) -> Result<Broadcast, DecodeError> {
    let packet = read_packet(&mut Reader::new(packet))?;
    Unopened { packet, options: read_options(&mut Reader::new(options))? }.open()
}

/// Reads the options of an event that is read already.
pub(crate) fn with_options(
    namespace: Option<String>,
    event: Encoded,
    numbered: bool,
    options: &[u8],
) -> Result<Broadcast, DecodeError> {
    Ok(broadcast(namespace, event, numbered, read_options(&mut Reader::new(options))?))
}

fn broadcast(namespace: Option<String>, event: Encoded, numbered: bool, options: Options) -> Broadcast {
    let Options { targets, flags, stored, stamp } = options;
    Broadcast { namespace, event, targets, flags, numbered, stored, stamp }
}

impl Unopened<'_> {
    pub(crate) fn namespace(&self) -> &str {
        self.packet.namespace.as_deref().unwrap_or("/")
    }

    /// Whom it is for and the message's id and stamp, if a message log completed it and it says no more.
    pub(crate) fn stored(&self) -> Option<(&Targets, &str, Option<&str>)> {
        let Options { targets, stored, stamp, .. } = &self.options;
        stored.as_deref().filter(|_| !self.packet.numbered).map(|id| (targets, id, stamp.as_deref()))
    }

    /// Reads the event.
    pub(crate) fn open(self) -> Result<Broadcast, DecodeError> {
        let Packet { namespace, data, numbered } = self.packet;
        Ok(broadcast(namespace, event_to_json(data)?, numbered, self.options))
    }
}

/// The part of a broadcast that clients get.
struct Packet<'a> {
    namespace: Option<String>,
    /// The event, as msgpack.
    data: &'a [u8],
    numbered: bool,
}

/// Whether a packet of this type is for clients as it is.
pub(crate) fn carries_an_event(kind: u64) -> Result<(), DecodeError> {
    if matches!(kind, EVENT | BINARY_EVENT) { Ok(()) } else { Err(DecodeError::PacketType(kind)) }
}

fn read_packet<'a>(reader: &mut Reader<'a>) -> Result<Packet<'a>, DecodeError> {
    let (mut kind, mut data, mut namespace, mut id) = (None, None, None, None);
    take_fields(reader, "packet", |key, value| {
        match key {
            b"type" => kind = Some(value),
            b"data" => data = Some(value),
            b"nsp" => namespace = Some(value),
            b"id" => id = Some(value),
            _ => {}
        }
        Ok(())
    })?;
    match kind.map(|kind| Reader::new(kind).token()).transpose()? {
        Some(Token::Unsigned(kind)) => carries_an_event(kind)?,
        _ => return Err(DecodeError::Field("packet.type")),
    }
    let namespace = match namespace.map(|namespace| Reader::new(namespace).token()).transpose()? {
        None | Some(Token::Nil) => None,
        Some(Token::Text(text)) => Some(lossy(text).into_owned()),
        Some(_) => return Err(DecodeError::Field("packet.nsp")),
    };
    let data = data.ok_or(DecodeError::NotAnEvent)?;
    let numbered = matches!(id.map(|id| Reader::new(id).token()).transpose()?, Some(Token::Unsigned(_)));
    Ok(Packet { namespace, data, numbered })
}

#[derive(Default)]
struct Options {
    targets: Targets,
    flags: Flags,
    stored: Option<String>,
    stamp: Option<String>,
}

fn read_options(reader: &mut Reader<'_>) -> Result<Options, DecodeError> {
    let mut read = Options::default();
    take_fields(reader, "opts", |key, value| {
        match key {
            b"rooms" => read.targets.rooms = read_rooms(value, "opts.rooms")?,
            b"except" => read.targets.except = read_rooms(value, "opts.except")?,
            b"flags" => read.flags = read_flags(value)?,
            _ if key == STORED.as_bytes() => read.stored = read_name(value)?,
            _ if key == STAMP.as_bytes() => read.stamp = read_name(value)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(read)
}

/// A text that is not empty; anything else is none.
fn read_name(value: &[u8]) -> Result<Option<String>, DecodeError> {
    Ok(match Reader::new(value).token()? {
        Token::Text(text) if !text.is_empty() => Some(lossy(text).into_owned()),
        _ => None,
    })
}

/// Absent, null and empty text mean none. Anything else that is no list of names is an error: read as none it would
/// address everyone.
fn read_rooms(value: &[u8], field: &'static str) -> Result<Vec<RoomName>, DecodeError> {
    let mut reader = Reader::new(value);
    let length = match reader.token()? {
        Token::Array(length) => length,
        Token::Nil | Token::Text(b"") => return Ok(Vec::new()),
        _ => return Err(DecodeError::Field(field)),
    };
    (0..length)
        .map(|_| match reader.token()? {
            Token::Text(text) => Ok(lossy(text).into()),
            // JavaScript servers may use numbers as names.
            Token::Unsigned(number) => Ok(number.to_string().into()),
            Token::Negative(number) => Ok(number.to_string().into()),
            _ => Err(DecodeError::Field(field)),
        })
        .collect()
}

fn read_flags(written: &[u8]) -> Result<Flags, DecodeError> {
    let mut flags = Flags::default();
    if matches!(Reader::new(written).token()?, Token::Nil | Token::Text(b"")) {
        return Ok(flags);
    }
    for_each_field(written, "opts.flags", |key, value| {
        match (key, Reader::new(value).token()?) {
            (b"volatile", token) => flags.volatile = matches!(token, Token::Bool(true)),
            (b"timeout", Token::Unsigned(ms)) => flags.timeout = Some(Duration::from_millis(ms)),
            _ => {}
        }
        Ok(())
    })?;
    Ok(flags)
}

/// Calls `f` with each text key of a map and its value. PHP writes an empty map as an empty array.
pub(crate) fn for_each_field<'a>(
    map: &'a [u8],
    field: &'static str,
    f: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    take_fields(&mut Reader::new(map), field, f)
}

/// The same for a map that `reader` stands before; then it stands behind it.
fn take_fields<'a>(
    reader: &mut Reader<'a>,
    field: &'static str,
    mut f: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let length = match reader.token()? {
        Token::Map(length) => length,
        Token::Array(0) => 0,
        _ => return Err(DecodeError::Field(field)),
    };
    for _ in 0..length {
        let key = reader.text()?;
        let value = reader.value()?;
        if let Some(key) = key {
            f(key, value)?;
        }
    }
    Ok(())
}

/// Encodes a broadcast as a Node server does.
pub(crate) fn encode(
    uid: &str,
    namespace: &str,
    event: &Encoded,
    targets: &Targets,
    volatile: bool,
) -> Result<Bytes, EncodeError> {
    let mut out = Vec::with_capacity(event.len() + 96);
    open(uid, &mut out);
    event_to_msgpack(event, &mut out)?;
    close(namespace, &mut out);
    write::map(&mut out, OPTIONS);
    write_options(targets, volatile, None, &mut out);
    if out.len() > MESSAGE_BYTES {
        return Err(EncodeError::TooLarge(out.len()));
    }
    Ok(out.into())
}

/// All that stands before the event.
pub(crate) fn open(uid: &str, out: &mut Vec<u8>) {
    write::array(out, 3);
    write::text(out, uid);
    open_packet(out);
}

fn open_packet(out: &mut Vec<u8>) {
    write::map(out, 3);
    write::text(out, "type");
    write::unsigned(out, EVENT);
    write::text(out, "data");
}

/// What stands between the event and the options.
fn close(namespace: &str, out: &mut Vec<u8>) {
    write::text(out, "nsp");
    write::text(out, namespace);
}

/// All that stands after the event of a message that is to be stored; its id comes behind it, then its stamp.
pub(crate) fn close_stored(namespace: &str, targets: &Targets, out: &mut Vec<u8>) {
    close(namespace, out);
    write::map(out, OPTIONS + 2);
    write_options(targets, false, None, out);
    write::text(out, STORED);
}

/// Options that Node writes.
const OPTIONS: usize = 3;

pub(crate) fn write_options(targets: &Targets, volatile: bool, timeout_ms: Option<u64>, out: &mut Vec<u8>) {
    write::text(out, "rooms");
    write_rooms(&targets.rooms, out);
    write::text(out, "except");
    write_rooms(&targets.except, out);
    write::text(out, "flags");
    write::map(out, usize::from(volatile) + usize::from(timeout_ms.is_some()));
    if volatile {
        write::text(out, "volatile");
        write::boolean(out, true);
    }
    if let Some(timeout) = timeout_ms {
        write::text(out, "timeout");
        write::unsigned(out, timeout);
    }
}

/// Encodes a request to broadcast an event and to send back the clients' acks.
pub(crate) fn encode_request(
    uid: &str,
    id: &str,
    namespace: &str,
    event: &Encoded,
    targets: &Targets,
    timeout_ms: u64,
) -> Result<Bytes, EncodeError> {
    let mut out = Vec::with_capacity(event.len() + 160);
    write::map(&mut out, 5);
    for (key, value) in [("uid", uid), ("requestId", id)] {
        write::text(&mut out, key);
        write::text(&mut out, value);
    }
    write::text(&mut out, "type");
    write::unsigned(&mut out, crate::request::BROADCAST);
    write::text(&mut out, "packet");
    open_packet(&mut out);
    event_to_msgpack(event, &mut out)?;
    close(namespace, &mut out);
    write::text(&mut out, "opts");
    write::map(&mut out, OPTIONS);
    write_options(targets, false, Some(timeout_ms), &mut out);
    if out.len() > MESSAGE_BYTES { Err(EncodeError::TooLarge(out.len())) } else { Ok(out.into()) }
}

fn write_rooms(rooms: &[RoomName], out: &mut Vec<u8>) {
    write::array(out, rooms.len());
    for room in rooms {
        write::text(out, room);
    }
}
