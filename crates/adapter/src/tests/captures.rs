//! Messages that Node servers and `@socket.io/redis-emitter` really sent.

use serde::Deserialize;
use serde_json::{Value, json};
use trunkline_hub::{Encoded, Targets};

use super::{member, same, unhex};
use crate::{
    broadcast,
    channels::{Channels, Purpose},
    core::Outcome,
    describe::RemoteSocket,
    request::{self, Outgoing, RequestId, What},
    response::Response,
};

#[derive(Deserialize)]
struct Vector {
    id: String,
    from: String,
    channel: String,
    encoding: String,
    hex: String,
    decoded: Value,
    #[serde(default, rename = "framesOnOtherNodes")]
    frames: Value,
}

impl Vector {
    fn payload(&self) -> Vec<u8> {
        unhex(&self.hex)
    }

    /// The channel of a capture with the default prefix or with `my:app`.
    fn channels(&self) -> Channels {
        Channels::new(if self.channel.starts_with("my:app") { "my:app" } else { "socket.io" }, "me")
    }

    fn is_broadcast(&self) -> bool {
        matches!(self.channels().purpose(&self.channel), Some(Purpose::Broadcast { .. }))
    }

    fn is_request(&self) -> bool {
        matches!(self.channels().purpose(&self.channel), Some(Purpose::Request { .. }))
    }

    fn is_response(&self) -> bool {
        self.channel.contains("-response#")
    }

    fn uid(&self) -> &str {
        self.decoded[0].as_str().or(self.decoded["uid"].as_str()).unwrap_or("")
    }

    /// What the first client of a receiving node got: the event's text, and its attachments.
    fn frame(&self) -> Option<(Value, Vec<Vec<u8>>)> {
        let frames = self.frames.as_object()?.values().next()?.as_array()?;
        let text = frames.first()?.as_str()?;
        let text = text.get(text.find('[')?..)?;
        let attachments = frames[1..].iter().map(|frame| unhex(frame["$bin"].as_str().unwrap_or(""))).collect();
        Some((serde_json::from_str(text).expect("frames are JSON"), attachments))
    }
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../../tests/captures/vectors.json")).expect("captures are JSON")
}

/// Written with `parser: JSON`, which only servers of the same setting can read.
fn has_foreign_parser(vector: &Vector) -> bool {
    vector.encoding == "json"
}

#[test]
fn what_a_foreign_parser_wrote_is_malformed() {
    let vectors = vectors();
    let mut foreign = vectors.iter().filter(|v| v.is_broadcast() && has_foreign_parser(v)).peekable();
    assert!(foreign.peek().is_some());
    for vector in foreign {
        assert_eq!(
            member().receive_one(vector.channel.as_bytes(), &vector.payload()),
            Outcome::Malformed,
            "{}",
            vector.id
        );
    }
}

#[test]
fn clients_get_what_a_node_server_would_send_them() {
    let mut compared = 0;
    let vectors = vectors();
    for vector in vectors.iter().filter(|v| v.is_broadcast() && !has_foreign_parser(v)) {
        let decoded = broadcast::decode(&vector.payload()).unwrap_or_else(|e| panic!("{}: {e}", vector.id));
        let Some((expected, attachments)) = vector.frame() else { continue };
        // Of what several messages of one operation led to, the frames are no longer told apart.
        if vectors
            .iter()
            .filter(|other| other.id.rsplit_once('/').map(|x| x.0) == vector.id.rsplit_once('/').map(|x| x.0))
            .count()
            > 1
        {
            continue;
        }
        let text: Value = serde_json::from_str(&decoded.event.text).expect("we write JSON");
        assert!(same(&text, &expected), "{}: {} instead of {expected}", vector.id, decoded.event.text);
        assert_eq!(decoded.event.attachments, attachments, "{}", vector.id);
        compared += 1;
    }
    assert!(compared >= 40, "{compared} were compared");
}

