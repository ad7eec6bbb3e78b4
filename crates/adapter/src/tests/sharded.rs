//! Messages that Node servers with the sharded adapter really sent.

use serde::Deserialize;
use serde_json::Value;
use trunkline_hub::{Encoded, Targets};

use super::{same, unhex};
use crate::{
    request::What,
    sharded::{self, Content, Envelope},
};

#[derive(Deserialize)]
struct Vector {
    id: String,
    from: String,
    hex: String,
    decoded: Value,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../../tests/captures/sharded.json")).expect("captures are JSON")
}

#[test]
fn everything_that_node_sends_is_understood() {
    let mut kinds = std::collections::BTreeSet::new();
    for vector in vectors() {
        let payload = unhex(&vector.hex);
        let envelope = Envelope::open(&payload).unwrap_or_else(|e| panic!("{}: {e}", vector.id));
        assert_eq!(envelope.uid.as_deref(), vector.decoded["uid"].as_str(), "{}", vector.id);
        assert_eq!(envelope.namespace.as_deref(), vector.decoded["nsp"].as_str(), "{}", vector.id);
        kinds.insert(vector.decoded["type"].as_u64().expect("a type"));
        envelope.read().unwrap_or_else(|e| panic!("{}: {e}", vector.id));
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
}

#[test]
fn a_broadcast_of_ours_has_the_bytes_of_node_s() {
    let mut compared = 0;
    for vector in vectors().iter().filter(|v| v.decoded["type"] == 3 && v.from != "peer.pub") {
        let data = &vector.decoded["data"];
        let plain =
            data["requestId"].is_null() && data["opts"]["flags"].as_object().is_some_and(serde_json::Map::is_empty);
        let payload = unhex(&vector.hex);
        let Ok(Content::Request(request)) = Envelope::open(&payload).and_then(Envelope::read) else {
            panic!("{}", vector.id)
        };
        let What::Broadcast(broadcast) = request.what else { panic!("{}", vector.id) };
        // Names that are numbers come out as text, and so do dates, which JSON clients get as text.
        let numbers = data["opts"]["rooms"].as_array().is_some_and(|rooms| rooms.iter().any(Value::is_number));
        if !plain || numbers || vector.decoded.to_string().contains("$ext") {
            continue;
        }
        let (uid, namespace) = (request.uid.unwrap_or_default(), broadcast.namespace.unwrap_or_default());
        let ours = sharded::broadcast(&uid, &namespace, &broadcast.event, &broadcast.targets, false, None).unwrap();
        if payload.first() == Some(&b'{') {
            let [ours, theirs] = [&ours[..], &payload].map(|text| serde_json::from_slice::<Value>(text).unwrap());
            assert!(same(&ours, &theirs), "{}: {ours} and {theirs}", vector.id);
            assert_eq!(keys(&ours), keys(&theirs), "{}", vector.id);
        } else {
            assert_eq!(hex(&ours), vector.hex, "{}", vector.id);
        }
        compared += 1;
    }
    assert!(compared >= 20, "{compared} were compared");
}

#[test]
fn an_event_that_is_none_is_not_published() {
    for text in ["{}", "[]", "[null]", r#"["disconnect"]"#, "[1", r#"[{"a":1}]"#] {
        let event = Encoded::new(text, vec![]);
        assert!(sharded::broadcast("me", "/", &event, &Targets::everyone(), false, None).is_err(), "{text}");
    }
}

fn keys(value: &Value) -> Vec<String> {
    value.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
