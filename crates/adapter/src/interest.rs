//! Which rooms this node listens for: those with members here, and those that had some a moment ago.
//!
//! The hub says when a room gets its first member or loses its last ([`trunkline_hub::Interest`]); the link takes what
//! is to be done as batches, in order, one at a time. Nothing here does I/O or reads a clock.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use ahash::AHashMap;
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, timeout},
};
use trunkline_hub::{Hub, Interest, RoomName};

use crate::{
    limits::{HEARD_TIMEOUT, INTEREST_BATCH, LINGER},
    metrics,
};

/// A room of a namespace. It has a channel of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Topic {
    pub namespace: Arc<str>,
    pub room: RoomName,
}

/// What to do next: first unsubscribe, then subscribe. A room can be in both.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub unsubscribe: Vec<Topic>,
    pub subscribe: Vec<Topic>,
    /// All that was queued up to here is subscribed when this batch is.
    through: u64,
}

/// The rooms this node listens for, and who waits until it does.
#[derive(Debug, Default)]
pub(crate) struct Interests {
    table: Mutex<Table>,
    /// Wakes the link: there is something to do.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    /// Served namespaces only.
    namespaces: AHashMap<Arc<str>, AHashMap<RoomName, Entry>>,
    /// What is to be subscribed, by ticket. An entry that has another ticket by now, or none, is skipped.
    queue: VecDeque<(u64, Topic)>,
    /// Rooms that lost their last member, by the time at which they are given up. Skipped when the entry says otherwise.
    left: VecDeque<(Instant, Topic)>,
    /// Who waits until a ticket is confirmed.
    waiting: BTreeMap<u64, Vec<oneshot::Sender<bool>>>,
    /// Tickets are given out in order, from 1.
    last_ticket: u64,
    /// All tickets up to this one are confirmed, or void.
    confirmed: u64,
    /// Whether there is a connection that batches are done on.
    listening: bool,
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// When to give it up, if nobody comes back.
    until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be subscribed, or being subscribed.
    Queued {
        ticket: u64,
        /// Whether the subscriber was told: it may have succeeded, or will by itself.
        asked: bool,
    },
    /// It was confirmed; the connection was lost since, and the next one subscribes to it by itself.
    Kept,
    Confirmed,
}

impl State {
    fn queued(ticket: u64) -> Self {
        Self::Queued { ticket, asked: false }
    }

    fn is_queued_until(self, through: u64) -> bool {
        matches!(self, Self::Queued { ticket, .. } if ticket <= through)
    }
}

/// Whether rooms are heard.
enum Heard {
    Yes,
    No,
    When(oneshot::Receiver<bool>),
}

impl Interests {
    /// Takes part for a namespace from now on, with the rooms that have members already.
    pub(crate) fn serve(&self, namespace: &str, hub: &Hub) {
        // First the namespace, then its rooms: a room that opens in between is told of.
        self.table.lock().namespaces.entry(namespace.into()).or_default();
        let rooms = hub.namespace(namespace).map_or_else(Vec::new, |namespace| namespace.rooms());
        for room in &rooms {
            self.opened(namespace, room);
        }
    }

    fn opened(&self, namespace: &str, room: &RoomName) {
        if self.table.lock().opened(namespace, room) {
            self.changed.notify_one();
        }
    }

    /// Everything is to be subscribed anew, by somebody who knows of nothing yet and has no connection.
    pub(crate) fn reset(&self) {
        self.table.lock().reset();
    }

    /// There is a connection, and what was confirmed on an earlier one is confirmed again. Returns the ticket until which
    /// all is to be confirmed before everything is heard.
    pub(crate) fn restored(&self) -> u64 {
        self.changed.notify_one();
        self.table.lock().restored()
    }

    /// The connection is gone. Whoever waits is told that it was in vain.
    pub(crate) fn lost(&self) {
        self.table.lock().lost();
    }

    /// A batch came to nothing: it is to be done again, and who waited for it is told.
    pub(crate) fn failed(&self, batch: &Batch) {
        self.table.lock().failed(batch);
    }

    /// What to do now, `None` when there is nothing.
    pub(crate) fn batch(&self, now: Instant) -> Option<Batch> {
        let mut table = self.table.lock();
        let batch = table.batch(now);
        metrics::interest(table.rooms(), table.queue.len());
        batch
    }

    /// Redis has confirmed a batch.
    pub(crate) fn confirmed(&self, batch: &Batch) {
        self.table.lock().confirmed(batch);
    }

    /// Whether everything up to `ticket` is subscribed.
    pub(crate) fn is_confirmed(&self, ticket: u64) -> bool {
        self.table.lock().confirmed >= ticket
    }

    /// Waits until everything that has opened by now is subscribed, as far as it can be.
    pub(crate) async fn settled(&self) {
        let settled = self.table.lock().settled();
        if let Heard::When(confirmed) = settled {
            let _ = timeout(HEARD_TIMEOUT, confirmed).await;
        }
    }

