//! Messages that are wrong or unusual, many of which end a Node process.

use metrics_exporter_prometheus::PrometheusBuilder;
use serde::Deserialize;
use serde_json::Value;

use super::{member, published, unhex};
use crate::{broadcast, core::Outcome};

#[derive(Deserialize)]
struct Case {
    case: String,
    channel: String,
    hex: String,
    #[serde(rename = "framesSentToClient")]
    frames: Vec<Value>,
    #[serde(rename = "serverAnswers")]
    answers: Vec<Value>,
}

fn cases() -> Vec<Case> {
    #[derive(Deserialize)]
    struct File {
        results: Vec<Case>,
    }
    serde_json::from_str::<File>(include_str!("../../tests/captures/malformed.json"))
        .expect("captures are JSON")
        .results
}

/// What Node forwards to its clients although it breaks their connections, or means something else than an event.
const NOT_FORWARDED: [&str; 7] = [
    "data missing",
    "data not an array",
    "data empty array",
    "type 1 DISCONNECT through broadcast",
    "type 3 ACK through broadcast",
    "type 0 CONNECT through broadcast",
    "reserved event name",
];

/// What Node does not understand although its meaning is clear.
const ACCEPTED: [&str; 1] = ["no trailing #"];

#[test]
fn nothing_that_ends_a_node_process_is_taken_for_a_message() {
    let mut broadcasts = 0;
    for case in cases().iter().filter(|case| case.channel.starts_with("socket.io#")) {
        let core = member();
        let outcome = core.receive_one(case.channel.as_bytes(), &unhex(&case.hex));
        let node_delivered = !case.frames.is_empty();
        // This member hosts no rooms, so a room's channel is none of its business.
        let room_channel = case.channel.ends_with('#') && case.channel != "socket.io#/#";
        let expected = if room_channel || case.case == "packet nsp differs" {
            Outcome::NotHere
        } else if (node_delivered && !NOT_FORWARDED.contains(&&*case.case)) || ACCEPTED.contains(&&*case.case) {
            Outcome::Handled
        } else {
            Outcome::Malformed
        };
        assert_eq!(outcome, expected, "{}", case.case);
        broadcasts += 1;
    }
    assert!(broadcasts >= 35, "{broadcasts} cases");
}

#[test]
fn what_node_delivers_is_delivered_alike() {
    for case in cases().iter().filter(|case| case.channel == "socket.io#/#" && !NOT_FORWARDED.contains(&&*case.case)) {
        let Some(frame) = case.frames.first().and_then(Value::as_str) else { continue };
        if case.case.starts_with("type 5") {
            continue; // Node breaks these: they are delivered as the events that they are.
        }
        let decoded = broadcast::decode(&unhex(&case.hex)).unwrap_or_else(|e| panic!("{}: {e}", case.case));
        assert!(frame.ends_with(&*decoded.event.text), "{}: {frame} and {}", case.case, decoded.event.text);
        assert_eq!(decoded.event.attachments.len(), case.frames.len() - 1, "{}", case.case);
    }
}

#[test]
fn a_request_is_answered_exactly_when_node_answers() {
    let mut requests = 0;
    for case in cases().iter().filter(|case| case.channel == "socket.io-request#/#") {
        let core = member();
        let outcome = core.receive_one(case.channel.as_bytes(), &unhex(&case.hex));
        let answers = published(&core).len();
        requests += 1;
        match &*case.case {
            // An answer without an id is for nobody.
            "request ALL_ROOMS without requestId" => assert_eq!((outcome, answers), (Outcome::Handled, 0)),
            // Here Node dies; whoever asked still counts on an answer.
            "request SERVER_SIDE_EMIT without data with requestId" => {
                assert_eq!((outcome, answers), (Outcome::Handled, 1));
            }
            _ => assert_eq!(answers, case.answers.len(), "{}", case.case),
        }
    }
    assert!(requests >= 20, "{requests} cases");
}

