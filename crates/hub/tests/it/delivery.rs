//! Never a connected socket with a hole: who can't take a packet is closed, unless the packet may be dropped.

use std::sync::Arc;

use trunkline_hub::{Close, CloseReason, Encoded, Packet, RoomName, Run, Targets};

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

fn numbered(number: usize) -> Packet {
    Packet::new(Encoded::event("e", &number))
}

fn heard(numbers: &[usize]) -> Vec<String> {
    numbers.iter().map(|number| format!("[\"e\",{number}]")).collect()
}

#[tokio::test]
async fn of_a_run_each_member_hears_what_is_for_it_in_order() {
    let recorder = Arc::new(Recorder::default());
    let (_, namespace) = namespace(&recorder);
    let mut seen = Vec::new();
    for (id, rooms) in [("a", vec!["r"]), ("b", vec!["r", "quiet"]), ("c", vec!["r"]), ("d", vec![])] {
        let (socket, heard) = connect(&namespace, id).await;
        rooms.into_iter().for_each(|room| assert!(socket.join(room)));
        seen.push(heard);
    }
    let packets: Vec<Packet> = (0..4).map(numbered).collect();
    let excepts: [&[RoomName]; 4] = [&["a".into()], &[], &["a".into(), "quiet".into()], &["b".into()]];
    let run: Run<'_> = packets.iter().zip(excepts).collect();
    assert_eq!(namespace.deliver_run(&run, &["r".into()]), 3);
    for (heard_by, expected) in seen.iter().zip([&[1, 3][..], &[0, 1], &[0, 1, 2, 3], &[]]) {
        assert_eq!(heard_by.events(), heard(expected));
    }
    assert_eq!(namespace.deliver_run(&Run::from_iter([]), &["r".into()]), 0);
    assert_eq!(namespace.deliver_run(&run, &[]), 4, "without a room it is for everyone");
}

#[tokio::test]
async fn nothing_of_a_run_follows_what_had_no_room() {
    let recorder = Arc::new(Recorder::default());
    let (_, namespace) = namespace(&recorder);
    let (_, slow) = connect_with(&namespace, "slow", Seen::with_capacity(2)).await;
    let (_, sender) = connect_with(&namespace, "sender", Seen::with_capacity(2)).await;
    let packets: Vec<Packet> = (0..5).map(numbered).collect();
    let except: &[RoomName] = &["sender".into()];
    let run: Run<'_> =
        packets.iter().enumerate().map(|(at, packet)| (packet, if at == 0 { except } else { &[] })).collect();
    assert_eq!(namespace.deliver_run(&run, &[]), 0);
    let ended = |numbers: &[usize]| [heard(numbers), vec![r#"["bye","slow_consumer"]"#.to_owned()]].concat();
    assert_eq!(slow.events(), ended(&[0, 1]));
    assert_eq!(sender.events(), ended(&[1, 2]));
    assert_eq!([slow.closings(), sender.closings()], [[Close::Transport]; 2]);
}
