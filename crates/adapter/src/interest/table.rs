//! What is subscribed to, what is to be, and who waits for it. No I/O, and no clock.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use ahash::AHashMap;
use tokio::{sync::oneshot, time::Instant};
use trunkline_hub::RoomName;

use crate::limits::{INTEREST_BATCH, LINGER};

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
/// The rooms this node listens for, and how far that has come.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Served namespaces, and those that are being given up.
    namespaces: AHashMap<Arc<str>, Listened>,
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
    family: Option<Family>,
}

/// The rooms of this node's own sockets, whose ids begin alike: one pattern stands for all of them, and a socket that
/// comes or goes costs no subscription of its own. Anybody's room that begins like them counts as one.
#[derive(Debug)]
struct Family {
    prefix: String,
    /// The pattern's own place among the rooms of a namespace.
    pattern: RoomName,
}

/// What is listened for in a namespace.
#[derive(Debug, Default)]
struct Listened {
    rooms: AHashMap<RoomName, Entry>,
    /// It is not served any more, and forgotten with the last of its rooms.
    ending: bool,
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
pub(super) enum Heard {
    Yes,
    No,
    When(oneshot::Receiver<bool>),
}
impl Table {
    /// Every namespace listens for the rooms that begin with `prefix` by a pattern.
    pub(super) fn with_family(prefix: &str) -> Self {
        let family = Family { prefix: prefix.to_owned(), pattern: format!("{prefix}*").into() };
        Self { family: Some(family), ..Self::default() }
    }

    /// From now on every room is listened for by its name; those that are open have to be told again.
    pub(super) fn forget_family(&mut self) {
        if let Some(Family { pattern, .. }) = self.family.take() {
            for listened in self.namespaces.values_mut() {
                listened.rooms.remove(&pattern);
            }
        }
    }

    /// Whether this is what stands for a family.
    pub(super) fn is_pattern(&self, room: &RoomName) -> bool {
        self.family.as_ref().is_some_and(|family| family.pattern == *room)
    }

    fn is_of_family(&self, room: &str) -> bool {
        self.family.as_ref().is_some_and(|family| room.starts_with(&family.prefix))
    }

    /// Under which name a room is listened for.
    fn listed<'a>(&'a self, room: &'a RoomName) -> &'a RoomName {
        match &self.family {
            Some(family) if room.starts_with(&family.prefix) => &family.pattern,
            _ => room,
        }
    }

    pub(super) fn rooms(&self) -> usize {
        self.namespaces.values().map(|listened| listened.rooms.len()).sum()
    }

    /// How many rooms wait to be subscribed to.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn namespaces(&self) -> Vec<Arc<str>> {
        self.namespaces.keys().cloned().collect()
    }

    pub(super) fn serve(&mut self, namespace: &str) {
        self.namespaces.entry(namespace.into()).or_default().ending = false;
        if let Some(pattern) = self.family.as_ref().map(|family| Arc::clone(&family.pattern)) {
            self.open(namespace, &pattern);
        }
    }

    /// Its rooms are given up at once.
    pub(super) fn unserve(&mut self, namespace: &str, now: Instant) {
        let Some((name, _)) = self.namespaces.get_key_value(namespace) else { return };
        let name = Arc::clone(name);
        let Some(listened) = self.namespaces.get_mut(&name) else { return };
        listened.ending = true;
        for (room, entry) in &mut listened.rooms {
            entry.until = Some(now);
            // In front of what is to be given up later.
            self.left.push_front((now, Topic { namespace: Arc::clone(&name), room: Arc::clone(room) }));
        }
        self.forget_if_ended(&name);
    }

    fn forget_if_ended(&mut self, namespace: &str) {
        if self.namespaces.get(namespace).is_some_and(|listened| listened.ending && listened.rooms.is_empty()) {
            self.namespaces.remove(namespace);
        }
    }

    /// Whether that is news to the link.
    pub(super) fn opened(&mut self, namespace: &str, room: &RoomName) -> bool {
        !self.is_of_family(room) && self.open(namespace, room)
    }

    fn open(&mut self, namespace: &str, room: &RoomName) -> bool {
        let Some((name, _)) = self.namespaces.get_key_value(namespace) else { return false };
        let topic = Topic { namespace: Arc::clone(name), room: Arc::clone(room) };
        let Some(Listened { rooms, ending: false }) = self.namespaces.get_mut(namespace) else { return false };
        if let Some(entry) = rooms.get_mut(room) {
            entry.until = None;
            return false;
        }
        self.last_ticket += 1;
        rooms.insert(Arc::clone(room), Entry { state: State::queued(self.last_ticket), until: None });
        self.queue.push_back((self.last_ticket, topic));
        true
    }

