//! Streams of a real hub, whose sockets record what they hear.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;
use trunkline_hub::{
    Close, CloseReason, Event, Flush, Handler, Handshake, Refusal,
    lanes::{Outbox, SendError},
};
use trunkline_store::message_id;

use super::*;

const DEADLINE: Duration = Duration::from_secs(30);

/// Lets everybody in, and does nothing.
struct Open;

#[async_trait]
impl Handler for Open {
    async fn connecting(&self, _: &Socket) -> Result<(), Refusal> {
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

/// What a socket heard.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<String>>>);

impl Ear {
    fn heard(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

impl Outbox for Ear {
    fn send(&self, packet: &Packet, _: bool, _: Flush) -> Result<(), SendError> {
        self.0.lock().push(packet.event().text.to_string());
        Ok(())
    }
    fn send_with_id(&self, _: &Socket, _: &Packet, _: i64) -> Result<(), SendError> {
        Ok(())
    }
    fn send_ack(&self, _: i64, _: &Encoded) -> Result<(), SendError> {
        Ok(())
    }
    fn close(&self, _: Close, _: Option<&Packet>) {}
    fn backlog(&self) -> usize {
        0
    }
    fn transport(&self) -> &'static str {
        "test"
    }
}

struct Bench {
    hub: Hub,
    streams: Arc<Streams>,
    behind: UnboundedReceiver<Doubt>,
    room: RoomName,
    _link: watch::Sender<LinkState>,
}

impl Bench {
    fn new() -> Self {
        let hub = Hub::new();
        hub.make_namespaces(|_| Some(Arc::new(Open)));
        let (sender, link) = watch::channel(LinkState::Embedded);
        let (streams, behind) = Streams::new(link);
        Self { hub, streams, behind, room: "user:bob".into(), _link: sender }
    }

    fn namespace(&self) -> Namespace {
        self.hub.open_namespace("/d").expect("it is made")
    }

    /// A socket of bob's.
    async fn listen(&self, id: &str) -> (Socket, Ear) {
        let (ear, handshake) = (Ear::default(), Handshake::new(&http::HeaderMap::new(), "/", None));
        let socket = self.namespace().connect(SocketId::new(id), handshake, Arc::new(ear.clone())).await.unwrap();
        socket.join(RoomName::clone(&self.room));
        (socket, ear)
    }

    /// Message `seq` of a conversation comes in.
    fn live(&self, conversation: &str, seq: u64) {
        let packet = Packet::new(Encoded::event(conversation, &seq));
        let stored = Stored { id: message_id(conversation, "e", seq), stamp: None, packet, except: Vec::new() };
        self.streams.deliver(&self.namespace(), std::slice::from_ref(&self.room), vec![stored]);
    }
}

fn event(conversation: &str, seq: u64) -> String {
    format!("[\"{conversation}\",{seq}]")
}

#[tokio::test]
async fn a_namespace_that_is_made_anew_has_streams_of_its_own() {
    let bench = Bench::new();
    let (first, ear) = bench.listen("first").await;
    bench.live("c", 1);
    assert_eq!(ear.heard(), [event("c", 1)]);
    first.closed(CloseReason::TransportClose);
    tokio::time::timeout(DEADLINE, bench.hub.idle()).await.expect("the socket goes");
    let before = bench.namespace();
    (0..2).for_each(|_| bench.hub.remove_idle_namespaces(|_| {}));
    assert!(!before.is(&bench.namespace()));
    let (_, ear) = bench.listen("second").await;
    // The second message came while nobody was here.
    bench.live("c", 3);
    bench.live("c", 4);
    assert_eq!(ear.heard(), [event("c", 3), event("c", 4)]);
    let known = bench.streams.tidy(&bench.hub);
    assert!(known.iter().all(|(entry, _)| entry.namespace.is(&bench.namespace())), "the old ones are gone");
}

#[tokio::test]
async fn what_nobody_hears_any_more_is_not_repaired() {
    let mut bench = Bench::new();
    let (socket, _) = bench.listen("s").await;
    bench.live("c", 1);
    let (entry, at) = bench.streams.tidy(&bench.hub).pop().expect("a stream");
    socket.leave(&bench.room);
    assert!(bench.streams.tidy(&bench.hub).is_empty());
    bench.streams.look(&entry, &at, &Position::new("e", 5));
    assert!(bench.behind.try_recv().is_err());
}

#[tokio::test]
async fn what_is_being_repaired_is_not_forgotten() {
    let mut bench = Bench::new();
    let (socket, ear) = bench.listen("s").await;
    bench.live("c", 1);
    bench.live("c", 3);
    let doubt = bench.behind.try_recv().expect("the second message is missing");
    for other in 0..2 * PER_ROOM {
        bench.live(&format!("other-{other}"), 1);
    }
    bench.live("c", 4);
    socket.leave(&bench.room);
    bench.streams.tidy(&bench.hub);
    bench.streams.forget_stale(&socket, &bench.room);
    socket.join(RoomName::clone(&bench.room));
    bench.live("c", 5);
    let of_it = |text: &String| text.starts_with("[\"c\"");
    assert_eq!(ear.heard().into_iter().filter(of_it).collect::<Vec<_>>(), [event("c", 1)], "the others wait");
    doubt.entry.repairing(|repairing| {
        repairing.deliver(2, Some(Heard { event: Encoded::event("c", &2), sender: None }));
        let held = repairing.stream.end_page(true).expect("nothing is missing any more");
        repairing.release(held);
    });
    let expected: Vec<_> = (1..=5).map(|seq| event("c", seq)).collect();
    assert_eq!(ear.heard().into_iter().filter(of_it).collect::<Vec<_>>(), expected);
}

/// Two threads that take the same locks in another order wait for each other sooner or later.
#[tokio::test]
async fn a_look_at_the_logs_does_not_block_what_comes_live() {
    let bench = Arc::new(Bench::new());
    let (_socket, _ear) = bench.listen("s").await;
    bench.live("c", 1);
    let (entry, at) = bench.streams.tidy(&bench.hub).pop().expect("a stream");
    let (looking, talking) = (Arc::clone(&bench), Arc::clone(&bench));
    // Each is dropped at the end of its thread.
    let ((looks, looked), (talks, talked)) = (oneshot::channel::<()>(), oneshot::channel::<()>());
    std::thread::spawn(move || {
        for _ in 0..20_000 {
            looking.streams.look(&entry, &at, &Position::new("e", u64::MAX));
            entry.repairing(|repairing| repairing.stream.give_up());
        }
        drop(looks);
    });
    std::thread::spawn(move || {
        (2..20_000).for_each(|seq| talking.live("c", seq));
        drop(talks);
    });
    let both = async { tokio::join!(looked, talked) };
    tokio::time::timeout(DEADLINE, both).await.map(drop).expect("neither waits for the other");
}
