//! A small Socket.IO v5 client over WebSocket, for tests: no reconnection, nothing hidden. It sends text alone; binary data
//! that it receives stands in the event as a list of bytes.

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const CONNECTED_WITHIN: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConnectError {
    /// The `message` of the server's `connect_error`, or what went wrong before one could come.
    pub message: String,
    /// The `data` of the server's `connect_error`, if it sent any.
    pub data: Option<Value>,
}

impl ConnectError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), data: None }
    }
}

/// Connects to `namespace` of the server at `url` (`http://127.0.0.1:3000`, with `?a=b` for query parameters of the
/// handshake), with `auth` as the payload of CONNECT (`Value::Null` for none).
///
/// # Errors
/// [`ConnectError`] with the server's own message when it refuses, within 10 s in any case.
pub async fn connect(url: &str, namespace: &str, auth: Value) -> Result<Client, ConnectError> {
    tokio::time::timeout(CONNECTED_WITHIN, Client::open(url, namespace, auth))
        .await
        .unwrap_or_else(|_| Err(ConnectError::new(format!("no answer within {CONNECTED_WITHIN:?}"))))
}

/// A connected Socket.IO client. Pings are answered in the background until it is dropped.
#[derive(Debug)]
pub struct Client {
    sid: String,
    namespace: String,
    outgoing: mpsc::UnboundedSender<Message>,
    events: mpsc::UnboundedReceiver<(String, Vec<Value>)>,
    pending: Arc<Mutex<Pending>>,
    answer: Arc<Mutex<Option<Value>>>,
    _tasks: JoinSet<()>,
}

/// Acknowledgements asked for and not yet received.
#[derive(Debug, Default)]
struct Pending {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Vec<Value>>>,
}

