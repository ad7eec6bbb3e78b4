//! Messages of Node's sharded adapter: `{type, data, uid, nsp}`, all kinds on the same channels.
//!
//! JSON, or msgpack where there is binary data; a reader takes either for any type. What is in `data` is what the
//! classic adapter has in its requests and answers, under other numbers: here it is brought into their form.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use trunkline_hub::{Encoded, Targets};

use crate::{
    broadcast::{self, for_each_field, read_broadcast},
    limits::MESSAGE_BYTES,
    request::{self, Outgoing, Request, RequestId, What},
    response::{self, Answer, Body, Response},
    transcode::{
        DecodeError, EncodeError, Reader, Token, event_to_msgpack, first_to_msgpack, to_json, value_to_msgpack, write,
    },
};

const BROADCAST: u64 = 3;
const SOCKETS_JOIN: u64 = 4;
const SOCKETS_LEAVE: u64 = 5;
const DISCONNECT_SOCKETS: u64 = 6;
const FETCH_SOCKETS: u64 = 7;
const FETCH_SOCKETS_RESPONSE: u64 = 8;
const SERVER_SIDE_EMIT: u64 = 9;
const SERVER_SIDE_EMIT_RESPONSE: u64 = 10;
const BROADCAST_CLIENT_COUNT: u64 = 11;
const BROADCAST_ACK: u64 = 12;

/// A message whose contents are not looked into yet.
#[derive(Debug)]
pub(crate) struct Envelope<'a> {
    /// Who sent it.
    pub uid: Option<String>,
    /// Of which namespace. Servers before 8.3 don't say.
    pub namespace: Option<String>,
    kind: u64,
    data: Data<'a>,
}

#[derive(Debug)]
enum Data<'a> {
    Json(&'a str),
    Msgpack(&'a [u8]),
}

/// What a message says.
#[derive(Debug, PartialEq)]
pub(crate) enum Content {
    Request(Request),
    Answer(Option<RequestId>, Answer),
}

impl<'a> Envelope<'a> {
    pub(crate) fn open(payload: &'a [u8]) -> Result<Self, DecodeError> {
        if payload.first() == Some(&b'{') {
            return Self::open_json(payload);
        }
        let mut reader = Reader::new(payload);
        reader.value()?;
        reader.end()?;
        let (mut kind, mut data, mut uid, mut namespace) = (None, None, None, None);
        for_each_field(payload, "a map", |key, value| {
            match key {
                b"type" => kind = Some(value),
                b"data" => data = Some(value),
                b"uid" => uid = Reader::new(value).text()?,
                b"nsp" => namespace = Reader::new(value).text()?,
                _ => {}
            }
            Ok(())
        })?;
        let Some(Token::Unsigned(kind)) = kind.map(|kind| Reader::new(kind).token()).transpose()? else {
            return Err(DecodeError::Field("type"));
        };
        let text = |text: Option<&[u8]>| text.map(|text| String::from_utf8_lossy(text).into_owned());
        let data = Data::Msgpack(data.ok_or(DecodeError::Field("data"))?);
        Ok(Self { uid: text(uid), namespace: text(namespace), kind, data })
    }

    fn open_json(payload: &'a [u8]) -> Result<Self, DecodeError> {
        #[derive(Deserialize)]
        struct Outer<'a> {
            #[serde(rename = "type")]
            kind: u64,
            #[serde(borrow)]
            data: &'a RawValue,
            #[serde(default)]
            uid: Value,
            #[serde(default)]
            nsp: Value,
        }
        let text = std::str::from_utf8(payload).map_err(|_| DecodeError::Json)?;
        let Outer { kind, data, uid, nsp } = serde_json::from_str(text).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => DecodeError::Field("type and data"),
            _ => DecodeError::Json,
        })?;
        let text = |value| if let Value::String(text) = value { Some(text) } else { None };
        Ok(Self { uid: text(uid), namespace: text(nsp), kind, data: Data::Json(data.get()) })
    }

    /// Whether it is an answer to somebody's request.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(self.kind, FETCH_SOCKETS_RESPONSE | SERVER_SIDE_EMIT_RESPONSE | BROADCAST_CLIENT_COUNT | BROADCAST_ACK)
    }

    /// Whether it is a plain broadcast or something to be done.
    pub(crate) fn is_broadcast(&self) -> bool {
        self.kind == BROADCAST
    }

    /// Reads the contents.
    pub(crate) fn read(self) -> Result<Content, DecodeError> {
        if self.kind == BROADCAST {
            return self.read_broadcast();
        }
        let (text, attachments) = match self.data {
            Data::Json(text) => (text.into(), Vec::new()),
            Data::Msgpack(data) => {
                let Encoded { text, attachments } = to_json(data)?;
                (text.to_string(), attachments)
            }
        };
        let kind = match self.kind {
            SOCKETS_JOIN => request::REMOTE_JOIN,
            SOCKETS_LEAVE => request::REMOTE_LEAVE,
            DISCONNECT_SOCKETS => request::REMOTE_DISCONNECT,
            FETCH_SOCKETS => request::REMOTE_FETCH,
            SERVER_SIDE_EMIT => request::SERVER_SIDE_EMIT,
            FETCH_SOCKETS_RESPONSE | SERVER_SIDE_EMIT_RESPONSE | BROADCAST_CLIENT_COUNT | BROADCAST_ACK => {
                let id = read_id(&text)?;
                return Ok(Content::Answer(id, response::answer(&text, attachments)?));
            }
            other => return Err(DecodeError::RequestType(other)),
        };
        let what = request::what_is_asked(kind, &text, attachments)?;
        Ok(Content::Request(Request { uid: self.uid, id: read_id(&text)?, what }))
    }

    fn read_broadcast(self) -> Result<Content, DecodeError> {
        let (id, mut broadcast) = match self.data {
            Data::Json(text) => request::json_broadcast(text)?,
            Data::Msgpack(data) => read_msgpack_broadcast(data)?,
        };
        broadcast.namespace = self.namespace;
        Ok(Content::Request(Request { uid: self.uid, id, what: What::Broadcast(Box::new(broadcast)) }))
    }
}

