//! Namespaces that come into being when somebody connects, and go when nobody is left.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use trunkline_hub::{CloseReason, Encoded, Event, Handler, Hub, Refusal, Socket, SocketId};

use crate::lane::{DEADLINE, Recorder, Seen, connect, handshake};

/// Takes its time to let somebody in.
struct Slow(Arc<Semaphore>);

#[async_trait]
impl Handler for Slow {
    async fn connecting(&self, _: &Socket) -> Result<(), Refusal> {
        self.0.acquire().await.expect("it is never closed").forget();
        Ok(())
    }
    async fn connected(&self, _: &Socket) {}
    async fn event(&self, _: &Socket, _: Event) {}
    fn refused(&self, _: &Socket, _: Event) {}
    fn farewell(&self, _: &Socket, _: CloseReason) -> Option<Encoded> {
        None
    }
    async fn disconnected(&self, _: &Socket, _: CloseReason) {}
}

/// Looks twice, as it takes.
fn removed(hub: &Hub) -> Vec<String> {
    let removed = Mutex::new(Vec::new());
    for _ in 0..2 {
        hub.remove_idle_namespaces(|name| removed.lock().push(name.to_owned()));
    }
    removed.into_inner()
}

#[tokio::test]
async fn a_dynamic_namespace_goes_when_nobody_is_left_and_comes_back_when_somebody_is() {
    let hub = Hub::new();
    hub.make_namespaces(|name| name.starts_with("/d-").then(|| Arc::new(Recorder::default()) as Arc<dyn Handler>));
    hub.add_namespace("/", Arc::new(Recorder::default()));
    assert!(hub.open_namespace("/other").is_none());
    for _ in 0..2 {
        let namespace = hub.open_namespace("/d-1").expect("it is made");
        let (socket, _) = connect(&namespace, "a").await;
        assert!(removed(&hub).is_empty(), "somebody is in");
        socket.closed(CloseReason::TransportClose);
        tokio::time::timeout(DEADLINE, hub.idle()).await.expect("the socket goes");
        assert_eq!(removed(&hub), ["/d-1"]);
        assert!(hub.namespace("/d-1").is_none() && hub.namespace("/").is_some());
        let late = namespace.connect(SocketId::new("late"), handshake("x"), Arc::new(Seen::default())).await;
        assert!(late.is_err(), "nobody gets into what is gone");
    }
}

#[tokio::test]
async fn a_namespace_that_somebody_is_about_to_enter_stays() {
    let (hub, gate) = (Hub::new(), Arc::new(Semaphore::new(0)));
    let slow = Arc::clone(&gate);
    hub.make_namespaces(move |_| Some(Arc::new(Slow(Arc::clone(&slow)))));
    let namespace = hub.open_namespace("/d").expect("it is made");
    let entering = namespace.connect(SocketId::new("a"), handshake("x"), Arc::new(Seen::default()));
    let mut entering = Box::pin(entering);
    assert!((&mut entering).now_or_never().is_none());
    assert!(removed(&hub).is_empty());
    gate.add_permits(1);
    entering.await.expect("nobody is refused");
    assert_eq!(hub.namespace("/d").map(|namespace| namespace.len()), Some(1));
    // One that gives up halfway no longer counts.
    let given_up = hub.open_namespace("/e").expect("it is made");
    let entering = given_up.connect(SocketId::new("b"), handshake("x"), Arc::new(Seen::default()));
    assert!(entering.now_or_never().is_none());
    assert_eq!(removed(&hub), ["/e"]);
}