#[test]
fn targets_are_read_as_sent() {
    for vector in vectors().iter().filter(|v| v.is_broadcast() && !has_foreign_parser(v)) {
        let decoded = broadcast::decode(&vector.payload()).unwrap();
        let names = |field: &str| -> Vec<String> {
            let list = vector.decoded[2][field].as_array().cloned().unwrap_or_default();
            list.iter().map(|room| room.as_str().map_or_else(|| room.to_string(), str::to_owned)).collect()
        };
        let texts = |rooms: &[trunkline_hub::RoomName]| rooms.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&decoded.targets.rooms), names("rooms"), "{}", vector.id);
        assert_eq!(texts(&decoded.targets.except), names("except"), "{}", vector.id);
        assert_eq!(decoded.flags.volatile, vector.decoded[2]["flags"]["volatile"] == json!(true), "{}", vector.id);
        assert_eq!(decoded.namespace.as_deref(), vector.decoded[1]["nsp"].as_str(), "{}", vector.id);
    }
}

/// What can't come out as it went in, and why.
fn differs_on_purpose(vector: &Vector) -> bool {
    // Emitters write the options in another order.
    vector.uid() == "emitter"
        // A member written by hand, which leaves the flags out.
        || vector.from == "peer.pub"
        // Dates are text to JSON clients, and NaN is null.
        || ["/values-date/", "/values-floats/", "/emit-values/"].iter().any(|part| vector.id.contains(part))
        // Numbers beyond a double's exact range, which notepack writes in the widest form.
        || vector.id.contains("/values-huge-numbers/")
        // An object that looks like a placeholder, beside a real one.
        || vector.id.contains("/values-placeholder-lookalike/")
        // Rooms are text here.
        || vector.id.contains("/emit-numeric-room/")
        // Flags that are the business of the sending server, and ids of acks.
        || ["compress", "timeout", "expectSingleResponse"].iter().any(|flag| vector.decoded[2]["flags"].get(flag).is_some())
        || vector.decoded[1].get("id").is_some()
}

#[test]
fn broadcasts_are_written_byte_for_byte_as_node_writes_them() {
    let mut compared = 0;
    for vector in vectors().iter().filter(|v| v.is_broadcast() && !has_foreign_parser(v) && !differs_on_purpose(v)) {
        let b = broadcast::decode(&vector.payload()).unwrap();
        let namespace = b.namespace.unwrap();
        let encoded = broadcast::encode(vector.uid(), &namespace, &b.event, &b.targets, b.flags.volatile).unwrap();
        assert_eq!(hex(&encoded), vector.hex, "{}", vector.id);
        assert_eq!(vector.channels().broadcast(&namespace, &b.targets.rooms), vector.channel, "{}", vector.id);
        compared += 1;
    }
    assert!(compared >= 29, "{compared} were compared");
}

#[test]
fn what_differs_on_purpose_still_means_the_same() {
    for vector in vectors().iter().filter(|v| v.is_broadcast() && !has_foreign_parser(v)) {
        let before = broadcast::decode(&vector.payload()).unwrap();
        let encoded = broadcast::encode("me", "/", &before.event, &before.targets, before.flags.volatile).unwrap();
        let after = broadcast::decode(&encoded).unwrap();
        if vector.id.contains("lookalike") {
            assert_eq!(after.event.attachments.len(), 2, "both become the attachment that both name");
            continue;
        }
        assert_eq!(
            (after.event, after.targets, after.flags.volatile),
            (before.event, before.targets, before.flags.volatile),
            "{}",
            vector.id
        );
    }
}

