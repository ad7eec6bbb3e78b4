//! Requests between members: what travels on `P-request#N#`.
//!
//! A member that subscribes to that channel is counted, and must answer each request that asks for an answer exactly
//! once: answers don't say who gave them, so one too few is a timeout for the requester and one too many an incomplete result.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::{Value, value::RawValue};
use trunkline_hub::{Encoded, RoomName, Targets};

use crate::{
    broadcast::{self, Broadcast, for_each_field, read_broadcast},
    transcode::{DecodeError, Reader, Token, event_to_json, event_to_msgpack, json_to_msgpack, to_json},
};

pub(crate) const SOCKETS: u64 = 0;
pub(crate) const ALL_ROOMS: u64 = 1;
pub(crate) const REMOTE_JOIN: u64 = 2;
pub(crate) const REMOTE_LEAVE: u64 = 3;
pub(crate) const REMOTE_DISCONNECT: u64 = 4;
pub(crate) const REMOTE_FETCH: u64 = 5;
pub(crate) const SERVER_SIDE_EMIT: u64 = 6;
pub(crate) const BROADCAST: u64 = 7;
pub(crate) const BROADCAST_CLIENT_COUNT: u64 = 8;
pub(crate) const BROADCAST_ACK: u64 = 9;

/// A request of another member.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    /// Who asks. Emitters and old servers don't say.
    pub uid: Option<String>,
    /// To be repeated in the answer, as it is. Absent when no answer is wanted.
    pub id: Option<RequestId>,
    pub what: What,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum What {
    /// Name the sockets in these rooms.
    Sockets(Targets),
    /// Name all rooms.
    Rooms,
    Join(Targets, Vec<RoomName>),
    Leave(Targets, Vec<RoomName>),
    /// Disconnect; with `true` close the connection too.
    Disconnect(Targets, bool),
    /// The older forms of the last three, for one socket: only the node that has it answers.
    ToSocket(String, ToSocket),
    /// Describe these sockets.
    Fetch(Targets),
    /// An event between servers; `None` when it is none, which wants an answer all the same.
    ServerSideEmit(Option<Encoded>),
    /// Send an event to sockets and collect their acks.
    Broadcast(Box<Broadcast>),
}

#[derive(Debug, PartialEq)]
pub(crate) enum ToSocket {
    Join(RoomName),
    Leave(RoomName),
    Disconnect(bool),
}

/// A requester's name for its request: text or a number, never looked into.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct RequestId(Value);

impl RequestId {
    pub(crate) fn value(&self) -> &Value {
        &self.0
    }

    /// As it came, as JSON text.
    pub(crate) fn json(&self) -> String {
        self.0.to_string()
    }
}

pub(crate) fn decode(payload: &[u8]) -> Result<Request, DecodeError> {
    if payload.first() == Some(&b'{') {
        return decode_json(std::str::from_utf8(payload).map_err(|_| DecodeError::Json)?, Vec::new());
    }
    let mut reader = Reader::new(payload);
    reader.value()?;
    reader.end()?;
    let mut fields = Fields::default();
    for_each_field(payload, "a map", |key, value| {
        match key {
            b"type" => fields.kind = Some(value),
            b"packet" => fields.packet = Some(value),
            b"opts" => fields.options = Some(value),
            b"uid" => fields.uid = Some(value),
            b"requestId" => fields.id = Some(value),
            _ => {}
        }
        Ok(())
    })?;
    if fields.kind()? == Some(Token::Unsigned(BROADCAST)) {
        return fields.broadcast();
    }
    let Encoded { text, attachments } = to_json(payload)?;
    decode_json(&text, attachments)
}

/// The fields of a request in msgpack, each still encoded.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<&'a [u8]>,
    packet: Option<&'a [u8]>,
    options: Option<&'a [u8]>,
    uid: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
}

impl Fields<'_> {
    fn kind(&self) -> Result<Option<Token<'_>>, DecodeError> {
        self.kind.map(|kind| Reader::new(kind).token()).transpose()
    }

    fn broadcast(&self) -> Result<Request, DecodeError> {
        let packet = self.packet.ok_or(DecodeError::Field("packet"))?;
        let options = self.options.ok_or(DecodeError::Field("opts"))?;
        let uid = self.uid.map(|uid| Reader::new(uid).text()).transpose()?.flatten();
        let uid = uid.map(|uid| String::from_utf8_lossy(uid).into_owned());
        let id = self.id.map(to_json).transpose()?.and_then(|id| request_id(serde_json::from_str(&id.text).ok()?));
        Ok(Request { uid, id, what: What::Broadcast(Box::new(read_broadcast(packet, options)?)) })
    }
}