impl Client {
    async fn open(url: &str, namespace: &str, auth: Value) -> Result<Self, ConnectError> {
        let (socket, _) = tokio_tungstenite::connect_async(websocket_url(url)?)
            .await
            .map_err(|e| ConnectError::new(e.to_string()))?;
        let (mut sink, mut stream) = socket.split();
        let sid = handshake(&mut sink, &mut stream, namespace, &auth).await?;

        let (outgoing, to_send) = mpsc::unbounded_channel();
        let (received, events) = mpsc::unbounded_channel();
        let pending = Arc::new(Mutex::new(Pending::default()));
        let answer = Arc::new(Mutex::new(None));
        let reader = Reader {
            answer: Arc::clone(&answer),
            namespace: namespace.to_owned(),
            incomplete: None,
            answers: outgoing.clone(),
            received,
            pending: Arc::clone(&pending),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(write(sink, to_send));
        tasks.spawn(reader.run(stream));
        Ok(Self { sid, namespace: namespace.to_owned(), outgoing, events, pending, answer, _tasks: tasks })
    }

    /// The socket id that the server gave.
    pub fn sid(&self) -> &str {
        &self.sid
    }

    /// Answers every event from now on that the server wants acknowledged. Without this, none is.
    pub fn acknowledge_with(&self, answer: Value) {
        *self.answer.lock().expect("no panic under this lock") = Some(answer);
    }

    /// Sends an event with one argument. After a close it goes nowhere, as with the stock client.
    pub fn emit(&self, event: &str, payload: Value) {
        self.send(None, event, payload);
    }

    /// Sends an event and waits for its acknowledgement; answers its first argument (`Null` if it has none).
    ///
    /// # Panics
    /// When it doesn't come within `deadline`.
    pub async fn emit_with_ack(&self, event: &str, payload: Value, deadline: Duration) -> Value {
        let (acknowledged, acknowledgement) = oneshot::channel();
        let id = {
            let mut pending = self.pending.lock().expect("no panic under this lock");
            pending.next += 1;
            let id = pending.next;
            pending.waiting.insert(id, acknowledged);
            id
        };
        self.send(Some(id), event, payload);
        match tokio::time::timeout(deadline, acknowledgement).await {
            Ok(Ok(args)) => args.into_iter().next().unwrap_or(Value::Null),
            Ok(Err(_)) => panic!("the connection closed before `{event}` was acknowledged"),
            Err(_) => panic!("`{event}` was not acknowledged within {deadline:?}"),
        }
    }

    /// The next event: its name and arguments, in the order of arrival.
    ///
    /// # Panics
    /// When none comes within `deadline`, or the connection ends first.
    pub async fn next_event(&mut self, deadline: Duration) -> (String, Vec<Value>) {
        match tokio::time::timeout(deadline, self.events.recv()).await {
            Ok(Some(event)) => event,
            Ok(None) => panic!("the connection closed while an event was awaited"),
            Err(_) => panic!("no event came within {deadline:?}"),
        }
    }

    /// Skips events until one named `name` comes, and answers its arguments.
    ///
    /// # Panics
    /// As [`next_event`](Self::next_event); the message says which event was awaited.
    pub async fn wait_for(&mut self, name: &str, deadline: Duration) -> Vec<Value> {
        let found = tokio::time::timeout(deadline, async {
            while let Some((event, args)) = self.events.recv().await {
                if event == name {
                    return Some(args);
                }
            }
            None
        });
        match found.await {
            Ok(Some(args)) => args,
            Ok(None) => panic!("the connection closed while `{name}` was awaited"),
            Err(_) => panic!("`{name}` did not come within {deadline:?}"),
        }
    }

    /// Waits until the server has closed the connection; events still unread are dropped.
    ///
    /// # Panics
    /// When it is still open at `deadline`.
    pub async fn closed(&mut self, deadline: Duration) {
        let drained = async { while self.events.recv().await.is_some() {} };
        let closed = tokio::time::timeout(deadline, drained).await;
        assert!(closed.is_ok(), "the server did not close the connection within {deadline:?}");
    }

    /// Leaves the namespace and closes the WebSocket, as `socket.disconnect()` does; waits for the server's side.
    pub async fn close(mut self) {
        let _ = self.outgoing.send(Message::text(packet(DISCONNECT, &self.namespace, "")));
        let _ = self.outgoing.send(Message::Close(None));
        let drained = async { while self.events.recv().await.is_some() {} };
        let _ = tokio::time::timeout(CONNECTED_WITHIN, drained).await;
    }

    fn send(&self, ack: Option<u64>, event: &str, payload: Value) {
        let id = ack.map(|id| id.to_string()).unwrap_or_default();
        let body = format!("{id}{}", Value::Array(vec![event.into(), payload]));
        let _ = self.outgoing.send(Message::text(packet(EVENT, &self.namespace, &body)));
    }
}

// Engine.IO packet types, and within a message (4) those of Socket.IO.
const OPEN: char = '0';
const PING: &str = "2";
const PONG: &str = "3";
const MESSAGE: char = '4';
const CONNECT: char = '0';
const DISCONNECT: char = '1';
const EVENT: char = '2';
const ACK: char = '3';
const CONNECT_ERROR: char = '4';
const BINARY_EVENT: &str = "45";

fn packet(kind: char, namespace: &str, body: &str) -> String {
    match namespace {
        "" | "/" => format!("{MESSAGE}{kind}{body}"),
        other => format!("{MESSAGE}{kind}{other},{body}"),
    }
}

fn websocket_url(url: &str) -> Result<String, ConnectError> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| ConnectError::new(format!("not a URL: {url}")))?;
    let scheme = if matches!(scheme, "https" | "wss") { "wss" } else { "ws" };
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let query = if query.is_empty() { String::new() } else { format!("&{query}") };
    let authority = authority.trim_end_matches('/');
    Ok(format!("{scheme}://{authority}/socket.io/?EIO=4&transport=websocket{query}"))
}

