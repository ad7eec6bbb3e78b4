//! What holds for any input.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use trunkline_hub::{Encoded, Targets};

use super::{member, same};
use crate::{
    broadcast,
    template::{self, Fill, Part, Payload},
    transcode::{EncodeError, event_to_msgpack, to_json},
};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 200, 40, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..40).prop_map(Value::from),
            proptest::collection::vec((".{0,8}", inner), 0..20)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Every message there is, as a starting point for damage.
fn captured() -> Vec<(String, Vec<u8>)> {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../tests/captures/vectors.json")).unwrap();
    vectors
        .iter()
        .map(|v| (v["channel"].as_str().unwrap().to_owned(), super::unhex(v["hex"].as_str().unwrap())))
        .collect()
}

proptest! {
    #[test]
    fn json_survives_the_wire(args in proptest::collection::vec(any_json(), 0..5)) {
        let mut data = vec![json!("event")];
        data.extend(args);
        let event = Encoded::new(Value::Array(data).to_string(), vec![]);
        let payload = broadcast::encode("me", "/", &event, &Targets::everyone(), false).unwrap();
        let decoded = broadcast::decode(&payload).unwrap();
        let (before, after) = (parse(&event), parse(&decoded.event));
        prop_assert!(same(&before, &after), "{before} became {after}");
    }

    /// Read by a library that knows nothing of us: otherwise writer and reader could be wrong together.
    #[test]
    fn another_reader_of_msgpack_reads_the_same(args in proptest::collection::vec(any_json(), 0..5)) {
        let mut data = vec![json!("event")];
        data.extend(args);
        let event = Encoded::new(Value::Array(data).to_string(), vec![]);
        let payload = broadcast::encode("me", "/chat", &event, &Targets::room("r"), true).unwrap();
        let read: Value = rmp_serde::from_slice(&payload).unwrap();
        let around = json!(["me", { "type": 2, "data": read[1]["data"], "nsp": "/chat" },
            { "rooms": ["r"], "except": [], "flags": { "volatile": true } }]);
        prop_assert_eq!(&read, &around);
        prop_assert!(same(&parse(&event), &read[1]["data"]), "{} became {}", event.text, read[1]["data"]);
    }

    #[test]
    fn attachments_survive_the_wire(attachments in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..8)) {
        let placeholders: Vec<_> = (0..attachments.len()).map(|num| json!({ "_placeholder": true, "num": num })).collect();
        let text = json!(["bin", { "deep": placeholders }, "tail"]).to_string();
        let event = Encoded::new(text, attachments.into_iter().map(Bytes::from).collect());
        let payload = broadcast::encode("me", "/", &event, &Targets::room("r").except("x"), true).unwrap();
        let decoded = broadcast::decode(&payload).unwrap();
        prop_assert_eq!(decoded.event, event);
        prop_assert_eq!(decoded.targets, Targets::room("r").except("x"));
        prop_assert!(decoded.flags.volatile);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let core = member();
        for channel in ["socket.io#/#", "socket.io-request#/#", "socket.io-response#/#"] {
            core.receive_one(channel.as_bytes(), &bytes);
        }
        core.receive_one(&bytes, &bytes);
        let _ = to_json(&bytes);
        if let Ok(text) = String::from_utf8(bytes) {
            let _ = event_to_msgpack(&Encoded::new(text, vec![Bytes::new()]), &mut Vec::new());
        }
    }

    #[test]
    fn damaged_messages_never_panic(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let captured = captured();
        let (channel, mut payload) = captured[which.index(captured.len())].clone();
        if !payload.is_empty() {
            let at = at.index(payload.len());
            if cut { payload.truncate(at) } else { payload[at] = byte }
        }
        member().receive_one(channel.as_bytes(), &payload);
    }

    #[test]
    fn what_comes_out_of_the_decoder_is_json(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
        if let Ok(encoded) = to_json(&bytes) {
            prop_assert!(serde_json::from_str::<Value>(&encoded.text).is_ok(), "{}", encoded.text);
        }
    }

    #[test]
    fn a_filled_template_is_the_broadcast_it_stands_for(fields in proptest::collection::btree_map("[a-z]{1,6}", any_json(), 0..20), seq in any::<u64>()) {
        let mut payload = Value::Object(fields.into_iter().collect());
        let filled = [("SEQ", Fill::Seq), ("EPOCH", Fill::Epoch), ("ID", Fill::MessageId)];
        let targets = Targets::room("r1").except("s1");
        let text = payload.to_string();
        let audiences = [("socket.io#/#r2#".into(), &Targets::room("r2")), ("socket.io#/#r1#".into(), &targets)];
        let templates = template::encode("/", "message:new", &Payload::new(&text, &filled), audiences.into_iter()).unwrap();
        let mut message = Vec::new();
        for part in &templates[1].parts {
            match part {
                Part::Literal(bytes) => message.extend_from_slice(bytes),
                Part::Fill(Fill::Seq) => crate::transcode::write::unsigned(&mut message, seq),
                Part::Fill(Fill::Epoch) => crate::transcode::write::text(&mut message, "e1"),
                Part::Fill(Fill::MessageId) => crate::transcode::write::text(&mut message, "m1"),
                Part::Fill(Fill::Stamp) => crate::transcode::write::text(&mut message, "g.1"),
            }
        }
        prop_assert_eq!(broadcast::sender(&message).unwrap(), Some(template::TEMPLATE_UID.as_bytes()));
        let decoded = broadcast::decode(&message).unwrap();
        payload["SEQ"] = json!(seq);
        payload["EPOCH"] = json!("e1");
        payload["ID"] = json!("m1");
        prop_assert!(same(&parse(&decoded.event), &json!(["message:new", payload])));
        prop_assert_eq!(decoded.targets, targets);
        prop_assert_eq!(decoded.stored.as_deref(), Some("m1"));
        prop_assert_eq!(decoded.stamp.as_deref(), Some("g.1"));
    }
}

