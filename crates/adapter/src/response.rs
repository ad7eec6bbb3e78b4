//! Answers between members: what travels on `P-response#N#` and `P-response#N#U#`.

use std::{borrow::Cow, sync::Arc};

use ahash::AHashMap;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use tokio::sync::mpsc;
use trunkline_hub::Encoded;

use crate::{
    describe::RemoteSocket,
    limits::ANSWERS,
    metrics,
    request::{BROADCAST_ACK, BROADCAST_CLIENT_COUNT, RequestId, SERVER_SIDE_EMIT},
    transcode::{DecodeError, EncodeError, first_to_msgpack, to_json, value_to_msgpack, write},
};

/// An answer of ours, always JSON. Keys that don't apply are left out.
#[derive(Debug, Serialize)]
pub(crate) struct Response<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<u64>,
    #[serde(rename = "requestId")]
    pub id: &'a RequestId,
    #[serde(flatten)]
    pub body: Body,
}

/// What is answered.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Body {
    Rooms(Vec<Arc<str>>),
    ClientCount(usize),
    Data(Box<RawValue>),
    #[serde(untagged)]
    SocketIds {
        sockets: Vec<String>,
    },
    #[serde(untagged)]
    Sockets {
        sockets: Vec<RemoteSocket>,
    },
    #[serde(untagged)]
    Nothing {},
}

impl<'a> Response<'a> {
    /// To a request for socket ids.
    pub(crate) fn socket_ids(id: &'a RequestId, sockets: Vec<String>) -> Self {
        Self { kind: None, id, body: Body::SocketIds { sockets } }
    }

    /// To a request for all rooms.
    pub(crate) fn rooms(id: &'a RequestId, rooms: Vec<Arc<str>>) -> Self {
        Self { kind: None, id, body: Body::Rooms(rooms) }
    }

    /// To a request for descriptions.
    pub(crate) fn sockets(id: &'a RequestId, sockets: Vec<RemoteSocket>) -> Self {
        Self { kind: None, id, body: Body::Sockets { sockets } }
    }

    /// To the older requests about one socket.
    pub(crate) fn done(id: &'a RequestId) -> Self {
        Self { kind: None, id, body: Body::Nothing {} }
    }

    /// To an event between servers: JSON of what the listener answers, if anything.
    pub(crate) fn server_side_emit(id: &'a RequestId, data: Option<Box<RawValue>>) -> Self {
        Self { kind: Some(SERVER_SIDE_EMIT), id, body: data.map_or(Body::Nothing {}, Body::Data) }
    }

    /// To a broadcast that wants acks: from how many clients they will come.
    pub(crate) fn client_count(id: &'a RequestId, count: usize) -> Self {
        Self { kind: Some(BROADCAST_CLIENT_COUNT), id, body: Body::ClientCount(count) }
    }

    pub(crate) fn encode(&self) -> Bytes {
        to_bytes(self)
    }
}

/// A client's answer to a broadcast that wants acks: msgpack, since it may hold attachments. Without a first argument
/// the key is left out.
pub(crate) fn broadcast_ack(id: &RequestId, args: &Encoded) -> Result<Bytes, EncodeError> {
    let first = first_to_msgpack(args)?;
    let mut out = Vec::with_capacity(args.len() + 64);
    write::map(&mut out, if first.is_some() { 3 } else { 2 });
    write::text(&mut out, "type");
    write::unsigned(&mut out, BROADCAST_ACK);
    write::text(&mut out, "requestId");
    value_to_msgpack(&id.json(), &mut out)?;
    if let Some(first) = first {
        write::text(&mut out, "packet");
        out.extend(first);
    }
    Ok(out.into())
}

/// JSON of a message of ours.
pub(crate) fn to_bytes(message: &impl Serialize) -> Bytes {
    // Strings, numbers and lists under string keys: there is nothing in them that can't be JSON.
    serde_json::to_vec(message).expect("our own messages serialize").into()
}

/// What another member answered to a request of ours.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub sockets: Vec<RemoteSocket>,
    pub rooms: Vec<String>,
    /// How many clients got an event that wants acks. Their acks come later, in answers of their own.
    pub clients: Option<usize>,
    /// JSON of what a client or a listener answered.
    pub value: Option<Encoded>,
}

