//! Socket.IO v5 over it.

use serde_json::Value;

use crate::{
    node,
    raw::{End, Raw, TEXT},
};

#[tokio::test]
async fn a_namespace_is_connected_with_an_id_of_its_own() {
    let node = node(&[]).await;
    let mut raw = Raw::open(&node, "a").await;
    raw.send_text("40").await;
    let main = sid(&raw.expect("40{").await);
    raw.send_text("40/chat,{}").await;
    let chat = sid(raw.expect("40/chat,").await.trim_start_matches("40/chat,"));
    assert_eq!((main.len(), chat.len()), (20, 20));
    assert_ne!(main, chat);
    raw.expect("42/chat,[\"connected\"").await;
    raw.send_text("42/chat,7[\"get:online:count\"]").await;
    assert_eq!(raw.expect("43/chat,7").await, "43/chat,7[{\"success\":true,\"count\":1}]");
}

fn sid(connected: &str) -> String {
    let payload: Value = serde_json::from_str(&connected[connected.find('{').unwrap()..]).unwrap();
    payload["sid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_refusal_has_a_message_and_a_code() {
    let node = node(&[]).await;
    let mut raw = Raw::handshake(&node, "/socket.io/?EIO=4&transport=websocket").await;
    raw.text().await;
    raw.send_text("40").await;
    let refused = "44{\"message\":\"Authentication error: No token provided\",\"data\":{\"code\":\"unauthenticated\"}}";
    assert_eq!(raw.text().await, refused);
    raw.send_text("40/nowhere,").await;
    assert!(raw.text().await.starts_with("44/nowhere,{\"message\":\"Invalid namespace\""));
}

/// A packet that ends with its namespace needs no comma.
#[tokio::test]
async fn the_comma_behind_a_namespace_may_be_left_out() {
    let node = node(&[]).await;
    let mut raw = Raw::connect(&node, "a").await;
    raw.send_text("40/nowhere").await;
    assert!(raw.text().await.starts_with("44/nowhere,{\"message\":\"Invalid namespace\""));
    raw.send_text("40/chat").await;
    raw.expect("40/chat,{\"sid\":").await;
    raw.expect("42/chat,[\"connected\"").await;
    raw.send_text("41/chat").await;
    raw.send_text("420[\"get:online:count\"]").await;
    raw.expect("430").await;
}

#[tokio::test]
async fn what_a_client_says_of_itself_is_taken_for_each_namespace() {
    let node = node(&[]).await;
    let mut raw = Raw::handshake(&node, "/socket.io/?EIO=4&transport=websocket&userId=a").await;
    raw.text().await;
    for (packet, connected) in [("40{\"token\":\"123\"}", "40{"), ("40/chat,{\"token\":\"abc\"}", "40/chat,{")] {
        raw.send_text(packet).await;
        let answer = raw.expect(connected).await;
        let payload: Value = serde_json::from_str(&answer[connected.len() - 1..]).unwrap();
        assert_eq!(payload.as_object().unwrap().keys().collect::<Vec<_>>(), ["sid"]);
    }
}

/// The connection is no namespace's, not even the main one's.
#[tokio::test]
async fn leaving_the_main_namespace_keeps_the_connection() {
    let node = node(&["--ping-interval", "300", "--ping-timeout", "200"]).await;
    let mut raw = Raw::connect(&node, "a").await;
    raw.send_text("40/chat,").await;
    raw.expect("42/chat,[\"connected\"").await;
    raw.send_text("41").await;
    for _ in 0..3 {
        while raw.frame().await.expect("still open") != (TEXT, b"2".to_vec()) {}
        raw.send_text("3").await;
    }
    raw.send_text("42/chat,7[\"get:online:count\"]").await;
    raw.expect("43/chat,7").await;
    raw.send_text("41/chat").await;
    raw.send_text("40").await;
    raw.expect("40{").await;
}

#[tokio::test]
async fn leaving_one_namespace_keeps_the_other() {
    let node = node(&[]).await;
    let mut raw = Raw::connect(&node, "a").await;
    raw.send_text("40/chat,").await;
    raw.expect("42/chat,[\"connected\"").await;
    raw.send_text("41/chat,").await;
    raw.send_text("420[\"get:online:count\"]").await;
    raw.expect("430").await;
    // As on Node: whoever talks to a namespace that it left is not speaking Socket.IO.
    raw.send_text("42/chat,[\"get:online:count\"]").await;
    assert_eq!(raw.end().await, End::Code(1002));
}

#[tokio::test]
async fn a_second_connect_changes_nothing() {
    let node = node(&[]).await;
    let mut raw = Raw::connect(&node, "a").await;
    raw.send_text("40").await;
    raw.send_text("420[\"get:online:count\"]").await;
    let next = raw.text().await;
    assert!(next.starts_with("430"), "{next}");
}

#[tokio::test]
async fn events_right_behind_connect_are_handled_in_order() {
    let node = node(&[]).await;
    let mut raw = Raw::open(&node, "a").await;
    let mut hasty = crate::raw::frame(0x81, b"40");
    for number in 0..50 {
        hasty.extend(crate::raw::frame(0x81, format!("42{number}[\"get:online:count\"]").as_bytes()));
    }
    raw.write(&hasty).await;
    for number in 0..50 {
        let ack = raw.expect("43").await;
        assert!(ack.starts_with(&format!("43{number}[")), "{ack} instead of number {number}");
    }
}

#[tokio::test]
async fn binary_events_wait_for_their_attachments() {
    let node = node(&[]).await;
    let mut raw = Raw::connect(&node, "a").await;
    raw.send_text(r#"452-9["no:such:event",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#).await;
    raw.write(&crate::raw::frame(0x82, &[1, 2, 3])).await;
    raw.write(&crate::raw::frame(0x82, &[])).await;
    assert!(raw.expect("439").await.contains("\"not_found\""));
}

#[tokio::test]
async fn an_answer_nobody_asked_for_is_ignored() {
    let node = node(&[]).await;
    let mut raw = Raw::connect(&node, "a").await;
    raw.send_text("437[]").await;
    raw.send_text("420[\"get:online:count\"]").await;
    raw.expect("430").await;
}

/// A crowd's packets may gather for a while; answers, and what is for one alone, must not wait with them.
#[tokio::test]
async fn what_is_for_one_does_not_wait_for_what_is_for_a_crowd() {
    // Longer than any of the expectations waits.
    let node = node(&["--flush-delay", "600000"]).await;
    let mut crowd = Vec::new();
    for number in 0..10 {
        let mut raw = Raw::connect(&node, &format!("user-{number}")).await;
        raw.send_text("420[\"conversation:join\",\"crowd\"]").await;
        raw.expect("430[{\"success\":true").await;
        crowd.push(raw);
    }
    crowd[0].send_text(r#"421["message:send",{"conversationId":"crowd","content":"for all"}]"#).await;
    crowd[0].expect("431[{\"success\":true").await;
    crowd[0].send_text(r#"422["private:message",{"recipientUserId":"user-1","content":"for you"}]"#).await;
    crowd[0].expect("432[{\"success\":true").await;
    // With it comes what the crowd was sent before: nothing overtakes.
    assert!(crowd[1].expect("42[\"message:new\",").await.contains("for all"));
    assert!(crowd[1].expect("42[\"message:new\",").await.contains("for you"));
}
