//! Peers that do not read: closed by name, and nobody else waits for them.

use std::time::{Duration, Instant};

use trunkline_testkit::eventually;

use crate::{
    SOON,
    engine::health,
    node,
    raw::{End, Raw},
};

/// One message of a flood; large enough that the kernel's buffers are full soon.
fn message(number: usize) -> String {
    format!("42{number}[\"message:send\",{{\"conversationId\":\"flood\",\"content\":\"{}\"}}]", "x".repeat(4900))
}

async fn joined(node: &trunkline_testkit::Node, user: &str) -> Raw {
    let mut raw = Raw::connect(node, user).await;
    raw.send_text("420[\"conversation:join\",\"flood\"]").await;
    raw.expect("430").await;
    raw
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the task is awaited")]
async fn a_reader_that_stalls_is_closed_as_a_slow_consumer_and_the_others_get_everything() {
    let node = node(&["--outbox-limit", "200000", "--stall-timeout", "60s"]).await;
    let mut stalled = joined(&node, "stalled").await;
    let mut quick = joined(&node, "quick").await;
    let reading = tokio::spawn(async move {
        let mut last = String::new();
        while last != "the last one" {
            let message = quick.expect("42[\"message:new\",").await;
            let message: serde_json::Value = serde_json::from_str(&message[2..]).unwrap();
            last = message[1]["content"].as_str().unwrap().to_owned();
        }
        quick
    });
    let mut sender = joined(&node, "sender").await;
    let mut sent = 0;
    // The kernel takes some megabytes before the outbox fills.
    while slow_consumers(&node).await == 0 {
        for _ in 0..50 {
            sender.send_text(&message(sent)).await;
            sender.expect(&format!("43{sent}[")).await;
            sent += 1;
        }
        assert!(sent < 10_000, "nobody was closed");
    }
    sender.send_text(r#"42["message:send",{"conversationId":"flood","content":"the last one"}]"#).await;
    let _quick = reading.await.expect("everything, up to the last one");
    // What was queued before is still there for a peer that comes round, and then the end.
    let end = stalled.end().await;
    assert!(matches!(end, End::Code(_) | End::Eof), "{end:?}");
    eventually(SOON, "the slow one being forgotten", async || health(&node.url()).await["socket"]["connected"] == 2)
        .await;
}

#[tokio::test]
async fn a_reader_that_takes_nothing_for_too_long_is_closed_though_its_outbox_is_not_full() {
    let node = node(&["--outbox-limit", "100000000", "--stall-timeout", "1s"]).await;
    let _stalled = joined(&node, "stalled").await;
    let mut sender = joined(&node, "sender").await;
    let begin = Instant::now();
    for number in 0..2000 {
        sender.send_text(&message(number)).await;
        sender.expect(&format!("43{number}[")).await;
    }
    eventually(SOON, "the stalled one being closed", async || health(&node.url()).await["socket"]["connected"] == 1)
        .await;
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(slow_consumers(&node).await, 1);
}

async fn slow_consumers(node: &trunkline_testkit::Node) -> u64 {
    node.metric("trunkline_slow_consumers_total").await
}
