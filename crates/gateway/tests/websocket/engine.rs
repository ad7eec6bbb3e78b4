//! Engine.IO v4 over WebSocket.

use std::time::Instant;

use serde_json::Value;
use trunkline_testkit::eventually;

use crate::{
    SOON, node,
    raw::{CLOSE, End, PING, PONG, Raw, TEXT, frame},
};

#[tokio::test]
async fn the_open_packet_says_what_holds() {
    let node = node(&["--ping-interval", "300", "--ping-timeout", "200", "--max-payload", "5000"]).await;
    let mut raw = Raw::handshake(&node, "/socket.io/?EIO=4&transport=websocket&userId=a").await;
    let open: Value = serde_json::from_str(&raw.text().await[1..]).unwrap();
    assert_eq!(open["upgrades"], serde_json::json!([]));
    assert_eq!(
        (&open["pingInterval"], &open["pingTimeout"], &open["maxPayload"]),
        (&300.into(), &200.into(), &5000.into())
    );
    let sid = open["sid"].as_str().unwrap();
    assert_eq!(sid.len(), 20, "as long as Node's");
}

#[tokio::test]
async fn the_open_packet_says_nothing_else_and_has_defaults() {
    let node = node(&[]).await;
    let mut raw = Raw::handshake(&node, "/socket.io/?EIO=4&transport=websocket&userId=a").await;
    let mut open: Value = serde_json::from_str(&raw.text().await[1..]).unwrap();
    let sid = open["sid"].take();
    assert!(sid.is_string());
    let expected = serde_json::json!({
        "sid": null, "upgrades": [], "pingInterval": 25_000, "pingTimeout": 20_000, "maxPayload": 1_000_000
    });
    assert_eq!(open, expected);
}

/// The heartbeat is the engine's and waits for no namespace.
#[tokio::test]
async fn who_is_in_no_namespace_is_pinged_too() {
    let node = node(&["--ping-interval", "300", "--ping-timeout", "200"]).await;
    let mut raw = Raw::open(&node, "a").await;
    for _ in 0..3 {
        assert_eq!(raw.frame().await.expect("still open"), (TEXT, b"2".to_vec()));
        raw.send_text("3").await;
    }
    let mut silent = Raw::open(&node, "b").await;
    assert_eq!(silent.end().await, End::Eof);
}

#[tokio::test]
async fn pings_come_at_the_interval_and_a_client_that_answers_stays() {
    let node = node(&["--ping-interval", "300", "--ping-timeout", "200"]).await;
    let mut raw = Raw::open(&node, "a").await;
    raw.send_text("40").await;
    let begin = Instant::now();
    let mut pings = 0;
    while pings < 4 {
        if raw.frame().await.expect("still open") == (TEXT, b"2".to_vec()) {
            pings += 1;
            raw.send_text("3").await;
        }
    }
    let took = begin.elapsed().as_millis();
    assert!((850..2500).contains(&took), "four pings in {took} ms");
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_closed() {
    let node = node(&["--ping-interval", "300", "--ping-timeout", "200"]).await;
    let mut silent = Raw::connect(&node, "silent").await;
    let mut other = Raw::connect(&node, "other").await;
    // `text` answers pings, also while the silent one is waited for.
    let end = tokio::select! {
        end = silent.end() => end,
        () = async { loop { other.text().await; } } => unreachable!(),
    };
    assert_eq!(end, End::Eof);
    other.send_text("420[\"get:online:count\"]").await;
    other.expect("430").await;
}

#[tokio::test]
async fn a_close_packet_and_a_close_frame_end_the_connection() {
    let node = node(&[]).await;
    for goodbye in [frame(0x80 | TEXT, b"1"), frame(0x80 | CLOSE, &[3, 232])] {
        let mut raw = Raw::connect(&node, "a").await;
        raw.write(&goodbye).await;
        assert_eq!(raw.end().await, End::Code(1000));
        let health = async || health(&node.url()).await["socket"]["connected"] == 0;
        eventually(SOON, "the socket being forgotten", health).await;
    }
}

#[tokio::test]
async fn control_frames_may_come_between_fragments() {
    let node = node(&[]).await;
    let mut raw = Raw::connect(&node, "a").await;
    raw.write(&frame(TEXT, b"420[\"get:on")).await;
    raw.write(&frame(0x80 | PING, b"are you there?")).await;
    raw.write(&frame(0x00, b"line:co")).await;
    raw.write(&frame(0x80 | PONG, b"unasked")).await;
    raw.write(&frame(0x80, b"unt\"]")).await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match raw.frame().await.expect("still open") {
            (PONG, payload) => seen.push(String::from_utf8(payload).unwrap()),
            (TEXT, payload) if payload.starts_with(b"430") => seen.push("ack".to_owned()),
            _ => {}
        }
    }
    assert_eq!(seen, ["are you there?", "ack"]);
}

#[tokio::test]
async fn who_connects_to_no_namespace_is_closed() {
    let node = node(&[]).await;
    let begin = Instant::now();
    let mut raw = Raw::open(&node, "a").await;
    // The end comes later than anything else here is waited for.
    assert_eq!(raw.quiet_end(SOON * 2).await, End::Eof);
    assert!(begin.elapsed() >= SOON - std::time::Duration::from_secs(1), "not before its time");
}

pub(crate) async fn health(url: &str) -> Value {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET /api/socket/health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}
