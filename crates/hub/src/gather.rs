//! Events gathered for a client that asks for it: in a busy room, many small ones leave as one that holds them all.
//!
//! An outbox around the lane's own. Order is kept, whatever is between two of the gathered; nothing is dropped, and what the
//! lane has no room for makes the socket a slow consumer, as without gathering.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use bytestring::ByteString;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio_util::task::TaskTracker;

use crate::{
    lanes::{Flush, Outbox, SendError},
    packet::{Encoded, Packet},
    reason::Close,
    socket::Socket,
};

/// Bytes that are gathered at the most: then they leave early.
const BYTES: usize = 64 * 1024;

/// Which events are gathered, and how they leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather {
    /// The event that is gathered.
    pub event: &'static str,
    /// The one that brings their payloads, as a list, in order.
    pub into: &'static str,
    /// How long the first of them waits for others.
    pub period: Duration,
}

/// The way out of a socket whose events are gathered.
pub(crate) struct Gathering {
    rule: Gather,
    way_out: Arc<dyn Outbox>,
    tasks: TaskTracker,
    waiting: Mutex<Waiting>,
    this: Weak<Self>,
}

#[derive(Default)]
struct Waiting {
    /// The payloads, with commas.
    payloads: String,
    /// What stood behind the payload of the last of them, with its comma: where the client is then.
    behind: String,
    /// Whether a task will come for them.
    timed: bool,
}

impl Gathering {
    pub(crate) fn around(way_out: Arc<dyn Outbox>, rule: Gather, tasks: &TaskTracker) -> Arc<Self> {
        let tasks = tasks.clone();
        Arc::new_cyclic(|this| Self { rule, way_out, tasks, waiting: Mutex::default(), this: this.clone() })
    }

    /// The arguments of an event that is gathered.
    fn gathered<'a>(&self, event: &'a Encoded) -> Option<Vec<&'a RawValue>> {
        if !event.attachments.is_empty() || event.event_name()? != self.rule.event {
            return None;
        }
        let args: Vec<&RawValue> = serde_json::from_str(&event.text).ok()?;
        (args.len() > 1).then_some(args)
    }

    /// Hands what waits to the lane; it goes on waiting when there is no room.
    fn release(&self, waiting: &mut Waiting) -> Result<(), SendError> {
        if waiting.payloads.is_empty() {
            return Ok(());
        }
        let text = format!("[\"{}\",[{}]{}]", self.rule.into, waiting.payloads, waiting.behind);
        self.way_out.send(&Packet::new(Encoded::new(ByteString::from(text), Vec::new())), false, Flush::Now)?;
        waiting.payloads.clear();
        waiting.behind.clear();
        Ok(())
    }

    /// Sees to it that somebody comes for what waits.
    fn time(&self, waiting: &mut Waiting) {
        if std::mem::replace(&mut waiting.timed, true) {
            return;
        }
        let (this, period) = (Weak::clone(&self.this), self.rule.period);
        self.tasks.spawn(async move {
            loop {
                tokio::time::sleep(period).await;
                let Some(this) = this.upgrade() else { return };
                let mut waiting = this.waiting.lock();
                // What the lane has no room for stays; it is bounded, and beyond that the sender of more is told.
                if this.release(&mut waiting) != Err(SendError::Full) {
                    waiting.timed = false;
                    return;
                }
            }
        });
    }
}

impl Outbox for Gathering {
    fn send(&self, packet: &Packet, volatile: bool, flush: Flush) -> Result<(), SendError> {
        let mut waiting = self.waiting.lock();
        let Some(args) = self.gathered(packet.event()) else {
            self.release(&mut waiting)?;
            return self.way_out.send(packet, volatile, flush);
        };
        if waiting.payloads.len() + packet.event().len() > BYTES {
            self.release(&mut waiting)?;
        }
        let comma = if waiting.payloads.is_empty() { "" } else { "," };
        waiting.payloads.push_str(comma);
        waiting.behind.clear();
        for (at, arg) in args.iter().enumerate().skip(1) {
            if at == 1 {
                waiting.payloads.push_str(arg.get());
            } else {
                waiting.behind.push(',');
                waiting.behind.push_str(arg.get());
            }
        }
        self.time(&mut waiting);
        Ok(())
    }

    fn send_with_id(&self, socket: &Socket, packet: &Packet, id: i64) -> Result<(), SendError> {
        self.release(&mut self.waiting.lock())?;
        self.way_out.send_with_id(socket, packet, id)
    }