#[test]
fn a_wrong_response_is_dropped() {
    for case in cases().iter().filter(|case| case.channel.starts_with("socket.io-response#")) {
        let core = member();
        let outcome = core.receive_one(case.channel.as_bytes(), &unhex(&case.hex));
        assert!(matches!(outcome, Outcome::Malformed | Outcome::NotHere), "{}: {outcome:?}", case.case);
        assert_eq!(published(&core), [], "{}", case.case);
    }
}

#[test]
fn what_is_dropped_is_counted_by_kind_and_reason() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        let core = member();
        core.receive_one(b"socket.io#/#", b"garbage");
        core.receive_one(b"socket.io-request#/#", b"{garbage");
        core.receive_one(b"socket.io-request#/#", &[0xc1]);
        core.receive_one(b"socket.io-response#/#", b"garbage");
        core.receive_one(b"socket.io-request#/#", br#"{"type":1}"#);
    });
    let page = handle.render();
    for line in [
        r#"trunkline_adapter_malformed_total{kind="broadcast",reason="field"} 1"#,
        r#"trunkline_adapter_malformed_total{kind="request",reason="json"} 1"#,
        r#"trunkline_adapter_malformed_total{kind="request",reason="marker"} 1"#,
        r#"trunkline_adapter_malformed_total{kind="response",reason="trailing"} 1"#,
        r#"trunkline_adapter_received_total{kind="request"} 3"#,
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
}

/// Their numbers mean something else here: to leave a room would be to be disconnected.
#[test]
fn requests_of_socketio_2_are_left_alone() {
    for kind in 0..=6 {
        let core = member();
        let request = format!(r#"{{"requestid":"q","type":{kind},"sid":"s","room":"r","rooms":[],"close":true}}"#);
        assert_eq!(core.receive_one(b"socket.io-request#/#", request.as_bytes()), Outcome::Malformed, "{request}");
        assert_eq!(published(&core), []);
    }
}

/// Those of `python-socketio`, and of the first emitter in Python up to 0.1.3.
#[test]
fn channels_of_other_formats_are_not_ours() {
    for (channel, payload) in [
        ("socketio", r#"{"method":"emit","event":"e","data":1,"namespace":"/","room":null,"host_id":"h"}"#),
        ("socket.io#emitter", "\u{2}"),
    ] {
        assert_eq!(member().receive_one(channel.as_bytes(), payload.as_bytes()), Outcome::NotHere, "{channel}");
    }
}

#[test]
fn a_wrong_list_of_rooms_does_not_address_everyone() {
    for request in [
        r#"{"type":4,"opts":{"rooms":"r"},"close":true}"#,
        r#"{"type":4,"opts":{"rooms":{"0":"r"}},"close":true}"#,
        r#"{"type":4,"opts":{"rooms":[null]},"close":true}"#,
        r#"{"type":4,"opts":"r"}"#,
    ] {
        assert_eq!(member().receive_one(b"socket.io-request#/#", request.as_bytes()), Outcome::Malformed, "{request}");
    }
}

#[test]
fn deep_nesting_and_false_lengths_are_refused() {
    let mut deep =
        vec![0x93, 0xa1, b'x', 0x82, 0xa4, b't', b'y', b'p', b'e', 2, 0xa4, b'd', b'a', b't', b'a', 0x92, 0xa1, b'e'];
    deep.extend(std::iter::repeat_n(0x91, 1_000_000));
    deep.extend([0xc0, 0x80]);
    assert_eq!(broadcast::decode(&deep), Err(crate::transcode::DecodeError::TooDeep));
    let huge = [0xdd, 0xff, 0xff, 0xff, 0xff, 0xa1];
    assert_eq!(member().receive_one(b"socket.io#/#", &huge), Outcome::Malformed);
    assert_eq!(member().receive_one(b"socket.io-request#/#", &huge), Outcome::Malformed);
    assert_eq!(member().receive_one(b"socket.io-request#/#", "[".repeat(100_000).as_bytes()), Outcome::Malformed);
    let open = format!("{{\"type\":5,\"opts\":{}", "[".repeat(100_000));
    assert_eq!(member().receive_one(b"socket.io-request#/#", open.as_bytes()), Outcome::Malformed);
}
