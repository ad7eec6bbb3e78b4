//! Which rooms this node listens for: those with members here, and those that had some a moment ago.
//!
//! The hub says when a room gets its first member or loses its last ([`trunkline_hub::Interest`]); the link takes what
//! is to be done as batches, in order, one at a time. [`table`] decides; here is who asks it, and who waits.

mod table;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};
use trunkline_hub::{Hub, Interest, RoomName};

use self::table::{Heard, Table};
use crate::{limits::HEARD_TIMEOUT, metrics};

pub(crate) use self::table::{Batch, Topic};

/// The rooms this node listens for, and who waits until it does.
#[derive(Debug, Default)]
pub(crate) struct Interests {
    table: Mutex<Table>,
    /// Wakes the link: there is something to do.
    changed: Notify,
}
impl Interests {
    /// With one pattern for all rooms that begin with `prefix`, as those of this node's own sockets do.
    pub(crate) fn with_family(prefix: &str) -> Self {
        Self { table: Mutex::new(Table::with_family(prefix)), changed: Notify::default() }
    }

    /// Does without the pattern: Redis does not allow it.
    pub(crate) fn forget_family(&self, hub: &Hub) {
        self.table.lock().forget_family();
        self.reconcile(hub, Instant::now());
    }

    /// Whether a topic of a batch is a pattern.
    pub(crate) fn is_pattern(&self, topic: &Topic) -> bool {
        self.table.lock().is_pattern(&topic.room)
    }

    /// Takes part for a namespace from now on, with the rooms that have members already.
    pub(crate) fn serve(&self, namespace: &str, hub: &Hub) {
        // First the namespace, then its rooms: a room that opens in between is told of.
        self.table.lock().serve(namespace);
        self.changed.notify_one();
        let rooms = hub.namespace(namespace).map_or_else(Vec::new, |namespace| namespace.rooms());
        for room in &rooms {
            self.opened(namespace, room);
        }
    }

    /// Takes no part any more. What is subscribed to for its rooms is undone.
    pub(crate) fn unserve(&self, namespace: &str) {
        self.table.lock().unserve(namespace, Instant::now());
        self.changed.notify_one();
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
        metrics::interest(table.rooms(), table.queued());
        batch
    }

    /// Redis has confirmed a batch.
    pub(crate) fn confirmed(&self, batch: &Batch) {
        self.table.lock().confirmed(batch);
    }

    /// Whether everything up to `ticket` is subscribed.
    pub(crate) fn is_confirmed(&self, ticket: u64) -> bool {
        self.table.lock().is_confirmed(ticket)
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
        self.table.lock().is_settled()
    }

    /// Returns when there may be something to do: a room opened, or one is due to be given up.
    pub(crate) async fn changed(&self) {
        let due = self.table.lock().due();
        match due {
            Some(due) => {
                let _ = timeout_at(due, self.changed.notified()).await;
            }
            None => self.changed.notified().await,
        }
    }

    /// Mends what differs from the rooms that have members in `hub`, and says how much that was. Nothing should; a
    /// room that opens or empties meanwhile can look as if it did, which the next time puts right.
    pub(crate) fn reconcile(&self, hub: &Hub, now: Instant) -> usize {
        let names = self.table.lock().namespaces();
        let mut mended = 0;
        for name in names {
            let Some(namespace) = hub.namespace(&name) else { continue };
            // Before the lock: the index of rooms calls us under its own.
            let rooms = namespace.rooms();
            mended += self.table.lock().reconcile(&name, &rooms, now);
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
