//! Who gets an emit.

use std::{collections::BTreeSet, sync::Arc};

use tokio::time::timeout;
use trunkline_hub::{CloseReason, Encoded, Packet, Targets};

use crate::lane::{DEADLINE, Recorder, Seen, connect, namespace};

fn targets(rooms: &[&str], except: &[&str]) -> Targets {
    let names = |names: &[&str]| names.iter().map(|&name| name.into()).collect();
    Targets { rooms: names(rooms), except: names(except) }
}

#[tokio::test]
async fn an_emit_reaches_the_union_of_its_rooms_less_the_exceptions_each_socket_once() {
    let recorder = Arc::new(Recorder::default());
    let (_, namespace) = namespace(&recorder);
    let mut sockets = Vec::new();
    for (id, rooms) in [("a", vec!["r1"]), ("b", vec!["r1", "r2"]), ("c", vec!["r2", "r3"]), ("d", vec![])] {
        let (socket, seen) = connect(&namespace, id).await;
        rooms.into_iter().for_each(|room| assert!(socket.join(room)));
        sockets.push((id, socket, seen));
    }
    let cases: [(&[&str], &[&str], &str); 9] = [
        (&[], &[], "abcd"),
        (&[], &["r1"], "cd"),
        (&[], &["a"], "bcd"),
        (&["r1"], &[], "ab"),
        (&["r1", "r2"], &[], "abc"),
        (&["r1", "r2"], &["b"], "ac"),
        (&["r2"], &["r3"], "b"),
        (&["d"], &[], "d"),
        (&["nowhere"], &[], ""),
    ];
    for (number, (rooms, except, expected)) in cases.into_iter().enumerate() {
        let text = format!(r#"["e",{number}]"#);
        let taken = namespace.deliver(&Packet::new(Encoded::new(text.clone(), vec![])), &targets(rooms, except), false);
        let got: String =
            sockets.iter().filter(|(.., seen)| seen.events().contains(&text)).map(|(id, ..)| *id).collect();
        assert_eq!((got.as_str(), taken), (expected, expected.len()), "to {rooms:?} except {except:?}");
        for (id, _, seen) in &sockets {
            let times = seen.events().iter().filter(|event| **event == text).count();
            assert!(times <= 1, "{id} got it {times} times");
        }
    }
}

#[tokio::test]
async fn a_room_exists_as_long_as_it_has_members() {
    let recorder = Arc::new(Recorder::default());
    let (hub, namespace) = namespace(&recorder);
    let (a, _) = connect(&namespace, "a").await;
    let (b, _) = connect(&namespace, "b").await;
    assert!(a.join("r"));
    assert!(!a.join("r"), "joined already");
    assert!(b.join("r"));
    assert!(a.leave("r"));
    assert!(!a.leave("r"), "left already");
    assert!(namespace.has_room("r"));
    b.closed(CloseReason::TransportClose);
    timeout(DEADLINE, hub.idle()).await.unwrap();
    assert!(!namespace.has_room("r"));
    let rooms: BTreeSet<_> = namespace.rooms().iter().map(ToString::to_string).collect();
    assert_eq!(rooms, BTreeSet::from(["a".to_owned(), "lobby".to_owned()]));
}

#[tokio::test]
async fn a_socket_that_is_gone_joins_nothing() {
    let recorder = Arc::new(Recorder::default());
    let (hub, namespace) = namespace(&recorder);
    let (socket, _) = connect(&namespace, "a").await;
    socket.closed(CloseReason::TransportClose);
    timeout(DEADLINE, hub.idle()).await.unwrap();
    assert!(!socket.join("r"));
    assert!(namespace.rooms().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn joins_and_leaves_from_many_tasks_leave_index_and_sockets_agreeing() {
    let recorder = Arc::new(Recorder::default());
    let (hub, namespace) = namespace(&recorder);
    let mut work = tokio::task::JoinSet::new();
    for number in 0..16 {
        let (socket, _) = crate::lane::connect_with(&namespace, &format!("s{number}"), Seen::default()).await;
        for turn in 0..4 {
            let socket = socket.clone();
            work.spawn(async move {
                for step in 0..200 {
                    let room = format!("r{}", (step * 7 + turn) % 5);
                    if (step + turn) % 2 == 0 {
                        socket.join(room)
                    } else {
                        socket.leave(&room)
                    };
                    tokio::task::yield_now().await;
                }
            });
        }
    }
    timeout(DEADLINE, async { while work.join_next().await.is_some() {} }).await.unwrap();
    for room in namespace.rooms() {
        for socket in namespace.sockets(&Targets::room(room.clone())) {
            assert!(socket.is_in(&room));
        }
    }
    for socket in namespace.sockets(&Targets::everyone()) {
        for room in socket.rooms() {
            assert!(namespace.sockets(&Targets::room(room)).iter().any(|member| member.id() == socket.id()));
        }
        socket.closed(CloseReason::TransportClose);
    }
    timeout(DEADLINE, hub.idle()).await.unwrap();
    assert!(namespace.rooms().is_empty() && namespace.is_empty());
}
