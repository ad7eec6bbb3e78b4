//! The program itself against a server that does wrong on purpose: everything it did must be in the result, and nothing else.

use std::{
    collections::HashMap,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::mpsc::{UnboundedSender, unbounded_channel},
    task::JoinSet,
    time::timeout,
};

const DEADLINE: Duration = Duration::from_secs(120);

/// What happens to the deliveries to each member: their texts, as often and in the order in which they go out.
type Fault = fn(Vec<String>) -> Vec<String>;

#[derive(Default)]
struct Room {
    members: HashMap<usize, UnboundedSender<String>>,
    /// Messages that wait until all have come: then the fault is done.
    held: Vec<String>,
}

/// Serves one room until it is dropped, and hands on when `batch` messages are there.
async fn server(batch: usize, fault: Fault) -> (u16, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let room = Arc::<Mutex<Room>>::default();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            connections.spawn(serve(stream, number, Arc::clone(&room), batch, fault));
        }
    });
    (port, tasks)
}

async fn serve(mut stream: TcpStream, number: usize, room: Arc<Mutex<Room>>, batch: usize, fault: Fault) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let (out, mut queue) = unbounded_channel::<String>();
    out.send("0{}".into()).unwrap();
    let write = async {
        while let Some(text) = queue.recv().await {
            let length = u8::try_from(text.len()).map_or_else(
                |_| [&[126], &u16::try_from(text.len()).unwrap().to_be_bytes()[..]].concat(),
                |length| if length < 126 { vec![length] } else { vec![126, 0, length] },
            );
            writing.write_all(&[&[0x81], &length[..], text.as_bytes()].concat()).await.unwrap();
        }
    };
    let read = async {
        while let Some(text) = text(&mut reading).await {
            heard(&text, number, &room, &out, batch, fault);
        }
    };
    tokio::join!(write, read);
}

/// A client's frame, masked with zero.
async fn text(reading: &mut (impl AsyncReadExt + Unpin)) -> Option<String> {
    reading.read_u8().await.ok()?;
    let length = match reading.read_u8().await.ok()? & 0x7f {
        126 => usize::from(reading.read_u16().await.ok()?),
        short => usize::from(short),
    };
    let mut bytes = vec![0; 4 + length];
    reading.read_exact(&mut bytes).await.ok()?;
    Some(String::from_utf8(bytes.split_off(4)).unwrap())
}