    fn send_ack(&self, id: i64, args: &Encoded) -> Result<(), SendError> {
        self.way_out.send_ack(id, args)
    }

    fn close(&self, how: Close, last: Option<&Packet>) {
        // What has no room any more is what any slow consumer loses.
        let _ = self.release(&mut self.waiting.lock());
        self.way_out.close(how, last);
    }

    /// What is gathered is in no place that the client could name when it comes back.
    fn recovers(&self) -> bool {
        false
    }

    fn backlog(&self) -> usize {
        self.waiting.lock().payloads.len() + self.way_out.backlog()
    }

    fn transport(&self) -> &'static str {
        self.way_out.transport()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Takes all it is given, or nothing.
    #[derive(Default)]
    struct Lane {
        sent: Mutex<Vec<String>>,
        full: AtomicBool,
    }

    impl Outbox for Lane {
        fn send(&self, packet: &Packet, _: bool, _: Flush) -> Result<(), SendError> {
            if self.full.load(Ordering::Relaxed) {
                return Err(SendError::Full);
            }
            self.sent.lock().push(packet.event().text.to_string());
            Ok(())
        }
        fn send_with_id(&self, _: &Socket, packet: &Packet, _: i64) -> Result<(), SendError> {
            self.send(packet, false, Flush::Now)
        }
        fn send_ack(&self, _: i64, _: &Encoded) -> Result<(), SendError> {
            Ok(())
        }
        fn close(&self, _: Close, last: Option<&Packet>) {
            last.map(|last| self.send(last, false, Flush::Now));
        }
        fn backlog(&self) -> usize {
            0
        }
        fn transport(&self) -> &'static str {
            "polling"
        }
    }

    const RULE: Gather = Gather { event: "m", into: "ms", period: Duration::from_millis(30) };

    fn gathering() -> (Arc<Lane>, Arc<Gathering>) {
        let lane = Arc::new(Lane::default());
        (Arc::clone(&lane), Gathering::around(lane, RULE, &TaskTracker::new()))
    }

    fn send(to: &Gathering, text: &str) -> Result<(), SendError> {
        to.send(&Packet::new(Encoded::new(text.to_owned(), vec![])), false, Flush::Now)
    }

    async fn until(lane: &Lane, sent: &[&str]) {
        let all = async {
            while *lane.sent.lock() != sent {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(10), all).await;
        assert!(in_time.is_ok(), "sent: {:?}", lane.sent.lock());
    }

    #[tokio::test]
    async fn they_leave_together_in_order_after_the_period() {
        let (lane, to) = gathering();
        for n in 0..3 {
            send(&to, &format!(r#"["m",{{"n":{n}}},"at-{n}"]"#)).unwrap();
        }
        let first = r#"["ms",[{"n":0},{"n":1},{"n":2}],"at-2"]"#;
        until(&lane, &[first]).await;
        send(&to, r#"["m",3]"#).unwrap();
        until(&lane, &[first, r#"["ms",[3]]"#]).await;
    }

    #[tokio::test]
    async fn nothing_overtakes_them() {
        let (lane, to) = gathering();
        send(&to, r#"["m",1]"#).unwrap();
        send(&to, r#"["edited",1]"#).unwrap();
        send(&to, r#"["m",2]"#).unwrap();
        to.close(Close::Transport, Some(&Packet::new(Encoded::bare_event("bye"))));
        assert_eq!(*lane.sent.lock(), [r#"["ms",[1]]"#, r#"["edited",1]"#, r#"["ms",[2]]"#, r#"["bye"]"#]);
    }

    #[tokio::test]
    async fn what_the_lane_has_no_room_for_waits_and_is_bounded() {
        let (lane, to) = gathering();
        lane.full.store(true, Ordering::Relaxed);
        send(&to, r#"["m",1]"#).unwrap();
        tokio::time::sleep(RULE.period * 4).await;
        assert!(to.backlog() > 0);
        assert_eq!(send(&to, r#"["other",1]"#), Err(SendError::Full));
        let large = format!(r#"["m","{}"]"#, "x".repeat(BYTES));
        assert_eq!(send(&to, &large), Err(SendError::Full));
        lane.full.store(false, Ordering::Relaxed);
        until(&lane, &[r#"["ms",[1]]"#]).await;
        send(&to, &large).unwrap();
    }
}
