//! Whatever a peer sends costs that peer its connection, with a code that says why, and nobody else anything.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use trunkline_testkit::Node;

use crate::{
    node,
    raw::{BINARY, CLOSE, End, PING, Raw, TEXT, frame, request},
};

/// For an answer of a node that is kept busy.
const PATIENCE: Duration = Duration::from_secs(1);

fn text(text: &str) -> Vec<u8> {
    frame(0x80 | TEXT, text.as_bytes())
}

/// What is sent after the namespace is connected, and how it ends.
fn violations() -> Vec<(&'static str, Vec<u8>, End)> {
    let protocol = End::Code(1002);
    let huge = {
        let mut header = vec![0x82, 0xff];
        header.extend(u64::MAX.to_be_bytes());
        header.extend([0; 4]);
        header
    };
    let announced = format!("45{}-[\"e\"{}]", 1000, ",{\"_placeholder\":true,\"num\":0}".repeat(5));
    vec![
        ("an unmasked frame", vec![0x81, 1, b'2'], End::Code(1002)),
        ("a reserved bit", frame(0xc0 | TEXT, b"2"), End::Code(1002)),
        ("an unknown opcode", frame(0x80 | 3, b""), End::Code(1002)),
        ("an unknown control opcode", frame(0x80 | 11, b""), End::Code(1002)),
        ("a ping of 126 bytes", frame(0x80 | PING, &[0; 126]), End::Code(1002)),
        ("a fragmented ping", frame(PING, b""), End::Code(1002)),
        ("a continuation of nothing", frame(0x80, b"x"), End::Code(1002)),
        ("a message within a message", [frame(TEXT, b"4"), frame(0x80 | TEXT, b"2")].concat(), End::Code(1002)),
        ("text that is no UTF-8", frame(0x80 | TEXT, &[0xff, 0xfe]), End::Code(1007)),
        ("text cut within a character", frame(0x80 | TEXT, &[0x34, 0xc3]), End::Code(1007)),
        ("a close frame of one byte", frame(0x80 | CLOSE, &[3]), End::Code(1002)),
        ("a close frame with a reserved code", frame(0x80 | CLOSE, &[3, 237]), End::Code(1002)),
        ("a frame of 2^64 bytes", huge, End::Code(1009)),
        ("a frame just over the limit", frame(0x80 | BINARY, &[0; 5001]), End::Code(1009)),
        (
            "fragments over the limit",
            [frame(TEXT, &[b'4'; 4000]), frame(0x80, &[b'4'; 1001])].concat(),
            End::Code(1009),
        ),
        ("a binary frame without a header", frame(0x80 | BINARY, &[1]), End::Code(1002)),
        ("a text instead of an attachment", [text("451-[\"e\"]"), text("420[\"x\"]")].concat(), End::Code(1002)),
        ("a thousand attachments", text(&announced), protocol),
        ("no engine packet", text("hello"), End::Code(1002)),
        ("an empty message", text(""), End::Code(1002)),
        ("no socket.io packet", text("4hello"), End::Code(1002)),
        ("an event without a name", text("42[]"), End::Code(1002)),
        ("an event whose name is a list", text("42[[]]"), End::Code(1002)),
        ("an event that is no array", text("42{}"), End::Code(1002)),
        ("an event that is no JSON", text("42[\"e\","), End::Code(1002)),
        ("a deeply nested event", text(&format!("42{}", "[".repeat(4000))), End::Code(1002)),
        ("a connect error", text("44{}"), End::Code(1002)),
        ("a number that is none", text("42abc[\"get:online:count\"]"), End::Code(1002)),
        ("an ack with a number beyond reason", text("4399999999999999999999[]"), End::Code(1002)),
        ("an event for a namespace it is not in", text("42/chat,[\"e\"]"), End::Code(1002)),
    ]
}

#[tokio::test]
async fn a_violation_closes_that_connection_with_its_code_and_no_other() {
    let node = node(&["--max-payload", "5000"]).await;
    let mut bystander = Raw::connect(&node, "bystander").await;
    for (what, bytes, end) in violations() {
        let mut raw = Raw::connect(&node, "hostile").await;
        raw.write(&bytes).await;
        assert_eq!(raw.end().await, end, "{what}");
    }
    still_serves(&mut bystander).await;
    assert_no_panic(&node);
}

#[tokio::test]
async fn a_violation_before_connect_closes_too() {
    let node = node(&[]).await;
    for early in ["420[\"get:online:count\"]", "430[]", "41", "4", "4abc"] {
        let mut raw = Raw::open(&node, "hostile").await;
        raw.write(&text(early)).await;
        if early == "41" {
            // Leaving what one never entered changes nothing.
            raw.send_text("40").await;
            raw.expect("40{").await;
        } else {
            assert_eq!(raw.end().await, End::Code(1002), "{early}");
        }
    }
    assert_no_panic(&node);
}