#[test]
fn requests_are_written_byte_for_byte_as_node_writes_them() {
    let mut compared = 0;
    for vector in vectors().iter().filter(|v| v.is_request() && v.decoded.get("uid").is_some()) {
        let (uid, id) = (vector.uid(), vector.decoded["requestId"].as_str().unwrap_or(""));
        let encoded = match request::decode(&vector.payload()).unwrap_or_else(|e| panic!("{}: {e}", vector.id)).what {
            What::Rooms => Outgoing::rooms(uid, id).encode(),
            What::Join(targets, rooms) => Outgoing::join(uid, &targets, &rooms).encode(),
            What::Leave(targets, rooms) => Outgoing::leave(uid, &targets, &rooms).encode(),
            What::Disconnect(targets, close) => Outgoing::disconnect(uid, &targets, close).encode(),
            What::Fetch(targets) => Outgoing::fetch(uid, id, &targets).encode(),
            What::ServerSideEmit(_) | What::Broadcast(_) => continue,
            other => panic!("{}: {other:?}", vector.id),
        };
        assert_eq!(hex(&encoded), vector.hex, "{}", vector.id);
        compared += 1;
    }
    assert!(compared >= 30, "{compared} were compared");
}

#[test]
fn every_captured_request_is_handled_and_answered_as_its_kind_wants() {
    for vector in vectors().iter().filter(|v| v.is_request() && v.channel.ends_with("#/#")) {
        let core = member();
        let outcome = core.receive_one(vector.channel.replace("my:app", "socket.io").as_bytes(), &vector.payload());
        let kind = vector.decoded["type"].as_u64().unwrap();
        let legacy = vector.decoded.get("sid").is_some();
        let expected = if legacy { Outcome::NotHere } else { Outcome::Handled };
        assert_eq!(outcome, expected, "{}", vector.id);
        let wants_answer = vector.decoded.get("requestId").is_some() && !legacy;
        let answers = super::published(&core);
        assert_eq!(answers.len(), usize::from(wants_answer), "{} of type {kind}: {answers:?}", vector.id);
        let Some((channel, answer)) = answers.first() else { continue };
        assert_eq!(channel, "socket.io-response#/#");
        let answer: Value = serde_json::from_str(answer).unwrap();
        let id = &vector.decoded["requestId"];
        let expected = match kind {
            0 | 5 => json!({ "requestId": id, "sockets": [] }),
            1 => json!({ "requestId": id, "rooms": [] }),
            6 => json!({ "type": 6, "requestId": id }),
            7 => json!({ "type": 8, "requestId": id, "clientCount": 0 }),
            other => panic!("type {other} has no answer"),
        };
        assert_eq!(answer, expected, "{}", vector.id);
    }
}

#[test]
fn answers_are_written_byte_for_byte_as_node_writes_them() {
    let mut compared = 0;
    for vector in vectors().iter().filter(|v| v.is_response() && v.encoding == "json" && v.from != "peer.pub") {
        let body = &vector.decoded;
        let id: RequestId = request::request_id(body["requestId"].clone()).unwrap();
        let encoded = if let Some(sockets) = body["sockets"].as_array() {
            if sockets.iter().any(Value::is_string) {
                Response::socket_ids(&id, serde_json::from_value(body["sockets"].clone()).unwrap())
            } else {
                let sockets: Vec<RemoteSocket> = serde_json::from_value(body["sockets"].clone()).unwrap();
                Response::sockets(&id, sockets)
            }
        } else if let Some(rooms) = body["rooms"].as_array() {
            Response::rooms(&id, rooms.iter().map(|room| room.as_str().unwrap().into()).collect())
        } else if let Some(count) = body["clientCount"].as_u64() {
            Response::client_count(&id, count as usize)
        } else if body["type"] == json!(6) && body.get("data").is_none() {
            Response::server_side_emit(&id, None)
        } else if body.as_object().unwrap().len() == 1 {
            Response::done(&id)
        } else {
            // Answers that this member never gives: data of a listener, acks of clients.
            continue;
        }
        .encode();
        assert_eq!(String::from_utf8_lossy(&encoded), String::from_utf8_lossy(&vector.payload()), "{}", vector.id);
        compared += 1;
    }
    assert!(compared >= 30, "{compared} were compared");
}

