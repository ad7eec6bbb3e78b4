//! A stock rust_socketio client by remote control, through either of the library's two interfaces.
//!
//! Reads orders and says what happens, one JSON object a line. Bytes are written as {"$bytes": BASE64}. It ends with its
//! input.
//!
//!     {"do": "connect", "api": …, "url": …, "transport": …, "auth": {…}, "namespace": …}
//!     {"do": "call", "n": …, "event": …, "args": …}      the answer comes back under the same n
//!     {"do": "emit", "event": …, "args": …}

use std::error::Error;
use std::future::ready;
use std::io::{BufRead, Write};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rust_socketio::{Event, Payload, TransportType, asynchronous};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const TIMEOUT: Duration = Duration::from_secs(8);
const RECONNECT_MS: (u64, u64) = (100, 300);

/// How the library hands over what the server says to a refused client.
const REFUSAL: &str = "Received an ConnectError frame: ";

fn main() -> Result<(), Box<dyn Error>> {
    let mut client = None;
    for line in std::io::stdin().lock().lines() {
        let order: Value = serde_json::from_str(&line?)?;
        if order["do"] == "connect" {
            match Client::connect(&order) {
                Ok(connecting) => client = Some(connecting),
                Err(error) => say(&json!({ "what": "failed", "error": error.to_string() })),
            }
        } else if let Err(error) = client.as_ref().ok_or("not connected")?.send(&order) {
            say(&json!({ "what": "answer", "n": order["n"], "error": error.to_string() }));
        }
    }
    Ok(())
}

enum Client {
    Blocking(rust_socketio::client::Client),
    Async(Runtime, asynchronous::Client),
}

impl Client {
    fn connect(order: &Value) -> Result<Self, Box<dyn Error>> {
        let (url, auth) = (text(&order["url"]), order["auth"].clone());
        let namespace = text(&order["namespace"]).to_owned();
        let transport = match text(&order["transport"]) {
            "websocket" => TransportType::Websocket,
            "polling" => TransportType::Polling,
            "upgrade" => TransportType::WebsocketUpgrade,
            other => return Err(format!("no such transport: {other}").into()),
        };
        match text(&order["api"]) {
            "blocking" => {
                let builder = rust_socketio::ClientBuilder::new(url)
                    .namespace(namespace.clone())
                    .transport_type(transport)
                    .auth(auth)
                    .reconnect_delay(RECONNECT_MS.0, RECONNECT_MS.1)
                    .on(Event::Connect, |_, _| connected())
                    .on(Event::Close, |_, _| disconnected())
                    .on(Event::Error, |payload, _| failed(payload))
                    .on_any(move |event, payload, _| received(&namespace, &event, payload));
                Ok(Self::Blocking(builder.connect()?))
            }
            "async" => {
                let runtime = Runtime::new()?;
                let builder = asynchronous::ClientBuilder::new(url)
                    .namespace(namespace.clone())
                    .transport_type(transport)
                    .auth(auth)
                    .reconnect_delay(RECONNECT_MS.0, RECONNECT_MS.1)
                    .on(Event::Connect, |_, _| Box::pin(async { connected() }))
                    .on(Event::Close, |_, _| Box::pin(async { disconnected() }))
                    .on(Event::Error, |payload, _| Box::pin(async { failed(payload) }))
                    .on_any(move |event, payload, _| {
                        received(&namespace, &event, payload);
                        Box::pin(ready(()))
                    });
                let client = runtime.block_on(builder.connect())?;
                Ok(Self::Async(runtime, client))
            }
            other => Err(format!("no such interface: {other}").into()),
        }
    }

    fn send(&self, order: &Value) -> Result<(), Box<dyn Error>> {
        let (event, args, n) = (text(&order["event"]), payload(&order["args"]), order["n"].clone());
        match (self, order["do"] == "call") {
            (Self::Blocking(client), false) => client.emit(event, args)?,
            (Self::Blocking(client), true) => {
                client.emit_with_ack(event, args, TIMEOUT, move |answer, _| answered(&n, answer))?
            }
            (Self::Async(runtime, client), false) => runtime.block_on(client.emit(event, args))?,
            (Self::Async(runtime, client), true) => {
                let callback = move |answer: Payload, _| {
                    answered(&n, answer);
                    Box::pin(ready(())) as _
                };
                runtime.block_on(client.emit_with_ack(event, args, TIMEOUT, callback))?
            }
        }
        Ok(())
    }
}

fn connected() {
    say(&json!({ "what": "connected" }));
}

fn disconnected() {
    say(&json!({ "what": "disconnected" }));
}

fn received(namespace: &str, event: &Event, payload: Payload) {
    say(&json!({ "what": "event", "name": event.as_str(), "namespace": namespace, "args": plain(payload) }));
}

/// Refused, or an error of the library, or an event of this name.
fn failed(payload: Payload) {
    let error = first(plain(payload));
    match text(&error).strip_prefix(REFUSAL).map(serde_json::from_str::<Value>) {
        Some(Ok(data)) => say(&json!({ "what": "refused", "data": data })),
        _ => say(&json!({ "what": "error", "error": error })),
    }
}

/// The library hands over the list of what is in the answer as one value.
fn answered(n: &Value, answer: Payload) {
    let answer = match first(plain(answer)) {
        Value::Array(values) => first(values),
        other => other,
    };
    say(&json!({ "what": "answer", "n": n, "answer": answer }));
}

fn payload(args: &Value) -> Payload {
    match args["$bytes"].as_str().map(|bytes| STANDARD.decode(bytes)) {
        Some(Ok(bytes)) => Payload::from(bytes),
        _ => Payload::from(args.clone()),
    }
}

/// What JSON can say of it.
fn plain(payload: Payload) -> Vec<Value> {
    match payload {
        Payload::Text(values) => values,
        Payload::Binary(bytes) => vec![json!({ "$bytes": STANDARD.encode(bytes) })],
        deprecated => vec![Value::String(format!("{deprecated:?}"))],
    }
}

fn first(values: Vec<Value>) -> Value {
    values.into_iter().next().unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A whole line at once: those who write are several threads.
fn say(said: &Value) {
    let mut out = std::io::stdout().lock();
    // Nobody listens any more: then the orders end, too.
    let _ = writeln!(out, "{said}").and_then(|()| out.flush());
}