    pub(super) fn emptied(&mut self, namespace: &str, room: &RoomName, now: Instant) {
        if self.is_of_family(room) {
            return;
        }
        let Some((name, _)) = self.namespaces.get_key_value(namespace) else { return };
        let topic = Topic { namespace: Arc::clone(name), room: Arc::clone(room) };
        if let Some(Listened { rooms, ending: false }) = self.namespaces.get_mut(namespace)
            && let Some(entry) = rooms.get_mut(room)
        {
            let until = now + LINGER;
            entry.until = Some(until);
            self.left.push_back((until, topic));
        }
    }

    pub(super) fn reset(&mut self) {
        self.lost();
        self.queue.clear();
        self.left.clear();
        self.namespaces.retain(|_, listened| !listened.ending);
        for (namespace, Listened { rooms, .. }) in &mut self.namespaces {
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

    pub(super) fn restored(&mut self) -> u64 {
        self.listening = true;
        for entry in self.namespaces.values_mut().flat_map(|listened| listened.rooms.values_mut()) {
            if entry.state == State::Kept {
                entry.state = State::Confirmed;
            }
        }
        self.last_ticket
    }

    pub(super) fn lost(&mut self) {
        self.listening = false;
        for entry in self.namespaces.values_mut().flat_map(|listened| listened.rooms.values_mut()) {
            if entry.state == State::Confirmed {
                entry.state = State::Kept;
            }
        }
        self.disappoint();
    }

    pub(super) fn failed(&mut self, batch: &Batch) {
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

    pub(super) fn batch(&mut self, now: Instant) -> Option<Batch> {
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
        let rooms = &mut self.namespaces.get_mut(&topic.namespace)?.rooms;
        let entry = rooms.get(&topic.room)?;
        if entry.until != Some(until) {
            return None;
        }
        let subscribed = !matches!(entry.state, State::Queued { asked: false, .. });
        rooms.remove(&topic.room);
        self.forget_if_ended(&topic.namespace);
        Some(subscribed)
    }

    fn entry(&mut self, topic: &Topic) -> Option<&mut Entry> {
        self.namespaces.get_mut(&topic.namespace)?.rooms.get_mut(&topic.room)
    }

    pub(super) fn confirmed(&mut self, batch: &Batch) {
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

    pub(super) fn heard(&mut self, namespace: &str, rooms: &[RoomName]) -> Heard {
        let Some(Listened { rooms: known, .. }) = self.namespaces.get(namespace) else { return Heard::Yes };
        let pending = rooms.iter().filter_map(|room| match known.get(self.listed(room))?.state {
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

    pub(super) fn settled(&mut self) -> Heard {
        if self.listening && self.confirmed < self.last_ticket { self.wait(self.last_ticket) } else { Heard::Yes }
    }

    /// Whether everything up to `ticket` is subscribed.
    pub(super) fn is_confirmed(&self, ticket: u64) -> bool {
        self.confirmed >= ticket
    }

    /// Whether nothing waits to be subscribed, or nothing can be.
    pub(super) fn is_settled(&self) -> bool {
        !self.listening || self.confirmed == self.last_ticket
    }

    /// When the next room is due to be given up.
    pub(super) fn due(&self) -> Option<Instant> {
        self.left.front().map(|(until, _)| *until)
    }

    fn wait(&mut self, ticket: u64) -> Heard {
        let (sender, confirmed) = oneshot::channel();
        self.waiting.entry(ticket).or_default().push(sender);
        Heard::When(confirmed)
    }

    pub(super) fn reconcile(&mut self, namespace: &str, present: &[RoomName], now: Instant) -> usize {
        let missing = present.iter().filter(|room| self.opened(namespace, room)).count();
        let Some(Listened { rooms, .. }) = self.namespaces.get(namespace) else { return missing };
        let present: ahash::AHashSet<&str> = present.iter().map(|room| &**room).collect();
        let surplus: Vec<RoomName> = rooms
            .iter()
            .filter(|(room, entry)| entry.until.is_none() && !self.is_pattern(room) && !present.contains(&***room))
            .map(|(room, _)| Arc::clone(room))
            .collect();
        surplus.iter().for_each(|room| self.emptied(namespace, room, now));
        missing + surplus.len()
    }
}

#[cfg(test)]
mod tests;