#[test]
fn every_captured_answer_is_read() {
    for vector in vectors().iter().filter(|v| v.is_response()) {
        let core = member();
        let outcome = core.pending.receive(&vector.payload()).unwrap_or_else(|e| panic!("{}: {e}", vector.id));
        assert!(!outcome, "nobody waits for {}", vector.id);
    }
}

#[tokio::test]
async fn an_answer_reaches_who_waits_for_it_in_either_encoding() {
    let core = member();
    for msgpack in [false, true] {
        let mut waiting = core.pending.register();
        let answer = json!({ "requestId": waiting.id, "rooms": ["r"], "sockets": [{ "id": "s" }, 5] }).to_string();
        let payload = if msgpack { crate::transcode::json_to_msgpack(&answer).unwrap() } else { answer.into_bytes() };
        assert_eq!(core.receive_one(b"socket.io-response#/#", &payload), Outcome::Handled);
        let answer = waiting.next().await.unwrap();
        assert_eq!(answer.rooms, ["r"]);
        assert_eq!(answer.sockets, [RemoteSocket { id: "s".into(), ..RemoteSocket::default() }]);
        let id = waiting.id.clone();
        drop(waiting);
        let late = json!({ "requestId": id }).to_string();
        assert_eq!(core.receive_one(b"socket.io-response#/#", late.as_bytes()), Outcome::NotHere);
    }
}

#[test]
fn a_specific_response_channel_is_used_for_all_answers_but_one() {
    let core = std::sync::Arc::into_inner(member()).expect("nobody else has it");
    let core = std::sync::Arc::new(crate::core::Core { specific_response_channel: true, ..core });
    let ask = |request: Value| {
        core.receive_one(b"socket.io-request#/#", request.to_string().as_bytes());
        super::published(&core).pop().unwrap().0
    };
    assert_eq!(ask(json!({ "uid": "you", "requestId": "q", "type": 1 })), "socket.io-response#/#you#");
    assert_eq!(ask(json!({ "requestId": "q", "type": 1 })), "socket.io-response#/#");
    assert_eq!(ask(json!({ "uid": "you", "requestId": "q", "type": 6, "data": ["x"] })), "socket.io-response#/#");
}

#[test]
fn own_messages_are_not_handled_again() {
    let core = member();
    let event = Encoded::bare_event("x");
    let payload = broadcast::encode("me", "/", &event, &Targets::everyone(), false).unwrap();
    assert_eq!(core.receive_one(b"socket.io#/#", &payload), Outcome::Own);
    for kind in 0..=7 {
        let request = json!({ "uid": "me", "requestId": "q", "type": kind, "opts": { "rooms": [] }, "rooms": [],
            "data": ["x"], "packet": { "type": 2, "data": ["x"] } });
        assert_eq!(core.receive_one(b"socket.io-request#/#", request.to_string().as_bytes()), Outcome::Own);
    }
    assert_eq!(super::published(&core), []);
}

/// The bytes that a Node server wrote for the same answers.
#[test]
fn a_clients_ack_is_written_as_node_writes_it() {
    let id = request::request_id("MaKTrI".into()).unwrap();
    let placeholder = r#"[{"_placeholder":true,"num":0}]"#;
    let cases = [
        (Encoded::new(placeholder, vec![vec![7, 8].into()]), "a67061636b6574c4020708"),
        (Encoded::new("[null]", vec![]), "a67061636b6574c0"),
        (Encoded::new(r#"["x",2]"#, vec![]), "a67061636b6574a178"),
    ];
    for (args, rest) in cases {
        let written = crate::response::broadcast_ack(&id, &args).unwrap();
        assert_eq!(hex(&written), format!("83a47479706509a9726571756573744964a64d614b547249{rest}"));
    }
    let written = crate::response::broadcast_ack(&id, &Encoded::new("[]", vec![])).unwrap();
    assert_eq!(hex(&written), "82a47479706509a9726571756573744964a64d614b547249");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
