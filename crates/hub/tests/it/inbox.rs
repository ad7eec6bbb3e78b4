//! One ordered, bounded inbox per socket.

use std::sync::{Arc, atomic::Ordering};

use tokio::time::timeout;
use trunkline_hub::{CloseReason, INBOX_EVENTS, SocketId};

use crate::lane::{DEADLINE, Recorder, Seen, connect, event, handshake, namespace};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_of_one_socket_are_handled_in_the_order_they_came() {
    let recorder = Arc::new(Recorder::default());
    let (hub, namespace) = namespace(&recorder);
    let (socket, _) = connect(&namespace, "a").await;
    for number in 0..2000 {
        socket.receive(event("e", number, None));
    }
    socket.closed(CloseReason::TransportClose);
    timeout(DEADLINE, hub.idle()).await.unwrap();
    let mut expected = vec!["connected".to_owned()];
    expected.extend((0..2000).map(|number| format!(r#"["e",{number}]"#)));
    expected.push("disconnected transport_close from a lobby".to_owned());
    assert_eq!(*recorder.calls.lock(), expected);
}

#[tokio::test]
async fn what_no_longer_fits_is_refused_and_what_fits_is_handled() {
    let recorder = Arc::new(Recorder::closed_gate());
    let (hub, namespace) = namespace(&recorder);
    let (socket, _) = connect(&namespace, "a").await;
    for number in 0..INBOX_EVENTS + 100 {
        socket.receive(event("e", number, None));
    }
    let refused = recorder.refused.load(Ordering::Relaxed);
    assert!((100..=101).contains(&refused), "{refused}");
    recorder.gate.add_permits(INBOX_EVENTS * 2);
    timeout(DEADLINE, hub.idle()).await.unwrap();
    assert_eq!(recorder.calls.lock().len(), 1 + INBOX_EVENTS + 100 - refused);
}

#[tokio::test]
async fn an_event_is_answered_on_its_own_number() {
    let recorder = Arc::new(Recorder::default());
    let (hub, namespace) = namespace(&recorder);
    let (socket, seen) = connect(&namespace, "a").await;
    socket.receive(event("e", 1, Some(7)));
    timeout(DEADLINE, hub.idle()).await.unwrap();
    assert_eq!(seen.acks(), [(7, r#"["done"]"#.to_owned())]);
}

#[tokio::test]
async fn a_panic_in_a_handler_costs_that_socket_only() {
    let recorder = Arc::new(Recorder::default());
    let (hub, namespace) = namespace(&recorder);
    let (broken, broken_seen) = connect(&namespace, "a").await;
    let (other, _) = connect(&namespace, "b").await;
    broken.receive(event("panic", 0, None));
    other.receive(event("e", 1, None));
    timeout(DEADLINE, hub.idle()).await.unwrap();
    assert_eq!(broken_seen.closings().len(), 1);
    assert!(recorder.calls.lock().contains(&r#"["e",1]"#.to_owned()));
    broken.closed(CloseReason::TransportError);
    timeout(DEADLINE, hub.idle()).await.unwrap();
    assert!(namespace.socket("a").is_none());
    assert!(namespace.socket("b").is_some());
}

#[tokio::test]
async fn the_disconnect_handler_runs_once_and_last() {
    let recorder = Arc::new(Recorder::default());
    let (hub, namespace) = namespace(&recorder);
    let (socket, _) = connect(&namespace, "a").await;
    socket.closed(CloseReason::PingTimeout);
    socket.closed(CloseReason::TransportClose);
    socket.receive(event("e", 1, None));
    timeout(DEADLINE, hub.idle()).await.unwrap();
    assert_eq!(*recorder.calls.lock(), ["connected", "disconnected ping_timeout from a lobby"]);
}

#[tokio::test]
async fn a_refused_client_leaves_nothing_behind() {
    let recorder = Arc::new(Recorder::default());
    let (_, namespace) = namespace(&recorder);
    let refused = namespace.connect(SocketId::new("a"), handshake("nobody"), Arc::new(Seen::default())).await;
    assert_eq!(refused.unwrap_err().message, "no");
    assert!(namespace.is_empty());
    assert!(namespace.rooms().is_empty());
}

#[tokio::test]
async fn a_socket_that_finishes_answers_what_it_has_and_takes_no_more() {
    let recorder = Arc::new(Recorder::closed_gate());
    let (hub, namespace) = namespace(&recorder);
    let (socket, seen) = connect(&namespace, "a").await;
    socket.receive(event("e", 1, Some(1)));
    socket.receive(event("e", 2, Some(2)));
    socket.finish(CloseReason::Shutdown);
    socket.finish(CloseReason::Shutdown);
    socket.receive(event("e", 3, Some(3)));
    assert_eq!(seen.closings().len(), 0);
    recorder.gate.add_permits(10);
    timeout(DEADLINE, hub.idle()).await.unwrap();
    assert_eq!(seen.acks(), [1, 2].map(|id| (id, r#"["done"]"#.to_owned())));
    assert_eq!(seen.closings().len(), 1);
}