/// Requests that this node sent and still awaits. An entry lives as long as its [`Waiting`], so a caller that
/// gives up leaves nothing behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending(Arc<Mutex<AHashMap<String, mpsc::Sender<Answer>>>>);

/// The receiving end of one request.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub id: String,
    answers: mpsc::Receiver<Answer>,
    pending: Pending,
}

impl Pending {
    /// Registers a request. Before it is published: an answer may come at once.
    pub(crate) fn register(&self) -> Waiting {
        let id = format!("{:016x}", rand::random::<u64>());
        let (sender, answers) = mpsc::channel(ANSWERS);
        self.0.lock().insert(id.clone(), sender);
        Waiting { id, answers, pending: self.clone() }
    }

    /// Hands an answer to whoever waits for it. Whether it was one to a request of ours.
    pub(crate) fn receive(&self, payload: &[u8]) -> Result<bool, DecodeError> {
        #[derive(Deserialize)]
        struct Head {
            #[serde(default, rename = "requestId")]
            id: Value,
        }
        let (text, attachments) = text(payload)?;
        let Head { id } = serde_json::from_str(&text).map_err(|_| DecodeError::Json)?;
        // Most answers that come in are to others.
        match self.waiting(&id) {
            Some(waiting) => hand_over(&waiting, answer(&text, attachments)?),
            None => return Ok(false),
        }
        Ok(true)
    }

    /// The same for an answer that is read already.
    pub(crate) fn receive_answer(&self, id: Option<&RequestId>, answer: Answer) -> bool {
        let waiting = id.and_then(|id| self.waiting(id.value()));
        waiting.inspect(|waiting| hand_over(waiting, answer)).is_some()
    }

    fn waiting(&self, id: &Value) -> Option<mpsc::Sender<Answer>> {
        self.0.lock().get(id.as_str()?).cloned()
    }
}

impl Waiting {
    /// The next answer; never returns when there is none.
    pub(crate) async fn next(&mut self) -> Option<Answer> {
        self.answers.recv().await
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.pending.0.lock().remove(&self.id);
    }
}

fn hand_over(waiting: &mpsc::Sender<Answer>, answer: Answer) {
    // More answers than fit are more than any cluster has members.
    if waiting.try_send(answer).is_err() {
        metrics::malformed(metrics::Kind::Response, "too_many");
    }
}

/// JSON and msgpack are both allowed for every answer.
fn text(payload: &[u8]) -> Result<(Cow<'_, str>, Vec<Bytes>), DecodeError> {
    if payload.first() == Some(&b'{') {
        return std::str::from_utf8(payload).map(|text| (text.into(), Vec::new())).map_err(|_| DecodeError::Json);
    }
    let Encoded { text, attachments } = to_json(payload)?;
    Ok((text.to_string().into(), attachments))
}

/// An answer without a list counts as an answer all the same, since its sender will not send another.
/// An element that is no socket is left out.
pub(crate) fn answer(text: &str, attachments: Vec<Bytes>) -> Result<Answer, DecodeError> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(default)]
        sockets: Value,
        #[serde(default)]
        rooms: Value,
        #[serde(default, rename = "clientCount")]
        clients: Value,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
        #[serde(borrow)]
        packet: Option<&'a RawValue>,
    }
    let Body { sockets, rooms, clients, data, packet } = serde_json::from_str(text).map_err(|_| DecodeError::Json)?;
    Ok(Answer {
        sockets: elements(sockets).filter_map(|socket| serde_json::from_value(socket).ok()).collect(),
        rooms: elements(rooms).filter_map(|room| serde_json::from_value(room).ok()).collect(),
        clients: clients.as_u64().and_then(|count| usize::try_from(count).ok()),
        value: data.or(packet).map(|data| Encoded::new(data.get().to_owned(), attachments)),
    })
}

fn elements(list: Value) -> impl Iterator<Item = Value> {
    match list {
        Value::Array(elements) => elements,
        _ => Vec::new(),
    }
    .into_iter()
}
