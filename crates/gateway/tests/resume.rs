//! What a client missed it gets when it comes back, once and in order; what a node missed it reads itself.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_testkit::{Client, Data, Node, RedisServer, chaos::Chaos, connect, eventually};

const SOON: Duration = Duration::from_secs(30);

async fn node(redis: &RedisServer, more: &[&str]) -> Node {
    let flags = ["--redis-url", &redis.url(), "--auth", "insecure-query"];
    Node::start(&[&flags, more].concat()).await
}

async fn client(node: &Node, user: &str, auth: Value) -> Client {
    connect(&format!("{}?userId={user}", node.url()), "/", auth).await.expect("the node lets everyone in")
}

async fn join(client: &Client, conversation: &str) -> Value {
    let joined = client.emit_with_ack("conversation:join", conversation.into(), SOON).await;
    assert_eq!(joined["success"], true, "{joined}");
    joined
}

async fn send(client: &Client, conversation: &str, content: impl ToString) -> Value {
    let message = json!({"conversationId": conversation, "content": content.to_string()});
    let sent = client.emit_with_ack("message:send", message, SOON).await;
    assert_eq!(sent["success"], true, "{sent}");
    sent
}

/// The contents of messages up to an event of another name, and that event's payload.
async fn messages_before(client: &mut Client, name: &str) -> (Vec<String>, Value) {
    let mut contents = Vec::new();
    loop {
        let (event, mut args) = client.next_event(SOON).await;
        if event == "message:new" {
            contents.push(args[0]["content"].as_str().unwrap().to_owned());
        } else if event == name {
            return (contents, args.remove(0));
        }
    }
}

fn cursor(answer: &Value) -> Value {
    json!({"epoch": answer["epoch"], "seq": answer["seq"]})
}