#[test]
fn half_a_surrogate_pair_becomes_the_replacement_character() {
    for (text, expected) in [
        (r#"["e","\ud800"]"#, "\u{fffd}"),
        (r#"["e","\udc00x"]"#, "\u{fffd}x"),
        (r#"["e","\ud83d\ude00\ud83d"]"#, "\u{1f600}\u{fffd}"),
        (r#"["e","\ud800\ud83d\ude00"]"#, "\u{fffd}\u{1f600}"),
        (r#"["e","\\ud800\ud800é\"\\"]"#, "\\ud800\u{fffd}é\"\\"),
    ] {
        let mut out = Vec::new();
        event_to_msgpack(&Encoded::new(text.to_owned(), vec![]), &mut out).unwrap();
        assert_eq!(parse(&to_json(&out).unwrap()), json!(["e", expected]), "{text}");
    }
}

#[test]
fn what_is_no_event_is_not_published() {
    for text in [
        "",
        "{}",
        "[]",
        "null",
        "[null]",
        "[[]]",
        "[true]",
        "[\"connect\"]",
        "[\"disconnect\",1]",
        "[\"e\"",
        "[\"e\"]]",
    ] {
        let encoded = broadcast::encode("me", "/", &Encoded::new(text.to_owned(), vec![]), &Targets::everyone(), false);
        assert!(encoded.is_err(), "{text}");
    }
    let missing = Encoded::new(r#"["e",{"_placeholder":true,"num":1}]"#, vec![Bytes::new()]);
    assert!(matches!(broadcast::encode("me", "/", &missing, &Targets::everyone(), false), Err(EncodeError::Json(_))));
}

#[test]
fn without_attachments_a_placeholder_is_an_object() {
    let event = Encoded::new(r#"["e",{"_placeholder":true,"num":0}]"#, vec![]);
    let payload = broadcast::encode("me", "/", &event, &Targets::everyone(), false).unwrap();
    assert_eq!(broadcast::decode(&payload).unwrap().event, event);
}

#[test]
fn a_template_refuses_what_would_be_ambiguous() {
    let encode = |event: &str, payload: &str| {
        let audience = ("c".into(), &Targets::everyone());
        template::encode("/", event, &Payload::new(payload, &[("seq", Fill::Seq)]), std::iter::once(audience))
    };
    assert!(encode("e", "{}").is_ok());
    assert!(matches!(encode("e", r#"{"seq":1}"#), Err(EncodeError::FilledTwice(name)) if name == "seq"));
    for payload in ["[]", "1", "", "null", "\"{}\""] {
        assert!(matches!(encode("e", payload), Err(EncodeError::NotAnObject)), "{payload}");
    }
    assert!(matches!(encode("e", "{} x"), Err(EncodeError::Json(_))));
    assert!(matches!(encode("connect", "{}"), Err(EncodeError::NotAnEvent)));
}

#[test]
fn undefined_is_null_in_lists_and_nothing_in_objects() {
    // [undefined, {a: undefined, b: 1}, {c: undefined}]
    let bytes = [0x93, 0xd4, 0, 0, 0x82, 0xa1, b'a', 0xd4, 0, 0, 0xa1, b'b', 1, 0x81, 0xa1, b'c', 0xd4, 0, 0];
    assert_eq!(&*to_json(&bytes).unwrap().text, r#"[null,{"b":1},{}]"#);
}

#[test]
fn dates_of_older_servers_are_dates() {
    let mut bytes = vec![0xd7, 0x00];
    bytes.extend(1_700_000_000_123_i64.to_be_bytes());
    assert_eq!(&*to_json(&bytes).unwrap().text, r#""2023-11-14T22:13:20.123Z""#);
}

fn parse(event: &Encoded) -> Value {
    serde_json::from_str(&event.text).unwrap()
}