/// The part of a request that says what the rest is.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    uid: Value,
    #[serde(rename = "type")]
    kind: u64,
    #[serde(default, rename = "requestId")]
    id: Value,
    /// Socket.IO 2 writes this in lower case, and has other numbers for its requests.
    #[serde(default, rename = "requestid")]
    legacy: Value,
}

fn decode_json(text: &str, attachments: Vec<Bytes>) -> Result<Request, DecodeError> {
    let head: Head = serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => DecodeError::Field("type"),
        _ => DecodeError::Json,
    })?;
    if !head.legacy.is_null() {
        return Err(DecodeError::Legacy);
    }
    let what = what_is_asked(head.kind, text, attachments)?;
    Ok(Request { uid: head.uid.as_str().map(str::to_owned), id: request_id(head.id), what })
}

/// Reads the body of a request of this type, whose attachments are those of its event.
pub(crate) fn what_is_asked(kind: u64, text: &str, attachments: Vec<Bytes>) -> Result<What, DecodeError> {
    Ok(match kind {
        SOCKETS => {
            let Rooms { rooms } = body(text, "rooms")?;
            What::Sockets(Targets { rooms: rooms.unwrap_or_default().0, except: Vec::new() })
        }
        ALL_ROOMS => What::Rooms,
        REMOTE_JOIN => what(text, What::Join, ToSocket::Join)?,
        REMOTE_LEAVE => what(text, What::Leave, ToSocket::Leave)?,
        REMOTE_DISCONNECT => disconnect(text)?,
        REMOTE_FETCH => {
            let With { options } = body(text, "opts")?;
            What::Fetch(options.into())
        }
        SERVER_SIDE_EMIT => server_side_emit(text, attachments)?,
        BROADCAST => What::Broadcast(Box::new(json_broadcast(text)?.1)),
        other => return Err(DecodeError::RequestType(other)),
    })
}

/// The sharded adapter calls the event a packet.
fn server_side_emit(text: &str, attachments: Vec<Bytes>) -> Result<What, DecodeError> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        data: Option<&'a RawValue>,
        #[serde(borrow)]
        packet: Option<&'a RawValue>,
    }
    let Body { data, packet } = body(text, "data")?;
    let event = data.or(packet).map(|event| Encoded::new(event.get().to_owned(), attachments));
    Ok(What::ServerSideEmit(event.filter(|event| event.event_name().is_some())))
}

fn body<'a, T: Deserialize<'a>>(text: &'a str, field: &'static str) -> Result<T, DecodeError> {
    serde_json::from_str(text).map_err(|_| DecodeError::Field(field))
}

/// A join or leave, in its newer or its older form.
fn what(
    text: &str,
    many: impl FnOnce(Targets, Vec<RoomName>) -> What,
    one: impl FnOnce(RoomName) -> ToSocket,
) -> Result<What, DecodeError> {
    #[derive(Deserialize)]
    struct Body {
        opts: Option<Options>,
        rooms: Option<Names>,
        sid: Option<String>,
        room: Option<Name>,
    }
    match body(text, "opts and rooms")? {
        Body { opts: Some(options), rooms: Some(rooms), .. } => Ok(many(options.into(), rooms.0)),
        Body { opts: None, sid: Some(sid), room: Some(room), .. } => Ok(What::ToSocket(sid, one(room.0))),
        _ => Err(DecodeError::Field("opts and rooms")),
    }
}

fn disconnect(text: &str) -> Result<What, DecodeError> {
    #[derive(Deserialize)]
    struct Body {
        opts: Option<Options>,
        sid: Option<String>,
        #[serde(default)]
        close: Option<bool>,
    }
    let Body { opts, sid, close } = body(text, "opts")?;
    let close = close.unwrap_or(false);
    match (opts, sid) {
        (Some(options), _) => Ok(What::Disconnect(options.into(), close)),
        (None, Some(sid)) => Ok(What::ToSocket(sid, ToSocket::Disconnect(close))),
        (None, None) => Err(DecodeError::Field("opts")),
    }
}

/// Reads `requestId`, `packet` and `opts` of a JSON text: servers with a JSON parser of their own write even this one as
/// text, and sharded ones all that is not binary.
///
/// The options go through msgpack, so that there is one place which says what good ones are. So does the event; where it
/// has nothing to be mended, it is handed on as it was written.
pub(crate) fn json_broadcast(text: &str) -> Result<(Option<RequestId>, Broadcast), DecodeError> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(default, rename = "requestId")]
        id: Value,
        #[serde(borrow)]
        packet: Packet<'a>,
        #[serde(borrow)]
        opts: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Packet<'a> {
        #[serde(rename = "type")]
        kind: u64,
        #[serde(borrow)]
        data: &'a RawValue,
        nsp: Option<String>,
        id: Option<u64>,
    }
    let Body { id, packet, opts } = body(text, "packet and opts")?;
    broadcast::carries_an_event(packet.kind)?;
    let event = json_event(packet.data.get())?;
    let options = json_to_msgpack(opts.get()).map_err(|_| DecodeError::Field("opts"))?;
    Ok((request_id(id), broadcast::with_options(packet.nsp, event, packet.id.is_some(), &options)?))
}

