//! The example `two_nodes`, with the Node server and the clients that it says to start beside it.

mod support;

#[path = "../examples/two_nodes.rs"]
#[allow(dead_code, reason = "its main has fixed ports")]
mod two_nodes;

use std::{process::Stdio, time::Duration};

use serde_json::{Value, json};
use support::{ROOT, SOON, node, topology};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdout, Command},
    task::JoinSet,
};
use trunkline_testkit::{RedisServer, connect, eventually};

#[tokio::test]
async fn clients_of_two_nodes_and_a_node_server_talk_to_each_other() {
    let redis = RedisServer::start().await;
    let listeners = [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
    let mut urls: Vec<String> =
        listeners.iter().map(|listener| format!("http://{}", listener.local_addr().unwrap())).collect();
    let mut nodes = JoinSet::new();
    let topology = topology(&redis);
    nodes.spawn(async move { two_nodes::serve(&topology, listeners).await });

    node::install().await;
    let (_server, mut lines) = start(&["../../examples/node-server.mjs", &redis.url(), "0"]);
    let line = next(&mut lines).await;
    urls.push(line.strip_prefix("a Node server on ").expect("its address").to_owned());

    let mut clients = Vec::new();
    for url in &urls {
        let client = connect(url, ROOT, Value::Null).await.expect("anyone may connect");
        // A node that is not joined yet says so.
        eventually(SOON, "a room joined", || async {
            client.emit_with_ack("join", json!("r"), SOON).await == json!(true)
        })
        .await;
        clients.push(client);
    }
    for speaker in 0..clients.len() {
        for listener in 0..clients.len() {
            let said = json!({ "room": "r", "text": format!("from {speaker} to {listener}") });
            // A Node server that has just started does not hear the others yet, and nothing tells when it does.
            let deadline = tokio::time::Instant::now() + SOON;
            loop {
                assert!(tokio::time::Instant::now() < deadline, "{said} is not heard");
                clients[speaker].emit("say", said.clone());
                let heard = clients[listener].wait_for("said", SOON);
                let heard = tokio::time::timeout(Duration::from_millis(500), heard).await;
                if heard.is_ok_and(|args| args == [said.clone()]) {
                    break;
                }
            }
        }
    }

    let (mut writer, mut written) = start(&["../../examples/client.mjs", &urls[0]]);
    let (_reader, mut read) = start(&["../../examples/client.mjs", &urls[2]]);
    assert_eq!(next(&mut written).await, format!("in lobby of {}", urls[0]));
    assert_eq!(next(&mut read).await, format!("in lobby of {}", urls[2]));
    writer.stdin.as_mut().expect("a pipe").write_all("typed\n".as_bytes()).await.unwrap();
    assert_eq!((next(&mut written).await, next(&mut read).await), ("typed".to_owned(), "typed".to_owned()));
}

type Output = Lines<BufReader<ChildStdout>>;

fn start(args: &[&str]) -> (Child, Output) {
    let mut process = Command::new("node")
        .args(args)
        .current_dir(node::directory())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node is installed");
    let output = BufReader::new(process.stdout.take().expect("a pipe")).lines();
    (process, output)
}

async fn next(output: &mut Output) -> String {
    let line = tokio::time::timeout(SOON, output.next_line()).await.expect("it says something in time");
    line.expect("a readable pipe").expect("the process lives")
}