/// Engine.IO open, then CONNECT; the socket id, or why not.
async fn handshake(
    sink: &mut SplitSink<Socket, Message>,
    stream: &mut SplitStream<Socket>,
    namespace: &str,
    auth: &Value,
) -> Result<String, ConnectError> {
    let open = next_text(stream).await?;
    if !open.starts_with(OPEN) {
        return Err(ConnectError::new(format!("expected the handshake, got {open}")));
    }
    let auth = if auth.is_null() { String::new() } else { auth.to_string() };
    send(sink, packet(CONNECT, namespace, &auth)).await?;
    loop {
        let text = next_text(stream).await?;
        if text == PING {
            send(sink, PONG.to_owned()).await?;
            continue;
        }
        match parse(&text, namespace) {
            Some((CONNECT, body)) => return Ok(field(body, "sid").unwrap_or_default()),
            Some((CONNECT_ERROR, body)) => {
                let data = serde_json::from_str::<Value>(body).ok().and_then(|v| v.get("data").cloned());
                let message = field(body, "message").unwrap_or_else(|| body.to_owned());
                return Err(ConnectError { message, data });
            }
            _ => return Err(ConnectError::new(format!("expected an answer to CONNECT, got {text}"))),
        }
    }
}

async fn send(sink: &mut SplitSink<Socket, Message>, text: String) -> Result<(), ConnectError> {
    sink.send(Message::text(text)).await.map_err(|e| ConnectError::new(e.to_string()))
}

async fn next_text(stream: &mut SplitStream<Socket>) -> Result<String, ConnectError> {
    while let Some(message) = stream.next().await {
        match message.map_err(|e| ConnectError::new(e.to_string()))? {
            Message::Text(text) => return Ok(text.to_string()),
            Message::Close(frame) => return Err(ConnectError::new(format!("closed during the handshake: {frame:?}"))),
            _ => {}
        }
    }
    Err(ConnectError::new("closed during the handshake"))
}

/// Kind and body of a Socket.IO packet of `namespace`; `None` for everything else.
fn parse<'a>(text: &'a str, namespace: &str) -> Option<(char, &'a str)> {
    let mut rest = text.strip_prefix(MESSAGE)?.chars();
    let kind = rest.next()?;
    let body = rest.as_str();
    if matches!(namespace, "" | "/") {
        return (!body.starts_with('/')).then_some((kind, body));
    }
    let body = body.strip_prefix(namespace)?;
    match body.strip_prefix(',') {
        Some(body) => Some((kind, body)),
        None => body.is_empty().then_some((kind, body)),
    }
}

fn field(json: &str, name: &str) -> Option<String> {
    let value: Value = serde_json::from_str(json).ok()?;
    value.get(name)?.as_str().map(str::to_owned)
}

async fn write(mut sink: SplitSink<Socket, Message>, mut outgoing: mpsc::UnboundedReceiver<Message>) {
    while let Some(message) = outgoing.recv().await {
        if sink.send(message).await.is_err() {
            return;
        }
    }
}

/// Unbounded towards the test on purpose: a test that reads late must still see everything in order.
struct Reader {
    namespace: String,
    /// An event whose binary data is still coming.
    incomplete: Option<BinaryEvent>,
    /// To events that want one.
    answer: Arc<Mutex<Option<Value>>>,
    answers: mpsc::UnboundedSender<Message>,
    received: mpsc::UnboundedSender<(String, Vec<Value>)>,
    pending: Arc<Mutex<Pending>>,
}

/// An event whose binary data comes in frames of its own.
struct BinaryEvent {
    /// As if it had no binary data: placeholders are arguments like others.
    text: String,
    frames: usize,
    attachments: Vec<Value>,
}

impl BinaryEvent {
    /// `None` for every other packet.
    fn parse(text: &str) -> Option<Self> {
        let (frames, rest) = text.strip_prefix(BINARY_EVENT)?.split_once('-')?;
        Some(Self { text: format!("{MESSAGE}{EVENT}{rest}"), frames: frames.parse().ok()?, attachments: Vec::new() })
    }
}

