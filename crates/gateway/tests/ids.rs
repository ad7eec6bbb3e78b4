//! Ids of any text: what a client may be called, and call things, works from one end to the other; what it may not is
//! refused, whichever event it comes in, and harms nobody.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{Client, Node, RedisServer, connect, eventually};

/// For whatever should happen at once, on a machine that has other things to do.
const SOON: Duration = Duration::from_secs(10);

/// Text that means something to keys, hash tags, channels, patterns, message ids or paths.
const ODD: [&str; 10] = ["☎ ünï 💥", "a:b", "{}%7B", "}{", "*", "[a-z]?", "socket.io#/#", "..", "\u{feff}", "'\"\\"];

async fn node(redis: &RedisServer) -> Node {
    Node::start(&["--auth", "insecure-query", "--redis-url", &redis.url(), "--presence-grace", "0"]).await
}

async fn client(node: &Node, user: &str) -> Client {
    let escaped: String = user.bytes().map(|byte| format!("%{byte:02X}")).collect();
    connect(&format!("{}/?userId={escaped}", node.url()), "/", Value::Null).await.unwrap()
}

async fn ask(client: &Client, event: &str, payload: Value) -> Value {
    let answer = client.emit_with_ack(event, payload, SOON).await;
    assert_eq!(answer["success"], true, "{event}: {answer}");
    answer
}

#[tokio::test]
async fn a_conversation_may_have_any_name() {
    let redis = RedisServer::start().await;
    let (one, two) = tokio::join!(node(&redis), node(&redis));
    let (alice, mut bob) = (client(&one, "alice").await, client(&two, "bob").await);
    let longest = "ü".repeat(128);
    for name in ODD.into_iter().chain([longest.as_str()]) {
        let it = json!({"conversationId": name});
        ask(&alice, "conversation:join", it.clone()).await;
        ask(&bob, "conversation:join", it.clone()).await;
        let sent = ask(&alice, "message:send", json!({"conversationId": name, "content": name})).await;
        let heard = bob.wait_for("message:new", SOON).await.remove(0);
        assert_eq!(
            (&heard["conversationId"], &heard["content"], &heard["seq"]),
            (&json!(name), &json!(name), &json!(1))
        );

        let history = ask(&bob, "message:history", it.clone()).await;
        assert_eq!(history["messages"][0]["id"], sent["messageId"], "{history}");
        let members = ask(&bob, "conversation:members", it.clone()).await;
        assert_eq!(members["members"], json!([{"userId": "alice", "sockets": 1}, {"userId": "bob", "sockets": 1}]));
        let seen = json!({"conversationId": name, "messageId": sent["messageId"], "senderId": "alice"});
        ask(&bob, "message:read", seen).await;
        let status =
            ask(&alice, "message:status", json!({"conversationId": name, "messageId": sent["messageId"]})).await;
        assert_eq!(status["readBy"], json!(["bob"]), "{status}");
        let list = ask(&bob, "conversation:list", json!({})).await;
        assert_eq!(list["conversations"][0]["conversationId"], name, "{list}");

        let written = ask(&alice, "document:edit", json!({"documentId": name, "content": name})).await;
        assert_eq!(written["version"], 1, "each has a document of its own");
    }
}

#[tokio::test]
async fn a_user_may_have_any_name() {
    let redis = RedisServer::start().await;
    let (one, two) = tokio::join!(node(&redis), node(&redis));
    let alice = client(&one, "alice").await;
    let longest = "ü".repeat(128);
    for name in ODD.into_iter().chain([longest.as_str()]) {
        let direct = json!({"recipientUserId": name, "content": "while you were away"});
        let sent = ask(&alice, "private:message", direct).await;
        let user = client(&two, name).await;
        let missed = ask(&user, "messages:missed", json!({})).await;
        let waiting = &missed["messages"][0];
        assert_eq!((&waiting["id"], &waiting["seq"]), (&sent["messageId"], &json!(1)), "{missed}");
        assert_eq!((&waiting["epoch"], &waiting["senderId"]), (&sent["epoch"], &json!("alice")), "{missed}");
        eventually(SOON, "being online", async || {
            ask(&alice, "presence:get", json!({"userIds": [name]})).await["users"][0]["online"] == true
        })
        .await;
        let answer = ask(&user, "private:message", json!({"recipientUserId": "alice", "content": "back"})).await;
        assert_eq!(answer["seq"], 2, "both write in one conversation: {answer}");
        user.close().await;
    }
    eventually(SOON, "all being gone", async || ask(&alice, "get:online:count", json!({})).await["count"] == 1).await;
}

#[tokio::test]
async fn what_cannot_be_an_id_is_refused_in_every_event() {
    let redis = RedisServer::start().await;
    let node = node(&redis).await;
    let alice = client(&node, "alice").await;
    let huge = "x".repeat(10_240);
    for id in ["", huge.as_str(), "a\u{0}b", "a\nb"] {
        let events = [
            ("conversation:join", json!({"conversationId": id})),
            ("conversation:members", json!({"conversationId": id})),
            ("message:send", json!({"conversationId": id, "content": "x"})),
            ("message:send", json!({"conversationId": "general", "content": "x", "clientMessageId": id})),
            ("message:send", json!({"conversationId": "general", "content": "x", "type": id})),
            ("message:history", json!({"conversationId": id})),
            ("message:delivered", json!({"conversationId": id, "seq": 1})),
            ("private:message", json!({"recipientUserId": id, "content": "x"})),
            ("typing:start", json!({"conversationId": id})),
            ("typing:start", json!({"recipientUserId": id})),
            ("presence:get", json!({"userIds": [id]})),
            ("presence:watch", json!({"userIds": [id]})),
            ("document:join", json!({"documentId": id})),
            ("document:edit", json!({"documentId": id, "content": "x"})),
            ("call:signal", json!({"userId": id, "data": 1})),
        ];
        for (event, payload) in events {
            let answer = alice.emit_with_ack(event, payload, SOON).await;
            let id: String = id.chars().take(9).collect();
            assert_eq!(
                (&answer["success"], &answer["error"]),
                (&json!(false), &json!("invalid")),
                "{event} {id:?}: {answer}"
            );
        }
    }
    ask(&alice, "conversation:join", json!({"conversationId": "general"})).await;
}