    /// Whether nothing waits to be subscribed, or nothing can be.
    pub(crate) fn is_settled(&self) -> bool {
        let table = self.table.lock();
        !table.listening || table.confirmed == table.last_ticket
    }

    /// Returns when there may be something to do: a room opened, or one is due to be given up.
    pub(crate) async fn changed(&self) {
        let due = self.table.lock().left.front().map(|(until, _)| *until);
        match due {
            Some(due) => {
                let _ = tokio::time::timeout_at(due, self.changed.notified()).await;
            }
            None => self.changed.notified().await,
        }
    }

    /// Mends what differs from the rooms that have members in `hub`, and says how much that was. Nothing should; a
    /// room that opens or empties meanwhile can look as if it did, which the next time puts right.
    pub(crate) fn reconcile(&self, hub: &Hub, now: Instant) -> usize {
        let names: Vec<_> = self.table.lock().namespaces.keys().cloned().collect();
        let mut mended = 0;
        for name in names {
            let Some(namespace) = hub.namespace(&name) else { continue };
            mended += self.table.lock().reconcile(&name, &namespace.rooms(), now);
        }
        if mended > 0 {
            self.changed.notify_one();
            metrics::interest_mended(mended);
        }
        mended
    }
}

#[async_trait]
impl Interest for Interests {
    fn changed(&self, namespace: &str, room: &RoomName, has_members: bool) {
        if has_members {
            self.opened(namespace, room);
        } else {
            self.table.lock().emptied(namespace, room, Instant::now());
            // The link looks for rooms that are due when it has seen the first of them.
            self.changed.notify_one();
        }
    }

    async fn heard(&self, namespace: &str, rooms: &[RoomName]) -> bool {
        let heard = self.table.lock().heard(namespace, rooms);
        let heard = match heard {
            Heard::Yes => true,
            Heard::No => false,
            Heard::When(confirmed) => matches!(timeout(HEARD_TIMEOUT, confirmed).await, Ok(Ok(true))),
        };
        if !heard {
            metrics::unheard();
        }
        heard
    }
}

impl Table {
    fn rooms(&self) -> usize {
        self.namespaces.values().map(|rooms| rooms.len()).sum()
    }

    /// Whether that is news to the link.
    fn opened(&mut self, namespace: &str, room: &RoomName) -> bool {
        let Some((name, _)) = self.namespaces.get_key_value(namespace) else { return false };
        let topic = Topic { namespace: Arc::clone(name), room: Arc::clone(room) };
        let Some(rooms) = self.namespaces.get_mut(namespace) else { return false };
        if let Some(entry) = rooms.get_mut(room) {
            entry.until = None;
            return false;
        }
        self.last_ticket += 1;
        rooms.insert(Arc::clone(room), Entry { state: State::queued(self.last_ticket), until: None });
        self.queue.push_back((self.last_ticket, topic));
        true
    }

    fn emptied(&mut self, namespace: &str, room: &RoomName, now: Instant) {
        let Some((name, _)) = self.namespaces.get_key_value(namespace) else { return };
        let topic = Topic { namespace: Arc::clone(name), room: Arc::clone(room) };
        if let Some(entry) = self.namespaces.get_mut(namespace).and_then(|rooms| rooms.get_mut(room)) {
            let until = now + LINGER;
            entry.until = Some(until);
            self.left.push_back((until, topic));
        }
    }

    fn reset(&mut self) {
        self.lost();
        self.queue.clear();
        self.left.clear();
        for (namespace, rooms) in &mut self.namespaces {
            // What nobody is in any more need not be subscribed again.
            rooms.retain(|_, entry| entry.until.is_none());
            for (room, entry) in rooms {
                self.last_ticket += 1;
                entry.state = State::queued(self.last_ticket);
                let topic = Topic { namespace: Arc::clone(namespace), room: Arc::clone(room) };
                self.queue.push_back((self.last_ticket, topic));
            }
        }
    }

    fn restored(&mut self) -> u64 {
        self.listening = true;
        for entry in self.namespaces.values_mut().flat_map(|rooms| rooms.values_mut()) {
            if entry.state == State::Kept {
                entry.state = State::Confirmed;
            }
        }
        self.last_ticket
    }

    fn lost(&mut self) {
        self.listening = false;
        for entry in self.namespaces.values_mut().flat_map(|rooms| rooms.values_mut()) {
            if entry.state == State::Confirmed {
                entry.state = State::Kept;
            }
        }
        self.disappoint();
    }

