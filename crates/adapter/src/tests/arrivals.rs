//! What arrives together goes to the sockets together, and in order.

use std::sync::{Arc, Mutex};

use serde_json::json;
use trunkline_hub::{Encoded, Namespace, Packet, RoomName, Targets};

use super::{client::Client, member};
use crate::{
    arrivals::Arrivals,
    broadcast,
    core::{Core, Outcome, Sink, Stored, StoredMessages},
    template::{self, Fill, Part, Payload, Template},
};

/// Another node's broadcast of the event `[name]` to `targets`.
fn broadcast_of(core: &Arc<Core>, arrivals: &mut Arrivals, name: &str, targets: &Targets, volatile: bool) {
    let payload = broadcast::encode("other", "/", &Encoded::bare_event(name), targets, volatile).expect("an event");
    core.receive(b"socket.io#/#r#", &payload, arrivals);
}

#[tokio::test]
async fn a_request_comes_between_the_broadcasts_that_it_stood_between() {
    let core = member();
    let (member_of_room, _) = Client::of(&core, "a", "r").await;
    let (newcomer, _) = Client::of(&core, "b", "elsewhere").await;
    let mut arrivals = Arrivals::default();
    broadcast_of(&core, &mut arrivals, "1", &Targets::room("r"), false);
    broadcast_of(&core, &mut arrivals, "2", &Targets::room("r"), false);
    assert!(member_of_room.heard().is_empty(), "they wait for what arrived with them");
    let join = json!({"uid": "other", "type": 2, "opts": {"rooms": ["elsewhere"], "except": []}, "rooms": ["r"]});
    core.receive(b"socket.io-request#/#", join.to_string().as_bytes(), &mut arrivals);
    broadcast_of(&core, &mut arrivals, "3", &Targets::room("r").except("a"), false);
    broadcast_of(&core, &mut arrivals, "4", &Targets::room("r"), true);
    broadcast_of(&core, &mut arrivals, "5", &Targets::room("r"), false);
    arrivals.hand_over(&core);
    assert_eq!(member_of_room.heard(), [r#"["1"]"#, r#"["2"]"#, r#"["4"]"#, r#"["5"]"#]);
    assert_eq!(newcomer.heard(), [r#"["3"]"#, r#"["4"]"#, r#"["5"]"#]);
    assert_eq!(arrivals.crowds(), 0, "two are no crowd");
}

/// How many stored messages came at a time, and for which room; 0 for one that nobody heard.
#[derive(Default)]
struct Sizes {
    came: Mutex<Vec<(String, usize)>>,
    /// Whether such a one is done with.
    passes: bool,
}

impl StoredMessages for Sizes {
    fn deliver(&self, _: &Namespace, rooms: &[RoomName], messages: Vec<Stored>) {
        self.came.lock().expect("no panic").push((rooms.concat(), messages.len()));
    }

    fn pass(&self, _: &Namespace, targets: &Targets, id: &str, stamp: Option<&str>) -> bool {
        assert_eq!((id, stamp), ("c:e:1", Some("g.7")));
        self.came.lock().expect("no panic").push((targets.rooms.concat(), 0));
        self.passes
    }
}

#[tokio::test]
async fn what_follows_for_the_same_room_is_handed_over_with_it_up_to_a_size() {
    let core = member();
    let _members = (Client::of(&core, "a", "r").await, Client::of(&core, "b", "s").await);
    let sizes = Arc::new(Sizes::default());
    core.stored.set(Sink(Arc::clone(&sizes) as _)).expect("the first");
    let namespace = core.hub.namespace("/").expect("it is served");
    let mut arrivals = Arrivals::default();
    let mut stored = |room: &str, bytes: usize| {
        let packet = Packet::new(Encoded::event("message:new", &"x".repeat(bytes)));
        let message = Stored { id: "c:e:1".to_owned(), stamp: None, packet, except: Vec::new() };
        arrivals.stored(&core, &namespace, vec![room.into()], message);
    };
    for (room, bytes) in
        [("r", 1), ("r", 1), ("s", 1), ("r", 1), ("r", 40_000), ("r", 40_000), ("r", 100_000), ("r", 1)]
    {
        stored(room, bytes);
    }
    arrivals.hand_over(&core);
    let expected = [("r", 2), ("s", 1), ("r", 2), ("r", 1), ("r", 1), ("r", 1)];
    assert_eq!(*sizes.came.lock().unwrap(), expected.map(|(room, count)| (room.to_owned(), count)));
}

#[tokio::test]
async fn a_stored_message_that_nobody_here_hears_is_passed_and_read_only_if_that_is_not_all() {
    for passes in [true, false] {
        let core = member();
        let _members = (Client::of(&core, "a", "r").await, Client::of(&core, "b", "s").await);
        let sizes = Arc::new(Sizes { passes, ..Sizes::default() });
        core.stored.set(Sink(Arc::clone(&sizes) as _)).expect("the first");
        let audiences = [Targets::room("r").except("a"), Targets::room("s").except("a")];
        let with_channel = audiences.iter().map(|targets| (core.channels.broadcast("/", &targets.rooms), targets));
        let payload = Payload::new("{}", &[]);
        let templates = template::encode("/", "message:new", &payload, with_channel).expect("an event");
        let filled = |part: &Part| match part {
            Part::Literal(bytes) => bytes.to_vec(),
            Part::Fill(Fill::MessageId) => [&[0xa5], "c:e:1".as_bytes()].concat(),
            Part::Fill(Fill::Stamp) => [&[0xa3], "g.7".as_bytes()].concat(),
            Part::Fill(other) => panic!("{other:?} is not in it"),
        };
        let mut arrivals = Arrivals::default();
        for Template { channel, parts, .. } in &templates {
            let message = parts.iter().flat_map(filled).collect::<Vec<u8>>();
            assert_eq!(core.receive(channel, &message, &mut arrivals), Outcome::Handled);
        }
        arrivals.hand_over(&core);
        let read = (!passes).then_some(("r", 1));
        let expected: Vec<_> = [("r", 0)].into_iter().chain(read).chain([("s", 1)]).collect();
        let came = sizes.came.lock().unwrap();
        assert_eq!(came.iter().map(|(room, count)| (&**room, *count)).collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn what_is_emitted_together_reaches_everyone_here_at_once_and_the_others_event_by_event() {
    let core = member();
    let ((ada, _), (bob, _)) = (Client::of(&core, "a", "r").await, Client::of(&core, "b", "r").await);
    let events = [("1", vec!["a".into()]), ("2", Vec::new()), ("3", vec!["b".into(), "c".into()])];
    core.emit_run("/", events.iter().map(|(name, except)| (Encoded::bare_event(name), except.clone())).collect());
    assert_eq!(ada.heard(), [r#"["2"]"#, r#"["3"]"#]);
    assert_eq!(bob.heard(), [r#"["1"]"#, r#"["2"]"#]);
    let published: Vec<_> = std::iter::from_fn(|| core.queue.try_batch()).flatten().collect();
    assert_eq!(published.len(), events.len());
    for (message, (name, except)) in published.iter().zip(events) {
        let broadcast = broadcast::decode(&message.payload).expect("what we publish");
        assert_eq!(broadcast.event.event_name().as_deref(), Some(name));
        assert_eq!(broadcast.targets, Targets { rooms: Vec::new(), except });
    }
}
