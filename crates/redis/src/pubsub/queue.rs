//! The way from the connections to whoever reads the events.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use std::time::Duration;

use tokio::{sync::mpsc, time::sleep};

use super::Event;

/// How much may wait to be read. When more would, the connections are given up, with
/// [`Lost::Lagging`](super::Lost::Lagging), and made anew once half of it has been read: so the loss is known, instead
/// of memory growing without bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages.
    pub messages: usize,
    /// The sum of their channels and payloads.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { messages: 65_536, bytes: 128 << 20 }
    }
}

/// The events, in order. Dropping it ends the subscriptions.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::UnboundedReceiver<Event>,
    waiting: Arc<Waiting>,
}

impl Events {
    /// The next event; waits for it. `None` after the last clone of the [`PubSub`](super::PubSub) is gone. Safe to cancel.
    pub async fn next(&mut self) -> Option<Event> {
        let event = self.receiver.recv().await;
        self.taken(event)
    }

    /// The next event, if there is one already.
    pub fn try_next(&mut self) -> Option<Event> {
        let event = self.receiver.try_recv().ok();
        self.taken(event)
    }

    fn taken(&self, event: Option<Event>) -> Option<Event> {
        if let Some(size) = event.as_ref().and_then(size) {
            self.waiting.messages.fetch_sub(1, Ordering::Relaxed);
            self.waiting.bytes.fetch_sub(size, Ordering::Relaxed);
        }
        event
    }
}

#[derive(Debug, Default)]
struct Waiting {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

/// The writers' end.
#[derive(Debug)]
pub(super) struct Queue {
    sender: mpsc::UnboundedSender<Event>,
    waiting: Arc<Waiting>,
    limits: Limits,
}

/// How often a reader that fell behind is looked at.
const DRAIN_CHECK: Duration = Duration::from_millis(20);

pub(super) fn new(limits: Limits) -> (Queue, Events) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(Waiting::default());
    (Queue { sender, waiting: Arc::clone(&waiting), limits }, Events { receiver, waiting })
}

impl Queue {
    /// False when it is full: then the event is not added.
    pub(super) fn message(&self, event: Event) -> bool {
        let size = size(&event).unwrap_or(0);
        let messages = self.waiting.messages.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = self.waiting.bytes.fetch_add(size, Ordering::Relaxed) + size;
        if messages > self.limits.messages || bytes > self.limits.bytes {
            self.waiting.messages.fetch_sub(1, Ordering::Relaxed);
            self.waiting.bytes.fetch_sub(size, Ordering::Relaxed);
            return false;
        }
        // A closed channel is noticed by the keeper.
        let _ = self.sender.send(event);
        true
    }

    /// There are few of these, and they must not be missed.
    pub(super) fn event(&self, event: Event) {
        let _ = self.sender.send(event);
    }

    /// Nobody reads any more.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }

    /// Returns when the reader has caught up, so that a new connection doesn't end like the last.
    pub(super) async fn drained(&self) {
        while !self.is_closed()
            && (self.waiting.messages.load(Ordering::Relaxed) > self.limits.messages / 2
                || self.waiting.bytes.load(Ordering::Relaxed) > self.limits.bytes / 2)
        {
            sleep(DRAIN_CHECK).await;
        }
    }
}

/// Of a message; the others don't count.
fn size(event: &Event) -> Option<usize> {
    match event {
        Event::Message(message) => {
            Some(message.channel.len() + message.payload.len() + message.pattern.as_ref().map_or(0, bytes::Bytes::len))
        }
        Event::Restored | Event::Lost(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::time::timeout;

    use super::*;
    use crate::{Lost, Message};

    fn message(size: usize) -> Event {
        Event::Message(Message { channel: Bytes::new(), payload: vec![0; size].into(), pattern: None })
    }

    #[tokio::test]
    async fn a_reader_that_falls_behind_is_noticed_and_waited_for() {
        let (queue, mut events) = new(Limits { messages: 4, bytes: 100 });
        assert!((0..4).all(|_| queue.message(message(1))));
        assert!(!queue.message(message(1)));
        queue.event(Event::Lost(Lost::Lagging));
        assert!(timeout(2 * DRAIN_CHECK, queue.drained()).await.is_err());
        for _ in 0..4 {
            assert_eq!(events.next().await, Some(message(1)));
        }
        assert_eq!(events.try_next(), Some(Event::Lost(Lost::Lagging)));
        assert_eq!(events.try_next(), None);
        queue.drained().await;
        assert!(queue.message(message(100)));
        assert!(!queue.message(message(1)), "large messages count by their bytes");
    }
}