fn numbers(range: std::ops::RangeInclusive<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn with_its_cursors_a_client_gets_what_it_missed_before_anything_new_on_any_node() {
    let redis = RedisServer::start().await;
    let (one, other) = (node(&redis, &[]).await, node(&redis, &[]).await);
    let ada = client(&one, "ada", Value::Null).await;
    let bob = client(&one, "bob", Value::Null).await;
    join(&ada, "general").await;
    let at = cursor(&join(&bob, "general").await);
    send(&bob, "general", 1).await;
    bob.close().await;
    // More than a page of the log.
    for number in 2..=600 {
        send(&ada, "general", number).await;
    }
    let mut bob = client(&other, "bob", json!({"cursors": {"general": at}})).await;
    let (missed, synced) = messages_before(&mut bob, "conversation:synced").await;
    assert_eq!(missed, numbers(1..=600), "its own too");
    assert_eq!(
        (&synced["conversationId"], &synced["seq"], &synced["count"]),
        (&json!("general"), &json!(600), &json!(600))
    );
    send(&ada, "general", "new").await;
    assert_eq!(bob.wait_for("message:new", SOON).await[0]["content"], "new");
}

#[tokio::test]
async fn what_comes_while_a_client_catches_up_comes_behind_it_and_once() {
    let redis = RedisServer::start().await;
    let (one, other) = (node(&redis, &[]).await, node(&redis, &[]).await);
    let ada = client(&one, "ada", Value::Null).await;
    let at = cursor(&join(&ada, "general").await);
    for number in 1..=200 {
        send(&ada, "general", number).await;
    }
    // Everyone comes back while the talking goes on.
    let talking = async {
        for number in 201..=400 {
            send(&ada, "general", number).await;
        }
        send(&ada, "general", "end").await;
    };
    let coming_back = async {
        let mut clients = Vec::new();
        for number in 0..20 {
            let user = format!("user-{number}");
            clients.push(client(&other, &user, json!({"cursors": {"general": at}})).await);
        }
        clients
    };
    let ((), clients) = tokio::join!(talking, coming_back);
    for mut client in clients {
        let mut contents = Vec::new();
        while contents.last().is_none_or(|last| last != "end") {
            contents.push(client.wait_for("message:new", SOON).await[0]["content"].as_str().unwrap().to_owned());
        }
        assert_eq!(contents[..400], numbers(1..=400));
    }
}

#[tokio::test]
async fn what_a_client_sends_while_it_catches_up_it_knows_from_the_answer() {
    let redis = RedisServer::start().await;
    let node = node(&redis, &[]).await;
    let ada = client(&node, "ada", Value::Null).await;
    let at = cursor(&join(&ada, "general").await);
    // Several pages of the log, so that what is sent now is on a page that is read later.
    for number in 1..=1_500 {
        send(&ada, "general", number).await;
    }
    for _ in 0..5 {
        let mut bob = client(&node, "bob", json!({"cursors": {"general": at}})).await;
        let mine = send(&bob, "general", "mine").await;
        let (missed, _) = messages_before(&mut bob, "conversation:synced").await;
        let others: Vec<_> = missed.iter().filter(|content| *content != "mine").cloned().collect();
        assert_eq!(others, numbers(1..=1_500));
        let earlier = mine["seq"].as_u64().unwrap() - 1_501;
        assert_eq!(missed.len() - others.len(), earlier as usize, "its own of former connections, and no other");
        bob.close().await;
    }
}

#[tokio::test]
async fn a_join_answers_what_came_after_a_position_and_goes_on_behind_it() {
    let node = Node::start(&["--auth", "insecure-query"]).await;
    let ada = client(&node, "ada", Value::Null).await;
    join(&ada, "general").await;
    let first = send(&ada, "general", 1).await;
    send(&ada, "general", 2).await;
    let mut bob = client(&node, "bob", Value::Null).await;
    let ask = json!({"conversationId": "general", "after": cursor(&first)});
    let joined = bob.emit_with_ack("conversation:join", ask, SOON).await;
    let contents: Vec<_> = joined["messages"].as_array().unwrap().iter().map(|message| &message["content"]).collect();
    assert_eq!(contents, ["2"]);
    assert_eq!((&joined["complete"], &joined["seq"]), (&json!(true), &json!(2)));
    send(&ada, "general", 3).await;
    assert_eq!(bob.wait_for("message:new", SOON).await[0]["seq"], 3);
}

#[tokio::test]
async fn a_cursor_that_can_not_be_honoured_is_told_to_reload() {
    let redis = RedisServer::start().await;
    let node = node(&redis, &["--log-max-entries", "10"]).await;
    let ada = client(&node, "ada", Value::Null).await;
    join(&ada, "general").await;
    let first = send(&ada, "general", 1).await;
    for number in 2..=30 {
        send(&ada, "general", number).await;
    }
    let reset = async |cursor: Value| {
        let mut bob = client(&node, "bob", json!({"cursors": {"general": cursor}})).await;
        let (missed, reset) = messages_before(&mut bob, "conversation:reset").await;
        assert_eq!(missed, Vec::<String>::new(), "no part of it comes as if it were all");
        assert_eq!((&reset["epoch"], &reset["seq"]), (&first["epoch"], &json!(30)));
        send(&ada, "general", "new").await;
        assert_eq!(bob.wait_for("message:new", SOON).await[0]["content"], "new");
        reset["reason"].clone()
    };
    assert_eq!(reset(cursor(&first)).await, "trimmed");
}

#[tokio::test]
async fn a_cursor_of_a_lost_log_is_told_so() {
    let redis = RedisServer::start().await;
    let node = node(&redis, &[]).await;
    let ada = client(&node, "ada", Value::Null).await;
    join(&ada, "general").await;
    let cursors = json!({"cursors": {"general": {"epoch": "gone", "seq": 7}}});
    send(&ada, "general", 1).await;
    let mut bob = client(&node, "bob", cursors).await;
    let (missed, reset) = messages_before(&mut bob, "conversation:reset").await;
    assert_eq!((missed, &reset["reason"], &reset["seq"]), (vec![], &json!("epoch"), &json!(1)));
}

#[tokio::test]
async fn cursors_of_others_conversations_are_refused_and_the_rest_is_honoured() {
    let node = Node::start(&["--auth", "insecure-query"]).await;
    let at = json!({"epoch": "", "seq": 0});
    let cursors = json!({"dm:bob:carol": at, "user:bob": at, "general": at});
    let mut ada = client(&node, "ada", json!({ "cursors": cursors })).await;
    for conversation in ["dm:bob:carol", "user:bob"] {
        let error = ada.wait_for("error", SOON).await;
        assert_eq!(error[0]["code"], "forbidden");
        assert!(error[0]["message"].as_str().unwrap().starts_with(conversation), "{error:?}");
    }
    assert_eq!(ada.wait_for("conversation:synced", SOON).await[0]["conversationId"], "general");
    let mut ada = client(&node, "ada", json!({"cursors": ["general"]})).await;
    assert_eq!(ada.wait_for("error", SOON).await[0]["code"], "invalid");
}

#[tokio::test]
async fn after_redis_lost_its_data_those_who_stayed_are_told_and_then_hear_everything() {
    let mut redis = RedisServer::start().await;
    let node = node(&redis, &[]).await;
    let (ada, mut bob) = (client(&node, "ada", Value::Null).await, client(&node, "bob", Value::Null).await);
    join(&ada, "general").await;
    join(&bob, "general").await;
    send(&ada, "general", 1).await;
    bob.wait_for("message:new", SOON).await;
    redis.restart(Data::Lose).await;
    let message = json!({"conversationId": "general", "content": "again", "clientMessageId": "again"});
    eventually(SOON, "sending again", || async {
        ada.emit_with_ack("message:send", message.clone(), SOON).await["success"] == true
    })
    .await;
    let (missed, reset) = messages_before(&mut bob, "conversation:reset").await;
    assert_eq!((missed, &reset["reason"], &reset["seq"]), (vec![], &json!("epoch"), &json!(0)));
    assert_eq!(bob.wait_for("message:new", SOON).await[0]["content"], "again");
}

#[tokio::test]
async fn what_is_published_while_the_node_does_not_listen_is_read_from_the_log() {
    let redis = RedisServer::start().await;
    let (one, other) = (node(&redis, &[]).await, node(&redis, &[]).await);
    let (ada, mut bob) = (client(&one, "ada", Value::Null).await, client(&other, "bob", Value::Null).await);
    join(&ada, "general").await;
    join(&bob, "general").await;
    for number in 1..=100 {
        if number % 10 == 5 {
            RedisServer::cut(&redis.url(), "pubsub").await;
        }
        send(&ada, "general", number).await;
    }
    let mut contents = Vec::new();
    while contents.len() < 100 {
        contents.push(bob.wait_for("message:new", SOON).await[0]["content"].as_str().unwrap().to_owned());
    }
    assert_eq!(contents, numbers(1..=100));
}

#[tokio::test]
async fn nothing_is_lost_while_everything_breaks() {
    let chaos = Chaos { seed: 4, time: Duration::from_secs(12), clients: 30, ..Chaos::default() };
    let report = chaos.run().await;
    assert!(report.is_whole() && report.fault_count() > 5, "{report}");
}