/// Puts binary data where its placeholder stands.
fn fill(value: &mut Value, attachments: &[Value]) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, attachments)),
        Value::Object(fields) if fields.get("_placeholder") == Some(&Value::Bool(true)) => {
            let number = fields.get("num").and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
            if let Some(attachment) = number.and_then(|number| attachments.get(number)) {
                *value = attachment.clone();
            }
        }
        Value::Object(fields) => fields.values_mut().for_each(|field| fill(field, attachments)),
        _ => {}
    }
}

impl Reader {
    /// Until the connection or the namespace is closed. Then nobody waits any longer: events and acknowledgements end.
    async fn run(mut self, mut stream: SplitStream<Socket>) {
        while let Some(Ok(message)) = stream.next().await {
            let goes_on = match message {
                Message::Text(text) if text.as_str() == PING => {
                    let _ = self.answers.send(Message::text(PONG));
                    Some(())
                }
                Message::Text(text) => {
                    self.incomplete = BinaryEvent::parse(&text);
                    if self.incomplete.is_some() { Some(()) } else { self.handle(&text, &[]) }
                }
                Message::Binary(bytes) => self.attach(&bytes),
                _ => Some(()),
            };
            if goes_on.is_none() {
                break;
            }
        }
        self.pending.lock().expect("no panic under this lock").waiting.clear();
    }

    /// Binary data of the event that came before it.
    fn attach(&mut self, bytes: &[u8]) -> Option<()> {
        let Some(event) = &mut self.incomplete else { return Some(()) };
        event.attachments.push(bytes.into());
        if event.attachments.len() < event.frames {
            return Some(());
        }
        let event = self.incomplete.take()?;
        self.handle(&event.text, &event.attachments)
    }

