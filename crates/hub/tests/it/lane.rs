//! A lane without a network: an outbox that records, and a handler that records.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use trunkline_hub::{
    Close, CloseReason, Encoded, Event, Flush, Handler, Handshake, Hub, Namespace, Packet, Refusal, Socket, SocketId,
    lanes::{Outbox, SendError},
};

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// What came out for one socket.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<Record>>);

#[derive(Debug, Default)]
struct Record {
    events: Vec<String>,
    acks: Vec<(i64, String)>,
    closed: Vec<Close>,
    capacity: Option<usize>,
}

impl Seen {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Arc::new(Mutex::new(Record { capacity: Some(capacity), ..Record::default() })))
    }

    pub(crate) fn events(&self) -> Vec<String> {
        self.0.lock().events.clone()
    }

    pub(crate) fn acks(&self) -> Vec<(i64, String)> {
        self.0.lock().acks.clone()
    }

    pub(crate) fn closings(&self) -> Vec<Close> {
        self.0.lock().closed.clone()
    }
}

impl Outbox for Seen {
    fn send(&self, packet: &Packet, _volatile: bool, _: Flush) -> Result<(), SendError> {
        let mut record = self.0.lock();
        if record.capacity.is_some_and(|capacity| record.events.len() >= capacity) {
            return Err(SendError::Full);
        }
        record.events.push(packet.event().text.to_string());
        Ok(())
    }

    fn send_with_id(&self, _: &Socket, packet: &Packet, id: i64) -> Result<(), SendError> {
        self.0.lock().events.push(format!("{id} {}", packet.event().text));
        Ok(())
    }

    fn send_ack(&self, id: i64, args: &Encoded) -> Result<(), SendError> {
        self.0.lock().acks.push((id, args.text.to_string()));
        Ok(())
    }

    fn close(&self, how: Close, last: Option<&Packet>) {
        let mut record = self.0.lock();
        record.events.extend(last.map(|packet| packet.event().text.to_string()));
        record.closed.push(how);
    }

    fn backlog(&self) -> usize {
        0
    }

    fn transport(&self) -> &'static str {
        "test"
    }
}

/// Records what the hub asks of it. `gate` holds events back until permits are added.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) calls: Mutex<Vec<String>>,
    pub(crate) refused: AtomicUsize,
    pub(crate) gate: Semaphore,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { calls: Mutex::default(), refused: AtomicUsize::new(0), gate: Semaphore::new(Semaphore::MAX_PERMITS) }
    }
}

impl Recorder {
    pub(crate) fn closed_gate() -> Self {
        Self { gate: Semaphore::new(0), ..Self::default() }
    }

    fn note(&self, call: String) {
        self.calls.lock().push(call);
    }
}

#[async_trait]
impl Handler for Recorder {
    async fn connecting(&self, socket: &Socket) -> Result<(), Refusal> {
        socket.join("lobby");
        if socket.handshake().auth() == "nobody" {
            return Err(Refusal { message: "no".to_owned(), code: "unauthenticated" });
        }
        Ok(())
    }

    async fn connected(&self, _: &Socket) {
        self.note("connected".to_owned());
    }

    async fn event(&self, socket: &Socket, event: Event) {
        self.gate.acquire().await.expect("the gate is never closed for good").forget();
        assert_ne!(event.name, "panic", "as asked");
        if let Some(ack) = event.ack {
            ack.send(socket, &Encoded::ack("done"));
        }
        // Gives other tasks the chance to overtake, if anything lets them.
        tokio::task::yield_now().await;
        self.note(event.args.text.to_string());
    }

    fn refused(&self, _: &Socket, _: Event) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn farewell(&self, _: &Socket, reason: CloseReason) -> Option<Encoded> {
        Some(Encoded::event("bye", reason.code()))
    }

    async fn disconnected(&self, socket: &Socket, reason: CloseReason) {
        let mut rooms: Vec<_> = socket.rooms().iter().map(ToString::to_string).collect();
        rooms.sort();
        self.note(format!("disconnected {} from {}", reason.code(), rooms.join(" ")));
    }
}

pub(crate) fn namespace(recorder: &Arc<Recorder>) -> (Hub, Namespace) {
    let hub = Hub::new();
    let namespace = hub.add_namespace("/", Arc::clone(recorder) as Arc<dyn Handler>);
    (hub, namespace)
}

pub(crate) fn handshake(auth: &str) -> Handshake {
    Handshake::new(&http::HeaderMap::new(), "/socket.io/", None).with_auth(&format!("\"{auth}\""))
}

pub(crate) async fn connect(namespace: &Namespace, id: &str) -> (Socket, Seen) {
    connect_with(namespace, id, Seen::default()).await
}

pub(crate) async fn connect_with(namespace: &Namespace, id: &str, seen: Seen) -> (Socket, Seen) {
    let outbox = Arc::new(seen.clone());
    let socket = namespace.connect(SocketId::new(id), handshake("x"), outbox).await.expect("anyone may come in");
    socket.opened();
    (socket, seen)
}

pub(crate) fn event(name: &str, argument: usize, ack: Option<i64>) -> Event {
    Event {
        name: name.to_owned(),
        args: Encoded::event(name, &argument),
        ack: ack.map(|id| trunkline_hub::AckReply { id }),
    }
}