fn heard(text: &str, number: usize, room: &Mutex<Room>, out: &UnboundedSender<String>, batch: usize, fault: Fault) {
    let Some(event) = text.strip_prefix("42") else {
        if text.starts_with("40") {
            out.send(r#"40{"sid":"x"}"#.into()).unwrap();
        }
        return;
    };
    let (id, event) = event.split_at(event.find('[').unwrap());
    let mut room = room.lock().unwrap();
    if let Some(payload) = event.strip_prefix(r#"["message:send","#) {
        room.held.push(format!(r#"42["message:new",{payload}"#));
        if room.held.len() == batch {
            let texts = fault(std::mem::take(&mut room.held));
            let others = room.members.iter().filter(|(member, _)| **member != number);
            others.for_each(|(_, member)| texts.iter().for_each(|text| member.send(text.clone()).unwrap()));
        }
    } else {
        room.members.insert(number, out.clone());
    }
    out.send(format!(r#"43{id}[{{"success":true}}]"#)).unwrap();
}

/// Twenty messages to two recipients; what the program found, and its exit code.
async fn measured(fault: Fault, options: &[&str]) -> (Value, i32) {
    let (port, _server) = server(20, fault).await;
    let json = tempfile::NamedTempFile::new().unwrap();
    let code = program(port, json.path(), &[&["--patience", "1", "--strict"], options].concat()).await;
    (serde_json::from_slice(&std::fs::read(json.path()).unwrap()).unwrap(), code)
}

async fn program(port: u16, json: &Path, options: &[&str]) -> i32 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline-loadtest"));
    command.args(["--url", &format!("ws://127.0.0.1:{port}"), "--clients", "3", "--json"]).arg(json).args(options);
    command.args(["room", "--messages", "20", "--in-flight", "20"]).stdout(Stdio::null()).kill_on_drop(true);
    let status = timeout(DEADLINE, command.status()).await.expect("it ends in time").unwrap();
    status.code().expect("it ends by itself")
}

fn counts(outcome: &Value) -> [u64; 4] {
    ["delivered", "lost", "repeated", "overtaken"].map(|name| outcome["load"][name].as_u64().unwrap())
}

#[tokio::test]
async fn a_server_that_does_right_is_found_right() {
    let (outcome, code) = measured(|texts| texts, &[]).await;
    assert_eq!((counts(&outcome), code), ([40, 0, 0, 0], 0), "{outcome}");
    assert_eq!(outcome["valid"], true);
    assert_eq!(outcome["load"]["delivery"]["count"], 40);
}

#[tokio::test]
async fn planted_losses_are_counted_for_each_recipient() {
    let lose = |mut texts: Vec<String>| {
        texts.remove(19);
        texts.drain(4..7);
        texts
    };
    let (outcome, code) = measured(lose, &[]).await;
    assert_eq!((counts(&outcome), code), ([32, 8, 0, 0], 4), "{outcome}");
}

#[tokio::test]
async fn planted_repeats_are_no_deliveries() {
    // In the middle: the run is over when the last message is there.
    let repeat = |texts: Vec<String>| {
        let (first, rest) = texts.split_at(10);
        [first, &first[3..5], rest].concat()
    };
    let (outcome, code) = measured(repeat, &[]).await;
    assert_eq!((counts(&outcome), code), ([40, 0, 4, 0], 4), "{outcome}");
}

#[tokio::test]
async fn planted_overtaking_is_no_loss() {
    let swap = |mut texts: Vec<String>| {
        texts.swap(2, 3);
        texts
    };
    let (outcome, code) = measured(swap, &[]).await;
    assert_eq!((counts(&outcome), code), ([40, 0, 0, 2], 4), "{outcome}");
}

#[tokio::test]
async fn a_server_that_is_not_there_makes_the_result_invalid() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let json = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(program(nobody, json.path(), &[]).await, 3);
    let outcome: Value = serde_json::from_slice(&std::fs::read(json.path()).unwrap()).unwrap();
    assert_eq!(outcome["valid"], false);
    assert!(outcome["doubts"][0].as_str().unwrap().contains("3 of 3 clients did not connect"), "{outcome}");
}

#[tokio::test]
async fn more_clients_than_descriptors_make_the_result_invalid_before_any_comes() {
    let json = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -n 50 && exec "$0" "$@""#, env!("CARGO_BIN_EXE_trunkline-loadtest")]);
    command.args(["--url", "ws://127.0.0.1:1", "--clients", "40", "--json"]).arg(json.path()).arg("connect");
    let status = timeout(DEADLINE, command.stdout(Stdio::null()).status()).await.expect("it ends in time").unwrap();
    assert_eq!(status.code(), Some(3));
    let outcome: Value = serde_json::from_slice(&std::fs::read(json.path()).unwrap()).unwrap();
    let doubt = outcome["doubts"][0].as_str().unwrap();
    assert!(doubt.contains("40 connections") && doubt.contains("50 descriptors"), "{doubt}");
}

/// Messages of an open rate leave when they should, though the server answers none of them.
#[tokio::test]
async fn an_open_rate_does_not_wait_for_the_server() {
    let (port, _server) = server(usize::MAX, |texts| texts).await;
    let json = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline-loadtest"));
    command.args(["--url", &format!("ws://127.0.0.1:{port}"), "--clients", "2", "--patience", "1", "--json"]);
    command.arg(json.path()).args(["room", "--rate", "100", "--seconds", "1"]).stdout(Stdio::null()).kill_on_drop(true);
    timeout(DEADLINE, command.status()).await.expect("it ends in time").unwrap();
    let outcome: Value = serde_json::from_slice(&std::fs::read(json.path()).unwrap()).unwrap();
    assert_eq!(
        (outcome["load"]["sent"].as_u64(), outcome["load"]["lost"].as_u64()),
        (Some(100), Some(100)),
        "{outcome}"
    );
}
