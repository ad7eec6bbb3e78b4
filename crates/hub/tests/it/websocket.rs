//! The WebSocket lane over a real connection.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use trunkline_hub::{
    CloseReason, Encoded, Event, Handler, Hub, Refusal, Socket, Targets,
    lanes::{
        Options,
        websocket::{Opening, WebSocketLane},
    },
};

use crate::lane::DEADLINE;

/// Lets nobody in before it has a permit.
struct Slow {
    permits: Semaphore,
    calls: Mutex<Vec<&'static str>>,
}

#[async_trait]
impl Handler for Slow {
    async fn connecting(&self, socket: &Socket) -> Result<(), Refusal> {
        socket.join("lobby");
        self.permits.acquire().await.expect("it is never closed").forget();
        Ok(())
    }
    async fn connected(&self, _: &Socket) {
        self.calls.lock().push("connected");
    }
    async fn event(&self, _: &Socket, _: Event) {
        self.calls.lock().push("event");
    }
    fn refused(&self, _: &Socket, _: Event) {}
    fn farewell(&self, _: &Socket, _: CloseReason) -> Option<Encoded> {
        None
    }
    async fn disconnected(&self, _: &Socket, reason: CloseReason) {
        assert_eq!(reason, CloseReason::ServerDisconnect);
        self.calls.lock().push("disconnected");
    }
}

const REQUEST: &[u8] =
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A text of a client, masked with nothing.
fn text(text: &str) -> Vec<u8> {
    let length = 0x80 | u8::try_from(text.len()).unwrap();
    [&[0x81, length, 0, 0, 0, 0], text.as_bytes()].concat()
}

/// Reads until `found` is in what was read, which is returned.
async fn read_until(stream: &mut TcpStream, found: &str) -> String {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if text.contains(found) {
            return text;
        }
        let more = timeout(DEADLINE, stream.read_buf(&mut read)).await.expect("something in time").unwrap();
        assert!(more > 0, "no {found:?} in {text:?}");
    }
}

#[tokio::test]
async fn a_client_that_is_thrown_out_before_connect_is_answered_is_out_once_it_is() {
    let (hub, handler) = (Hub::new(), Arc::new(Slow { permits: Semaphore::new(0), calls: Mutex::default() }));
    let namespace = hub.add_namespace("/", Arc::clone(&handler) as _);
    let lane = WebSocketLane::new(hub.clone(), &Options::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, peer) = listener.accept().await.unwrap();
    let mut connection = JoinSet::new();
    connection.spawn(lane.accept(&Opening::read(REQUEST).unwrap(), stream, peer));
    client.write_all(&text("40")).await.unwrap();

    let everyone = Targets::room("lobby");
    let sockets = timeout(DEADLINE, async {
        loop {
            let sockets = namespace.sockets(&everyone);
            if !sockets.is_empty() {
                return sockets;
            }
            tokio::task::yield_now().await;
        }
    });
    sockets.await.expect("it is about to enter")[0].close(CloseReason::ServerDisconnect);
    handler.permits.add_permits(1);
    let answers = read_until(&mut client, "41").await;
    let answered = answers.find("40{").expect("CONNECT is answered");
    assert!(answered < answers.find("41").unwrap(), "and taken back: {answers:?}");
    timeout(DEADLINE, hub.idle()).await.expect("the socket goes");
    assert_eq!(*handler.calls.lock(), ["connected", "disconnected"]);
    assert!(namespace.is_empty() && namespace.rooms().is_empty());

    // As of every client that is in no namespace.
    client.write_all(&text("42[\"x\"]")).await.unwrap();
    read_until(&mut client, "\u{3}\u{fffd}").await;
    timeout(DEADLINE, lane.close()).await.expect("the lane closes");
    assert_eq!(*handler.calls.lock(), ["connected", "disconnected"]);
}
