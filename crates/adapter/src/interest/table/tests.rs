use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;

use super::*;

const AFTER_LINGER: Duration = Duration::from_secs(LINGER.as_secs() + 1);

const ROOMS: [&str; 5] = ["a", "b", "c", "d", "e"];

#[derive(Clone, Debug)]
enum Step {
    Open(usize),
    Empty(usize),
    Take,
    Confirm,
    Lose,
    Connect,
    Wait(u64),
    /// The namespace goes when nobody is in it, and is there when somebody comes.
    Unserve,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..ROOMS.len()).prop_map(Step::Open),
        4 => (0..ROOMS.len()).prop_map(Step::Empty),
        3 => Just(Step::Take),
        3 => Just(Step::Confirm),
        1 => Just(Step::Lose),
        1 => Just(Step::Connect),
        2 => (0..5_u64).prop_map(Step::Wait),
        1 => Just(Step::Unserve),
    ]
}

/// The table, and what Redis would know.
struct Model {
    table: Table,
    now: Instant,
    members: BTreeSet<&'static str>,
    /// What the subscriber keeps subscribed to, over all connections, and what is confirmed on the present one.
    wanted: BTreeSet<String>,
    subscribed: BTreeSet<String>,
    in_flight: Option<Batch>,
    /// Whether waiting for a room was over while Redis did not have it.
    too_early: bool,
    /// For a room, or for one that has been left again: then the answer says nothing.
    waits: Vec<(Option<&'static str>, oneshot::Receiver<bool>)>,
}

impl Model {
    fn new() -> Self {
        let mut table = Table::default();
        table.serve("/");
        Self {
            table,
            now: Instant::now(),
            members: BTreeSet::new(),
            wanted: BTreeSet::new(),
            subscribed: BTreeSet::new(),
            in_flight: None,
            too_early: false,
            waits: Vec::new(),
        }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Open(room) => {
                self.table.serve("/");
                if self.members.insert(ROOMS[room]) {
                    self.table.opened("/", &ROOMS[room].into());
                }
                match self.table.heard("/", &[ROOMS[room].into()]) {
                    Heard::Yes => self.too_early |= !self.subscribed.contains(ROOMS[room]),
                    Heard::No => assert!(!self.table.listening),
                    Heard::When(wait) => self.waits.push((Some(ROOMS[room]), wait)),
                }
            }
            Step::Empty(room) => {
                if self.members.remove(ROOMS[room]) {
                    self.table.emptied("/", &ROOMS[room].into(), self.now);
                    self.waits.iter_mut().filter(|(of, _)| *of == Some(ROOMS[room])).for_each(|(of, _)| *of = None);
                }
            }
            Step::Take => {
                if self.in_flight.is_none() && self.table.listening {
                    self.in_flight = self.table.batch(self.now);
                    for topic in self.in_flight.iter().flat_map(|batch| &batch.unsubscribe) {
                        assert!(self.wanted.remove(&*topic.room), "unsubscribed what was not subscribed");
                    }
                    for topic in self.in_flight.iter().flat_map(|batch| &batch.subscribe) {
                        self.wanted.insert(topic.room.to_string());
                    }
                }
            }
            Step::Confirm => {
                let Some(batch) = self.in_flight.take() else { return };
                if self.table.listening {
                    self.subscribed.clone_from(&self.wanted);
                    self.table.confirmed(&batch);
                } else {
                    self.table.failed(&batch);
                }
            }
            Step::Lose => {
                self.subscribed.clear();
                self.table.lost();
            }
            Step::Connect => {
                if !self.table.listening {
                    self.subscribed.clone_from(&self.wanted);
                    self.table.restored();
                }
            }
            Step::Unserve if self.members.is_empty() => self.table.unserve("/", self.now),
            Step::Unserve => {}
            Step::Wait(seconds) => self.now += Duration::from_secs(seconds),
        }
        let (subscribed, too_early) = (&self.subscribed, &mut self.too_early);
        self.waits.retain_mut(|(room, wait)| match wait.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => true,
            Ok(heard) => {
                *too_early |= heard && room.is_some_and(|room| !subscribed.contains(room));
                false
            }
            Err(oneshot::error::TryRecvError::Closed) => panic!("a wait was forgotten"),
        });
    }
}