fn read_msgpack_broadcast(data: &[u8]) -> Result<(Option<RequestId>, broadcast::Broadcast), DecodeError> {
    let (mut packet, mut options, mut id) = (None, None, None);
    for_each_field(data, "data", |key, value| {
        match key {
            b"packet" => packet = Some(value),
            b"opts" => options = Some(value),
            b"requestId" => id = Some(value),
            _ => {}
        }
        Ok(())
    })?;
    let packet = packet.ok_or(DecodeError::Field("packet"))?;
    let options = options.ok_or(DecodeError::Field("opts"))?;
    let id = id.map(to_json).transpose()?.and_then(|id| request::request_id(serde_json::from_str(&id.text).ok()?));
    Ok((id, read_broadcast(packet, options)?))
}

fn read_id(data: &str) -> Result<Option<RequestId>, DecodeError> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default, rename = "requestId")]
        id: Value,
    }
    let Head { id } = serde_json::from_str(data).map_err(|_| DecodeError::Field("data"))?;
    Ok(request::request_id(id))
}

/// A message of ours as JSON, with the keys in Node's order.
#[derive(Serialize)]
struct Message<'a, D> {
    #[serde(rename = "type")]
    kind: u64,
    data: D,
    uid: &'a str,
    nsp: &'a str,
}

/// Whom a message is about. Node always writes flags here.
#[derive(Serialize)]
struct Options<'a> {
    rooms: &'a [&'a str],
    except: &'a [&'a str],
    flags: Flags,
}

#[derive(Default, Serialize)]
struct Flags {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    volatile: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<u64>,
}

/// Encodes a broadcast as a Node server does: binary data makes it msgpack. With `wants_acks`, the name of the request and
/// for how many milliseconds they are waited for.
pub(crate) fn broadcast(
    uid: &str,
    namespace: &str,
    event: &Encoded,
    targets: &Targets,
    volatile: bool,
    wants_acks: Option<(&str, u64)>,
) -> Result<Bytes, EncodeError> {
    #[derive(Serialize)]
    struct Data<'a> {
        packet: Packet<'a>,
        #[serde(rename = "requestId", skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        opts: Options<'a>,
    }
    #[derive(Serialize)]
    struct Packet<'a> {
        #[serde(rename = "type")]
        kind: u64,
        data: &'a RawValue,
    }
    // Whatever is written in the end, this says whether it is an event at all.
    let mut msgpack = Vec::with_capacity(event.len() + 128);
    let data = if wants_acks.is_some() { 3 } else { 2 };
    open_broadcast(data, &mut msgpack);
    event_to_msgpack(event, &mut msgpack)?;
    let out: Bytes = if event.attachments.is_empty() {
        let (rooms, except) = (names(&targets.rooms), names(&targets.except));
        let data = serde_json::from_str(&event.text).map_err(EncodeError::Json)?;
        response::to_bytes(&Message {
            kind: BROADCAST,
            data: Data {
                packet: Packet { kind: broadcast::EVENT, data },
                id: wants_acks.map(|(id, _)| id),
                opts: Options {
                    rooms: &rooms,
                    except: &except,
                    flags: Flags { volatile, timeout: wants_acks.map(|(_, ms)| ms) },
                },
            },
            uid,
            nsp: namespace,
        })
    } else {
        if let Some((id, _)) = wants_acks {
            write::text(&mut msgpack, "requestId");
            write::text(&mut msgpack, id);
        }
        close_broadcast(uid, namespace, targets, volatile, wants_acks.map(|(_, ms)| ms), &mut msgpack);
        msgpack.into()
    };
    if out.len() > MESSAGE_BYTES { Err(EncodeError::TooLarge(out.len())) } else { Ok(out) }
}