fn json_event(text: &str) -> Result<Encoded, DecodeError> {
    let event = Encoded::new(text.to_owned(), Vec::new());
    let mut msgpack = Vec::with_capacity(text.len());
    event_to_msgpack(&event, &mut msgpack).map_err(|_| DecodeError::NotAnEvent)?;
    // Half of a surrogate pair is written as an escape, and replaced on the way.
    if text.contains("\\u") { event_to_json(&msgpack) } else { Ok(event) }
}

/// `null` is no id, and neither is anything that JavaScript would not have chosen.
pub(crate) fn request_id(id: Value) -> Option<RequestId> {
    (id.is_string() || id.is_number()).then_some(RequestId(id))
}

#[derive(Deserialize)]
struct Rooms {
    rooms: Option<Names>,
}

#[derive(Deserialize)]
struct With {
    #[serde(rename = "opts")]
    options: Options,
}

#[derive(Default, Deserialize)]
struct Options {
    rooms: Option<Names>,
    except: Option<Names>,
}

impl From<Options> for Targets {
    fn from(options: Options) -> Self {
        Self { rooms: options.rooms.unwrap_or_default().0, except: options.except.unwrap_or_default().0 }
    }
}

#[derive(Default)]
struct Names(Vec<RoomName>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<Name>::deserialize(deserializer)?;
        Ok(Self(names.into_iter().map(|name| name.0).collect()))
    }
}

struct Name(RoomName);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(name) => Ok(Self(name.into())),
            Value::Number(number) => Ok(Self(number.to_string().into())),
            _ => Err(D::Error::custom("a room's name is text or a number")),
        }
    }
}

/// A request of ours. Keys that don't apply are left out: to Node, `null` is something.
#[derive(Debug, Serialize)]
pub(crate) struct Outgoing<'a> {
    uid: &'a str,
    #[serde(rename = "requestId", skip_serializing_if = "Option::is_none")]
    pub id: Option<&'a str>,
    #[serde(rename = "type")]
    pub kind: u64,
    #[serde(rename = "opts", skip_serializing_if = "Option::is_none")]
    pub targets: Option<Selection<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rooms: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<&'a RawValue>,
}

/// Whom a request is about: what broadcasts call options, without flags.
#[derive(Debug, Serialize)]
pub(crate) struct Selection<'a> {
    pub rooms: Vec<&'a str>,
    pub except: Vec<&'a str>,
}

impl<'a> Outgoing<'a> {
    fn new(uid: &'a str, kind: u64) -> Self {
        Self { uid, id: None, kind, targets: None, rooms: None, close: None, data: None }
    }

    fn about(self, targets: &'a Targets) -> Self {
        Self { targets: Some(Selection { rooms: names(&targets.rooms), except: names(&targets.except) }), ..self }
    }

    pub(crate) fn join(uid: &'a str, targets: &'a Targets, rooms: &'a [RoomName]) -> Self {
        Self { rooms: Some(names(rooms)), ..Self::new(uid, REMOTE_JOIN).about(targets) }
    }

    pub(crate) fn leave(uid: &'a str, targets: &'a Targets, rooms: &'a [RoomName]) -> Self {
        Self { rooms: Some(names(rooms)), ..Self::new(uid, REMOTE_LEAVE).about(targets) }
    }

    pub(crate) fn disconnect(uid: &'a str, targets: &'a Targets, close: bool) -> Self {
        Self { close: Some(close), ..Self::new(uid, REMOTE_DISCONNECT).about(targets) }
    }

    pub(crate) fn fetch(uid: &'a str, id: &'a str, targets: &'a Targets) -> Self {
        Self { id: Some(id), ..Self::new(uid, REMOTE_FETCH).about(targets) }
    }

    pub(crate) fn rooms(uid: &'a str, id: &'a str) -> Self {
        Self { id: Some(id), ..Self::new(uid, ALL_ROOMS) }
    }

    /// An event between servers; with an id, one that wants answers.
    pub(crate) fn server_side_emit(uid: &'a str, id: Option<&'a str>, event: &'a RawValue) -> Self {
        Self { id, data: Some(event), ..Self::new(uid, SERVER_SIDE_EMIT) }
    }

    pub(crate) fn encode(&self) -> Bytes {
        crate::response::to_bytes(self)
    }
}

fn names(rooms: &[RoomName]) -> Vec<&str> {
    rooms.iter().map(|room| &**room).collect()
}