#[tokio::test]
async fn a_payload_just_within_the_limit_is_taken() {
    let node = node(&["--max-payload", "5000"]).await;
    let mut raw = Raw::connect(&node, "a").await;
    let padding = "x".repeat(5000 - "420[\"get:online:count\",\"\"]".len());
    raw.send_text(&format!("420[\"get:online:count\",\"{padding}\"]")).await;
    raw.expect("430").await;
}

#[tokio::test]
async fn bytes_that_trickle_in_are_put_together() {
    let node = node(&[]).await;
    let mut raw = Raw::connect(&node, "a").await;
    for byte in text("420[\"get:online:count\"]") {
        raw.write(&[byte]).await;
    }
    raw.expect("430").await;
}

#[tokio::test]
async fn requests_that_are_no_handshake_are_refused_as_ever() {
    let node = node(&[]).await;
    for target in ["/socket.io/?EIO=4&transport=websocket", "/socket.io/?EIO=4&transport=carrier-pigeon", "/socket.io/"]
    {
        let mut stream = tokio::net::TcpStream::connect(node.address()).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", node.address());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let status = String::from_utf8_lossy(&answer[..12]).into_owned();
        assert!(status.starts_with("HTTP/1.1 4"), "{target}: {status}");
    }
}

/// With a version or a transport that is none, a handshake by the book opens nothing.
#[tokio::test]
async fn websocket_handshakes_of_no_session_are_refused() {
    let node = node(&[]).await;
    for query in ["transport=websocket", "EIO=abc&transport=websocket", "EIO=4", "EIO=4&transport=abc"] {
        let status = Raw::refused(&node, &format!("/socket.io/?{query}&userId=a")).await;
        assert!(status.starts_with("HTTP/1.1 400 "), "{query}: {status}");
    }
}

/// A node with one worker has one thread for all of its clients.
#[tokio::test]
async fn peers_that_never_stop_asking_leave_the_others_their_turn() {
    let node = node(&["--workers", "1"]).await;
    let mut bystander = Raw::connect(&node, "bystander").await;
    for flood in [frame(0x80 | PING, b""), text("40")] {
        let mut peers = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let flood = flood.repeat(256 * 1024 / flood.len());
            let target = "/socket.io/?EIO=4&transport=websocket&userId=hostile";
            let mut peer = tokio::net::TcpStream::connect(node.address()).await.unwrap();
            peer.write_all(request(&node, target, "").as_bytes()).await.unwrap();
            peer.write_all(&text("40")).await.unwrap();
            let (mut answers, mut asks) = peer.into_split();
            peers.spawn(async move { while asks.write_all(&flood).await.is_ok() {} });
            peers.spawn(async move { while answers.read(&mut [0; 65536]).await.is_ok_and(|read| read > 0) {} });
        }
        for _ in 0..5 {
            let asked = std::time::Instant::now();
            still_serves(&mut bystander).await;
            assert!(asked.elapsed() < PATIENCE, "an answer took {:?}", asked.elapsed());
        }
    }
    assert_no_panic(&node);
}

/// A reader of JSON that meets this key reads the text behind it anew, and counts its depth from the start.
fn nested_beyond_every_limit() -> String {
    let mut text = "1".to_owned();
    for _ in 0..12 {
        let mut next = serde_json::json!({ "$serde_json::private::RawValue": text }).to_string();
        next = format!("{}{next}{}", "[".repeat(100), "]".repeat(100));
        if next.len() > 500_000 {
            break;
        }
        text = next;
    }
    text
}

#[tokio::test]
async fn what_nests_beyond_every_limit_harms_nobody() {
    let node = node(&[]).await;
    let mut bystander = Raw::connect(&node, "bystander").await;
    let nested = nested_beyond_every_limit();
    let mut hostile = Raw::connect(&node, "hostile").await;
    for event in ["conversation:join", "message:send", "presence:get", "no:such:event"] {
        hostile.send_text(&format!("420[\"{event}\",{nested}]")).await;
        let ack = hostile.expect("430").await;
        assert!(ack.contains("\"success\":false"), "{event}: {ack}");
    }
    let mut hostile = Raw::open(&node, "hostile").await;
    hostile.send_text(&format!("40{{\"token\":{nested}}}")).await;
    hostile.expect("4").await;
    still_serves(&mut bystander).await;
    assert_no_panic(&node);
}

async fn still_serves(raw: &mut Raw) {
    raw.send_text("420[\"get:online:count\"]").await;
    raw.expect("430").await;
}

fn assert_no_panic(node: &Node) {
    let panics: Vec<_> = node.log().into_iter().filter(|line| line.contains("panicked")).collect();
    assert!(panics.is_empty(), "{panics:?}");
}
