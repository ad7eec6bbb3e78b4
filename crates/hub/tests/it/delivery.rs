//! Never a connected socket with a hole: who can't take a packet is closed, unless the packet may be dropped.

use std::sync::Arc;

use trunkline_hub::{Close, CloseReason, Encoded, Packet, Targets};

use crate::lane::{Recorder, Seen, connect, connect_with, namespace};

fn packet() -> Packet {
    Packet::new(Encoded::bare_event("e"))
}

#[tokio::test]
async fn a_socket_with_a_full_outbox_is_closed_so_that_it_comes_back() {
    let recorder = Arc::new(Recorder::default());
    let (_, namespace) = namespace(&recorder);
    let (_, slow) = connect_with(&namespace, "slow", Seen::with_capacity(2)).await;
    let (_, quick) = connect(&namespace, "quick").await;
    for _ in 0..5 {
        namespace.deliver(&packet(), &Targets::everyone(), false);
    }
    assert_eq!(quick.events().len(), 5);
    assert_eq!(slow.events(), [r#"["e"]"#, r#"["e"]"#, r#"["bye","slow_consumer"]"#]);
    assert_eq!(slow.closings(), [Close::Transport]);
}

#[tokio::test]
async fn a_volatile_packet_that_does_not_fit_is_dropped_for_that_socket() {
    let recorder = Arc::new(Recorder::default());
    let (_, namespace) = namespace(&recorder);
    let (_, slow) = connect_with(&namespace, "slow", Seen::with_capacity(1)).await;
    for _ in 0..3 {
        namespace.deliver(&packet(), &Targets::room("slow"), true);
    }
    assert_eq!(slow.events().len(), 1);
    assert!(slow.closings().is_empty());
}

#[tokio::test]
async fn the_first_reason_to_close_counts_and_nothing_is_sent_after_it() {
    let recorder = Arc::new(Recorder::default());
    let (_, namespace) = namespace(&recorder);
    let (socket, seen) = connect(&namespace, "a").await;
    socket.close(CloseReason::Revoked);
    socket.close(CloseReason::Shutdown);
    socket.emit(Encoded::bare_event("late"));
    assert_eq!(namespace.deliver(&packet(), &Targets::everyone(), false), 0);
    assert_eq!(seen.events(), [r#"["bye","revoked"]"#]);
    assert_eq!(seen.closings(), [Close::Namespace]);
}