    /// `None` when the server ended the namespace.
    fn handle(&self, text: &str, attachments: &[Value]) -> Option<()> {
        let Some((kind, body)) = parse(text, &self.namespace) else { return Some(()) };
        let digits = body.len() - body.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (id, json) = body.split_at(digits);
        let args = || {
            let mut args = serde_json::from_str::<Vec<Value>>(json).unwrap_or_default();
            args.iter_mut().for_each(|arg| fill(arg, attachments));
            args
        };
        match kind {
            EVENT => {
                let mut args = args().into_iter();
                let name = args.next()?.as_str()?.to_owned();
                let _ = self.received.send((name, args.collect()));
                let answer = self.answer.lock().ok()?.clone();
                if let Some(answer) = answer.filter(|_| !id.is_empty()) {
                    let body = format!("{id}{}", Value::Array(vec![answer]));
                    let _ = self.answers.send(Message::text(packet(ACK, &self.namespace, &body)));
                }
            }
            ACK => {
                let waiting = id.parse().ok().and_then(|id: u64| self.pending.lock().ok()?.waiting.remove(&id));
                if let Some(waiting) = waiting {
                    let _ = waiting.send(args());
                }
            }
            DISCONNECT => return None,
            _ => {}
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::net::TcpListener;

    const SOON: Duration = Duration::from_secs(5);

    /// A server that answers what the client says by `script`: (what it expects, what it then sends). What begins with `b` is
    /// sent as binary data.
    async fn server(script: Vec<(&'static str, Vec<&'static str>)>) -> (String, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            socket.send(Message::text(r#"0{"sid":"engine"}"#)).await.unwrap();
            for (expected, answers) in script {
                assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(expected));
                for answer in answers {
                    let bytes = answer.strip_prefix('b').map(|bytes| Message::binary(bytes.as_bytes()));
                    socket.send(bytes.unwrap_or_else(|| Message::text(answer))).await.unwrap();
                }
            }
            let _ = socket.close(None).await;
            while let Some(Ok(_)) = socket.next().await {}
        });
        (url, tasks)
    }

    /// The script was kept to, to its end.
    async fn succeeded(mut server: JoinSet<()>) {
        tokio::time::timeout(SOON, server.join_next()).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_conversation_with_a_server_goes_as_the_protocol_says() {
        let (url, server) = server(vec![
            (r#"40/chat,{"token":"t"}"#, vec!["2", r#"40/chat,{"sid":"me"}"#]),
            ("3", vec![r#"42["for another namespace"]"#, r#"42/chat,["hello",1,{"a":2}]"#]),
            (r#"42/chat,1["ask",{"q":1}]"#, vec!["2", r#"42/chat,["between"]"#, r#"43/chat,1[{"success":true}]"#]),
            ("3", vec![]),
            (r#"42/chat,["tell",null]"#, vec!["41/chat"]),
        ])
        .await;
        // The first ping may come before the answer to CONNECT.
        let mut client = connect(&url, "/chat", json!({"token": "t"})).await.unwrap();
        assert_eq!(client.sid(), "me");
        assert_eq!(client.next_event(SOON).await, ("hello".into(), vec![json!(1), json!({"a": 2})]));
        assert_eq!(client.emit_with_ack("ask", json!({"q": 1}), SOON).await, json!({"success": true}));
        assert_eq!(client.wait_for("between", SOON).await, Vec::<Value>::new());
        client.emit("tell", Value::Null);
        client.closed(SOON).await;
        drop(client);
        succeeded(server).await;
    }

    #[tokio::test]
    async fn binary_data_is_put_where_it_belongs() {
        let placed = r#"452-/chat,["data",{"b":{"_placeholder":true,"num":1}},{"_placeholder":true,"num":0}]"#;
        let elsewhere = r#"451-["for another namespace",{"_placeholder":true,"num":0}]"#;
        let script =
            vec![("40/chat,", vec![r#"40/chat,{"sid":"me"}"#, elsewhere, "bno", placed, "b\u{1}\u{2}", "b\u{3}"])];
        let (url, server) = server(script).await;
        let mut client = connect(&url, "/chat", Value::Null).await.unwrap();
        assert_eq!(client.next_event(SOON).await, ("data".into(), vec![json!({"b": [3]}), json!([1, 2])]));
        drop(client);
        succeeded(server).await;
    }

    #[tokio::test]
    async fn a_refusal_carries_the_servers_words() {
        let refusal = r#"44{"message":"Authentication error: Invalid token","data":{"code":"unauthenticated"}}"#;
        let (url, server) = server(vec![("40", vec![refusal])]).await;
        let error = connect(&url, "/", Value::Null).await.unwrap_err();
        assert_eq!(error.message, "Authentication error: Invalid token");
        assert_eq!(error.data, Some(json!({"code": "unauthenticated"})));
        succeeded(server).await;
    }

    #[tokio::test]
    #[should_panic(expected = "the connection closed before `ask` was acknowledged")]
    async fn a_close_ends_the_wait_for_an_acknowledgement() {
        let (url, _server) = server(vec![("40", vec![r#"40{"sid":"me"}"#]), (r#"421["ask",null]"#, vec![])]).await;
        let client = connect(&url, "/", Value::Null).await.unwrap();
        client.emit_with_ack("ask", Value::Null, SOON).await;
    }

    #[test]
    fn the_query_of_the_url_joins_that_of_the_handshake() {
        assert_eq!(
            websocket_url("http://127.0.0.1:3000/?userId=a%20b").unwrap(),
            "ws://127.0.0.1:3000/socket.io/?EIO=4&transport=websocket&userId=a%20b"
        );
        assert!(websocket_url("127.0.0.1").is_err());
    }

    #[test]
    fn packets_of_other_namespaces_are_not_ours() {
        assert_eq!(parse("42[\"a\"]", "/"), Some((EVENT, "[\"a\"]")));
        assert_eq!(parse("42/chat,7[\"a\"]", "/chat"), Some((EVENT, "7[\"a\"]")));
        assert_eq!(parse("41/chat", "/chat"), Some((DISCONNECT, "")));
        assert_eq!(parse("42/chat,[\"a\"]", "/"), None);
        assert_eq!(parse("42/chatter,[\"a\"]", "/chat"), None);
        assert_eq!(parse("3", "/"), None);
    }
}