/// All that stands before the event, in msgpack; `fields` is the size of `data`.
pub(crate) fn open_broadcast(fields: usize, out: &mut Vec<u8>) {
    write::map(out, 4);
    write::text(out, "type");
    write::unsigned(out, BROADCAST);
    write::text(out, "data");
    write::map(out, fields);
    write::text(out, "packet");
    write::map(out, 2);
    write::text(out, "type");
    write::unsigned(out, broadcast::EVENT);
    write::text(out, "data");
}

/// All that stands after the event, in msgpack.
pub(crate) fn close_broadcast(
    uid: &str,
    namespace: &str,
    targets: &Targets,
    volatile: bool,
    timeout: Option<u64>,
    out: &mut Vec<u8>,
) {
    write::text(out, "opts");
    write::map(out, 3);
    broadcast::write_options(targets, volatile, timeout, out);
    write::text(out, "uid");
    write::text(out, uid);
    write::text(out, "nsp");
    write::text(out, namespace);
}

/// Encodes a request about sockets. `None` for the one that this adapter does not have: naming all rooms.
pub(crate) fn request(uid: &str, namespace: &str, request: &Outgoing<'_>) -> Option<Bytes> {
    #[derive(Serialize)]
    struct Data<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        opts: Option<Options<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        rooms: Option<&'a [&'a str]>,
        #[serde(skip_serializing_if = "Option::is_none")]
        close: Option<bool>,
        #[serde(rename = "requestId", skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        packet: Option<&'a RawValue>,
    }
    let kind = match request.kind {
        request::REMOTE_JOIN => SOCKETS_JOIN,
        request::REMOTE_LEAVE => SOCKETS_LEAVE,
        request::REMOTE_DISCONNECT => DISCONNECT_SOCKETS,
        request::REMOTE_FETCH => FETCH_SOCKETS,
        request::SERVER_SIDE_EMIT => SERVER_SIDE_EMIT,
        _ => return None,
    };
    let opts = request.targets.as_ref();
    let opts = opts.map(|to| Options { rooms: &to.rooms, except: &to.except, flags: Flags::default() });
    let data =
        Data { opts, rooms: request.rooms.as_deref(), close: request.close, id: request.id, packet: request.data };
    Some(response::to_bytes(&Message { kind, data, uid, nsp: namespace }))
}

/// Encodes an answer of ours. `None` for those to requests that this adapter does not have.
pub(crate) fn response(uid: &str, namespace: &str, response: &Response<'_>) -> Option<Bytes> {
    #[derive(Serialize)]
    struct Data<'a> {
        #[serde(rename = "requestId")]
        id: &'a RequestId,
        #[serde(flatten)]
        body: &'a Body,
    }
    let kind = match &response.body {
        Body::Sockets { .. } => FETCH_SOCKETS_RESPONSE,
        Body::ClientCount(_) => BROADCAST_CLIENT_COUNT,
        Body::Data(_) | Body::Nothing {} if response.kind == Some(request::SERVER_SIDE_EMIT) => {
            SERVER_SIDE_EMIT_RESPONSE
        }
        _ => return None,
    };
    // Here the answer to an event between servers is called a packet.
    if let Body::Data(data) = &response.body {
        #[derive(Serialize)]
        struct Answered<'a> {
            #[serde(rename = "requestId")]
            id: &'a RequestId,
            packet: &'a RawValue,
        }
        let data = Answered { id: response.id, packet: data };
        return Some(response::to_bytes(&Message { kind, data, uid, nsp: namespace }));
    }
    let data = Data { id: response.id, body: &response.body };
    Some(response::to_bytes(&Message { kind, data, uid, nsp: namespace }))
}

/// A client's answer to a broadcast that wants acks. Without a first argument the key is left out.
pub(crate) fn broadcast_ack(uid: &str, namespace: &str, id: &RequestId, args: &Encoded) -> Result<Bytes, EncodeError> {
    let first = first_to_msgpack(args)?;
    let mut out = Vec::with_capacity(args.len() + 96);
    write::map(&mut out, 4);
    write::text(&mut out, "type");
    write::unsigned(&mut out, BROADCAST_ACK);
    write::text(&mut out, "data");
    write::map(&mut out, if first.is_some() { 2 } else { 1 });
    write::text(&mut out, "requestId");
    value_to_msgpack(&id.json(), &mut out)?;
    if let Some(first) = first {
        write::text(&mut out, "packet");
        out.extend(first);
    }
    write::text(&mut out, "uid");
    write::text(&mut out, uid);
    write::text(&mut out, "nsp");
    write::text(&mut out, namespace);
    // An ack without binary data is JSON.
    if args.attachments.is_empty()
        && let Ok(text) = to_json(&out)
    {
        return Ok(Bytes::from(text.text.to_string()));
    }
    Ok(out.into())
}

fn names(rooms: &[trunkline_hub::RoomName]) -> Vec<&str> {
    rooms.iter().map(|room| &**room).collect()
}