proptest! {
    #[test]
    fn what_is_waited_for_is_subscribed_and_in_the_end_nothing_else(steps in prop::collection::vec(step(), 0..80)) {
        let mut model = Model::new();
        for step in &steps {
            model.apply(step);
            prop_assert!(!model.too_early, "a room was said to be heard before it was");
        }
        for step in [Step::Confirm, Step::Connect, Step::Wait(AFTER_LINGER.as_secs())] {
            model.apply(&step);
        }
        for _ in 0..ROOMS.len() {
            model.apply(&Step::Take);
            model.apply(&Step::Confirm);
        }
        let members: BTreeSet<String> = model.members.iter().map(ToString::to_string).collect();
        prop_assert_eq!(&model.subscribed, &members);
        prop_assert!(model.waits.is_empty() && model.table.waiting.is_empty(), "somebody waits for ever");
        prop_assert_eq!(model.table.rooms(), members.len());
        prop_assert!(model.table.left.is_empty() && model.table.queue.is_empty(), "something is left behind");
        model.table.unserve("/", model.now);
        model.apply(&Step::Take);
        prop_assert!(model.wanted.is_empty() && model.table.namespaces.is_empty(), "a namespace is left behind");
    }
}

#[test]
fn a_room_that_is_joined_again_soon_is_never_given_up() {
    let mut model = Model::new();
    for step in [Step::Connect, Step::Open(0), Step::Take, Step::Confirm, Step::Empty(0), Step::Wait(1)] {
        model.apply(&step);
    }
    assert!(model.table.batch(model.now).is_none(), "not yet");
    model.apply(&Step::Open(0));
    model.apply(&Step::Wait(AFTER_LINGER.as_secs()));
    assert!(model.table.batch(model.now).is_none());
    assert_eq!(model.subscribed.len(), 1);
}

#[test]
fn somebody_who_knows_of_nothing_subscribes_to_everything() {
    let mut model = Model::new();
    for step in [Step::Connect, Step::Open(0), Step::Open(1), Step::Take, Step::Confirm, Step::Empty(1)] {
        model.apply(&step);
    }
    model.table.reset();
    assert!(matches!(model.table.heard("/", &["a".into()]), Heard::No));
    let through = model.table.restored();
    let batch = model.table.batch(model.now).unwrap();
    assert_eq!(batch.subscribe.iter().map(|topic| &*topic.room).collect::<Vec<_>>(), ["a"]);
    assert!(model.table.confirmed < through);
    model.table.confirmed(&batch);
    assert!(model.table.confirmed >= through);
}

#[test]
fn many_rooms_go_in_batches() {
    let mut table = Table::default();
    table.serve("/");
    for number in 0..2 * INTEREST_BATCH + 1 {
        table.opened("/", &number.to_string().into());
    }
    let through = table.restored();
    let mut sizes = Vec::new();
    while let Some(batch) = table.batch(Instant::now()) {
        sizes.push(batch.subscribe.len());
        table.confirmed(&batch);
    }
    assert_eq!(sizes, [INTEREST_BATCH, INTEREST_BATCH, 1]);
    assert_eq!(through, table.last_ticket);
}

#[test]
fn what_differs_from_the_hub_is_mended() {
    let mut table = Table::default();
    table.serve("/");
    table.opened("/", &"gone".into());
    table.restored();
    let now = Instant::now();
    let present = ["here".into()];
    assert_eq!(table.reconcile("/", &present, now), 2);
    assert_eq!(table.reconcile("/", &present, now), 0);
    let batch = table.batch(now + AFTER_LINGER).unwrap();
    assert_eq!(batch.subscribe.iter().map(|topic| &*topic.room).collect::<Vec<_>>(), ["here"]);
    assert!(batch.unsubscribe.is_empty(), "it never was subscribed");
}

#[test]
fn one_pattern_stands_for_the_rooms_that_begin_like_this_node_s_own() {
    let mut table = Table::with_family("abcd");
    table.serve("/");
    let (own, now): (RoomName, _) = ("abcd-own".into(), Instant::now());
    assert!(!table.opened("/", &own), "nothing is to be done for it");
    table.restored();
    let Heard::When(mut heard) = table.heard("/", std::slice::from_ref(&own)) else { panic!("it is not heard yet") };
    let batch = table.batch(now).unwrap();
    assert_eq!(batch.subscribe.iter().map(|topic| &*topic.room).collect::<Vec<_>>(), ["abcd*"]);
    assert!(table.is_pattern(&batch.subscribe[0].room));
    table.confirmed(&batch);
    assert_eq!(heard.try_recv(), Ok(true));
    table.emptied("/", &own, now);
    assert!(table.batch(now + AFTER_LINGER).is_none(), "the pattern stays");
    assert_eq!(table.reconcile("/", std::slice::from_ref(&own), now), 0);
    table.forget_family();
    assert_eq!(table.reconcile("/", std::slice::from_ref(&own), now), 1);
    let batch = table.batch(now).unwrap();
    assert_eq!(batch.subscribe.iter().map(|topic| &*topic.room).collect::<Vec<_>>(), ["abcd-own"]);
}
