//! Answers that a socket waits for.

use std::time::Duration;

use ahash::AHashMap;
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::timeout};

use crate::packet::Encoded;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AckError {
    /// The client did not answer in time. It may have received the event all the same.
    #[error("the client did not answer in time")]
    Timeout,
    /// The socket is closed.
    #[error("the socket is closed")]
    Closed,
}

impl AckError {
    /// Whether sending it again may help.
    pub fn retryable(self) -> bool {
        self == Self::Timeout
    }
}

/// The events of one socket that are not answered yet. Boxed, since most sockets are never asked anything.
#[derive(Debug, Default)]
pub(crate) struct Acks(Mutex<Option<Box<Waiting>>>);

#[derive(Debug, Default)]
struct Waiting {
    next: i64,
    answers: AHashMap<i64, oneshot::Sender<Encoded>>,
    closed: bool,
}

/// An answer that somebody waits for. Dropping it forgets the event.
#[derive(Debug)]
pub(crate) struct Expected<'a> {
    acks: &'a Acks,
    id: i64,
    answer: oneshot::Receiver<Encoded>,
}

impl Acks {
    pub(crate) fn expect(&self) -> Expected<'_> {
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.0.lock();
        let waiting = waiting.get_or_insert_default();
        let id = waiting.next;
        waiting.next += 1;
        if !waiting.closed {
            waiting.answers.insert(id, sender);
        }
        Expected { acks: self, id, answer }
    }

    pub(crate) fn resolve(&self, id: i64, args: Encoded) {
        let sender = self.0.lock().as_mut().and_then(|waiting| waiting.answers.remove(&id));
        if let Some(sender) = sender {
            // Whoever waited may have given up just now.
            let _ = sender.send(args);
        }
    }

    /// Nobody will answer any more.
    pub(crate) fn close(&self) {
        if let Some(waiting) = &mut *self.0.lock() {
            waiting.closed = true;
            waiting.answers.clear();
        }
    }
}

impl Expected<'_> {
    pub(crate) fn id(&self) -> i64 {
        self.id
    }

    pub(crate) async fn answer(mut self, time: Duration) -> Result<Encoded, AckError> {
        match timeout(time, &mut self.answer).await {
            Ok(answer) => answer.map_err(|_| AckError::Closed),
            Err(_) => Err(AckError::Timeout),
        }
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = &mut *self.acks.0.lock() {
            waiting.answers.remove(&self.id);
        }
    }
}
