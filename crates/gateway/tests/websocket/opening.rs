//! The handshake, in all the ways in which it may come in.

use std::time::Duration;

use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use crate::{
    node,
    raw::{Raw, TEXT, frame, request},
};

/// Well beyond what a client may take to send its headers.
const SILENCE: Duration = Duration::from_secs(30);

const TARGET: &str = "/socket.io/?EIO=4&transport=websocket&userId=a";

async fn is_served(mut raw: Raw) {
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(raw.text().await.starts_with("0{"), "the open packet");
    raw.send_text("40").await;
    raw.expect("40{").await;
    raw.expect("42[\"connected\"").await;
}

#[tokio::test]
async fn a_handshake_is_answered_however_it_is_cut() {
    let node = node(&[]).await;
    let request = request(&node, TARGET, "");
    for at in [1, 20, request.len() / 2, request.len() - 1] {
        let mut raw = Raw::dial(&node).await;
        let (first, rest) = request.split_at(at);
        raw.write(first.as_bytes()).await;
        tokio::task::yield_now().await;
        raw.write(rest.as_bytes()).await;
        is_served(raw).await;
    }
}

#[tokio::test]
async fn a_handshake_behind_another_request_is_answered() {
    let node = node(&[]).await;
    let mut raw = Raw::dial(&node).await;
    raw.write(format!("HEAD /health/live HTTP/1.1\r\nHost: {}\r\n\r\n", node.address()).as_bytes()).await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    raw.write(request(&node, TARGET, "").as_bytes()).await;
    is_served(raw).await;
}

#[tokio::test]
async fn what_comes_right_behind_the_handshake_is_not_lost() {
    let node = node(&[]).await;
    let mut raw = Raw::dial(&node).await;
    let connect = frame(0x80 | TEXT, b"40");
    raw.write(&[request(&node, TARGET, "").as_bytes(), &connect].concat()).await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(raw.text().await.starts_with("0{"), "the open packet");
    raw.expect("40{").await;
}

#[tokio::test]
async fn a_handshake_with_headers_beyond_the_first_look_is_answered() {
    let node = node(&[]).await;
    let mut raw = Raw::dial(&node).await;
    raw.write(request(&node, TARGET, &format!("Cookie: {}\r\n", "x".repeat(20_000))).as_bytes()).await;
    is_served(raw).await;
}

#[tokio::test]
async fn a_foreign_page_is_refused_and_our_own_is_not() {
    let node = node(&[]).await;
    for (origin, status) in
        [("http://evil.example", "403"), ("null", "403"), (&format!("http://{}", node.address()), "101")]
    {
        let mut raw = Raw::dial(&node).await;
        raw.write(request(&node, TARGET, &format!("Origin: {origin}\r\n")).as_bytes()).await;
        let head = raw.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{origin}: {head}");
    }
}

#[tokio::test]
async fn who_says_nothing_at_all_is_let_go() {
    let node = node(&[]).await;
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    let read = timeout(SILENCE, stream.read(&mut [0; 1])).await.expect("an end in time");
    assert_eq!(read.unwrap(), 0);
}