    fn failed(&mut self, batch: &Batch) {
        for topic in &batch.subscribe {
            self.last_ticket += 1;
            let ticket = self.last_ticket;
            if let Some(entry) = self.entry(topic)
                && entry.state.is_queued_until(batch.through)
            {
                entry.state = State::Queued { ticket, asked: true };
                self.queue.push_back((ticket, topic.clone()));
            }
        }
        self.confirmed = self.confirmed.max(batch.through);
        self.disappoint();
    }

    /// Tells everyone who waits that it was in vain.
    fn disappoint(&mut self) {
        for waiting in std::mem::take(&mut self.waiting).into_values().flatten() {
            let _ = waiting.send(false);
        }
    }

    fn batch(&mut self, now: Instant) -> Option<Batch> {
        let mut batch = Batch::default();
        while batch.unsubscribe.len() < INTEREST_BATCH
            && let Some((until, topic)) = self.left.pop_front_if(|(until, _)| *until <= now)
        {
            if let Some(was_subscribed) = self.give_up(&topic, until)
                && was_subscribed
            {
                batch.unsubscribe.push(topic);
            }
        }
        while batch.subscribe.len() < INTEREST_BATCH
            && let Some((ticket, topic)) = self.queue.pop_front()
        {
            batch.through = ticket;
            if let Some(entry) = self.entry(&topic)
                && matches!(entry.state, State::Queued { ticket: queued, .. } if queued == ticket)
            {
                entry.state = State::Queued { ticket, asked: true };
                batch.subscribe.push(topic);
            }
        }
        if !batch.subscribe.is_empty() || !batch.unsubscribe.is_empty() {
            return Some(batch);
        }
        // All that was queued was given up again: nobody has to wait for Redis.
        self.wake(batch.through);
        None
    }

    /// Forgets a room that nobody came back to, and says whether it was subscribed, or may have been.
    fn give_up(&mut self, topic: &Topic, until: Instant) -> Option<bool> {
        let rooms = self.namespaces.get_mut(&topic.namespace)?;
        let entry = rooms.get(&topic.room)?;
        if entry.until != Some(until) {
            return None;
        }
        let subscribed = !matches!(entry.state, State::Queued { asked: false, .. });
        rooms.remove(&topic.room);
        Some(subscribed)
    }

    fn entry(&mut self, topic: &Topic) -> Option<&mut Entry> {
        self.namespaces.get_mut(&topic.namespace)?.get_mut(&topic.room)
    }

    fn confirmed(&mut self, batch: &Batch) {
        // After a loss that came in between, it is confirmed when the next connection is.
        let state = if self.listening { State::Confirmed } else { State::Kept };
        for topic in &batch.subscribe {
            if let Some(entry) = self.entry(topic)
                && entry.state.is_queued_until(batch.through)
            {
                entry.state = state;
            }
        }
        self.wake(batch.through);
    }

    fn wake(&mut self, through: u64) {
        self.confirmed = self.confirmed.max(through);
        let later = self.waiting.split_off(&(through + 1));
        for waiting in std::mem::replace(&mut self.waiting, later).into_values().flatten() {
            let _ = waiting.send(true);
        }
    }

    fn heard(&mut self, namespace: &str, rooms: &[RoomName]) -> Heard {
        let Some(known) = self.namespaces.get(namespace) else { return Heard::Yes };
        let pending = rooms.iter().filter_map(|room| match known.get(room)?.state {
            State::Queued { ticket, .. } => Some(ticket),
            State::Kept => Some(0),
            State::Confirmed => None,
        });
        match pending.max() {
            None => Heard::Yes,
            Some(_) if !self.listening => Heard::No,
            Some(ticket) => self.wait(ticket),
        }
    }

    fn settled(&mut self) -> Heard {
        if self.listening && self.confirmed < self.last_ticket { self.wait(self.last_ticket) } else { Heard::Yes }
    }

    fn wait(&mut self, ticket: u64) -> Heard {
        let (sender, confirmed) = oneshot::channel();
        self.waiting.entry(ticket).or_default().push(sender);
        Heard::When(confirmed)
    }

    fn reconcile(&mut self, namespace: &str, present: &[RoomName], now: Instant) -> usize {
        let missing = present.iter().filter(|room| self.opened(namespace, room)).count();
        let Some(rooms) = self.namespaces.get(namespace) else { return missing };
        let present: ahash::AHashSet<&str> = present.iter().map(|room| &**room).collect();
        let surplus: Vec<RoomName> = rooms
            .iter()
            .filter(|(room, entry)| entry.until.is_none() && !present.contains(&***room))
            .map(|(room, _)| Arc::clone(room))
            .collect();
        surplus.iter().for_each(|room| self.emptied(namespace, room, now));
        missing + surplus.len()
    }
}

#[cfg(test)]
mod tests {
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
            table.namespaces.insert("/".into(), AHashMap::new());
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
        table.namespaces.insert("/".into(), AHashMap::new());
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
        table.namespaces.insert("/".into(), AHashMap::new());
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
}
