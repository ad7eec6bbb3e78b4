//! What waits to be published: in order, bounded by count and by bytes.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    limits::{BATCH_BYTES, BATCH_MESSAGES, OUTGOING_BYTES, OUTGOING_MESSAGES},
    metrics::{self, Drop},
};

/// A message and where it goes.
#[derive(Debug)]
pub(crate) struct Message {
    pub channel: String,
    pub payload: Bytes,
    /// Whether the channel is a sharded one.
    pub sharded: bool,
    /// Worth nothing later: it does not wait until Redis is back.
    pub volatile: bool,
}

impl Message {
    fn size(&self) -> usize {
        self.channel.len() + self.payload.len()
    }
}

/// Many writers that never wait, one reader.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Message>,
    /// The sum of the messages' sizes.
    bytes: usize,
    closed: bool,
}

impl Queue {
    /// Adds a message, or says why not. When it is full the newest message is refused, so that what does go
    /// out is what came first, without holes in the middle.
    pub(crate) fn push(&self, message: Message) -> Result<(), Drop> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(Drop::Closed);
        }
        let bytes = waiting.bytes + message.size();
        if waiting.messages.len() >= OUTGOING_MESSAGES || bytes > OUTGOING_BYTES {
            return Err(Drop::QueueFull);
        }
        waiting.bytes = bytes;
        waiting.messages.push_back(message);
        metrics::queued_bytes(bytes);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits until there is something and takes as much as goes into one round trip; `None` once the queue is closed
    /// and empty. Nothing is taken before it returns, so the wait can be given up at any time.
    pub(crate) async fn batch(&self) -> Option<Vec<Message>> {
        loop {
            {
                let mut waiting = self.waiting.lock();
                if !waiting.messages.is_empty() {
                    return Some(waiting.take_batch());
                }
                if waiting.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Takes back what could not be published, in front of all others, and drops what is volatile. Nothing is refused.
    pub(crate) fn put_back(&self, batch: Vec<Message>) {
        let count = batch.len();
        let kept: Vec<_> = batch.into_iter().filter(|message| !message.volatile).collect();
        metrics::dropped(Drop::Offline, count - kept.len());
        let mut waiting = self.waiting.lock();
        for message in kept.into_iter().rev() {
            waiting.bytes += message.size();
            waiting.messages.push_front(message);
        }
        metrics::queued_bytes(waiting.bytes);
    }

    /// What waits, without waiting for it.
    #[cfg(test)]
    pub(crate) fn try_batch(&self) -> Option<Vec<Message>> {
        let mut waiting = self.waiting.lock();
        (!waiting.messages.is_empty()).then(|| waiting.take_batch())
    }

    /// Refuses what comes from now on. What is queued can still be taken.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.changed.notify_one();
    }

    /// Throws away what is queued and says how much it was.
    pub(crate) fn clear(&self) -> usize {
        let mut waiting = self.waiting.lock();
        waiting.bytes = 0;
        metrics::queued_bytes(0);
        std::mem::take(&mut waiting.messages).len()
    }
}

impl Waiting {
    fn take_batch(&mut self) -> Vec<Message> {
        let mut batch = Vec::with_capacity(self.messages.len().min(BATCH_MESSAGES));
        let mut bytes = 0;
        while batch.len() < BATCH_MESSAGES {
            let Some(next) = self.messages.pop_front_if(|next| bytes == 0 || bytes + next.size() <= BATCH_BYTES) else {
                break;
            };
            bytes += next.size();
            batch.push(next);
        }
        self.bytes -= bytes;
        metrics::queued_bytes(self.bytes);
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(size: usize) -> Message {
        Message { channel: String::new(), payload: vec![0; size].into(), sharded: false, volatile: false }
    }

    #[tokio::test]
    async fn batches_keep_the_order_and_the_limits() {
        let queue = Queue::default();
        for size in [1, 2 * BATCH_BYTES, 3, 4] {
            queue.push(message(size)).unwrap();
        }
        let mut sizes = Vec::new();
        for _ in 0..3 {
            let batch = queue.batch().await.unwrap();
            sizes.push(batch.iter().map(Message::size).collect::<Vec<_>>());
        }
        assert_eq!(sizes, [vec![1], vec![2 * BATCH_BYTES], vec![3, 4]]);
    }

    #[test]
    fn a_full_queue_refuses_the_newest() {
        let queue = Queue::default();
        for _ in 0..OUTGOING_MESSAGES {
            queue.push(message(1)).unwrap();
        }
        assert_eq!(queue.push(message(1)), Err(Drop::QueueFull));
        let queue = Queue::default();
        queue.push(message(OUTGOING_BYTES)).unwrap();
        assert_eq!(queue.push(message(1)), Err(Drop::QueueFull));
        assert_eq!(queue.clear(), 1);
        queue.push(message(1)).unwrap();
    }

    #[tokio::test]
    async fn a_closed_queue_is_emptied_and_then_ends() {
        let queue = Queue::default();
        queue.push(message(1)).unwrap();
        queue.close();
        assert_eq!(queue.push(message(1)), Err(Drop::Closed));
        assert_eq!(queue.batch().await.unwrap().len(), 1);
        assert!(queue.batch().await.is_none());
    }
}
