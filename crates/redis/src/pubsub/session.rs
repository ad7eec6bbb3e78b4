//! The connections of one time between two losses.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use ahash::{AHashMap, AHashSet};
use bytes::Bytes;
use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};
use tokio::{sync::watch, time::timeout};

use super::{Event, Lost, Message, all, queue::Queue, wanted::Sort};
use crate::{
    dial::{self, Link, OnPush},
    discover,
    error::{Error, Result, timed_out},
    limits::DEADLINE,
    slots::{SlotMap, slot},
    topology::{Address, Kind, Topology},
};

/// Connections that are all good; the first that is not ends the session.
pub(super) struct Session {
    topology: Topology,
    /// For channels and patterns; without a cluster for everything.
    home: Link,
    /// For sharded channels, by the node that has the slot. Those of the home node are there too.
    shards: AHashMap<Address, Link>,
    map: SlotMap,
    inlet: Arc<Inlet>,
}

/// Where all connections of a session put what they hear.
struct Inlet {
    queue: Arc<Queue>,
    /// The first that went wrong.
    lost: watch::Sender<Option<Lost>>,
    /// Once false nothing is passed on, so that a message doesn't come over the old connection and the new.
    alive: AtomicBool,
    /// Sharded channels that we unsubscribe from. Redis does that too, when a slot moves.
    leaving: Mutex<AHashSet<Arc<str>>>,
}

/// A name that may not be subscribed to, and what Redis said.
pub(super) type Refusal = (Arc<str>, Error);

/// Waits for the end of a session.
pub(super) struct Ending(watch::Receiver<Option<Lost>>);

impl Ending {
    pub(super) async fn wait(&mut self) -> Lost {
        match self.0.wait_for(Option::is_some).await {
            Ok(why) => why.unwrap_or(Lost::Closed),
            Err(_) => Lost::Closed,
        }
    }
}

impl Session {
    pub(super) async fn connect(topology: &Topology, queue: &Arc<Queue>) -> Result<Self> {
        let inlet = Arc::new(Inlet {
            queue: Arc::clone(queue),
            lost: watch::Sender::new(None),
            alive: AtomicBool::new(true),
            leaving: Mutex::default(),
        });
        let on_push = inlet.on_push();
        let mut map = SlotMap::default();
        let home = match topology.kind() {
            Kind::Single(address) => dial::dial(topology, address, Some(on_push)).await?,
            Kind::Sentinel { .. } => discover::dial_master(topology, Some(on_push)).await?,
            Kind::Cluster { seeds } => {
                map = discover::slot_map(topology, seeds).await?;
                dial_any(topology, &map, &on_push).await?
            }
        };
        Ok(Self { topology: topology.clone(), home, shards: AHashMap::new(), map, inlet })
    }

    pub(super) fn lost(&self) -> Ending {
        Ending(self.inlet.lost.subscribe())
    }

    /// Subscribes or unsubscribes, and returns when all is confirmed, but for the names that it returns: those were refused.
    pub(super) async fn change(&mut self, sort: Sort, names: &[Arc<str>], subscribe: bool) -> Result<Vec<Refusal>> {
        if sort == Sort::Sharded && !subscribe {
            self.inlet.leaving.lock().extend(names.iter().cloned());
        }
        if sort != Sort::Sharded || !self.topology.is_cluster() {
            return change(&self.home, sort, names, subscribe).await;
        }
        let mut by_node: AHashMap<Address, Vec<Arc<str>>> = AHashMap::new();
        for name in names {
            let slot = slot(name.as_bytes());
            let Some(node) = self.map.master(slot) else {
                return Err(Error::unreachable(&format!("slot {slot}"), timed_out()));
            };
            by_node.entry(node.clone()).or_default().push(Arc::clone(name));
        }
        for node in by_node.keys() {
            if !self.shards.contains_key(node) {
                let link = timeout(DEADLINE, dial::dial(&self.topology, node, Some(self.inlet.on_push()))).await;
                let link = link.unwrap_or_else(|_| Err(Error::unreachable(node, timed_out())))?;
                self.shards.insert(node.clone(), link);
            }
        }
        let links = by_node.iter().filter_map(|(node, names)| Some((self.shards.get(node)?, names)));
        let refused = all(links.map(|(link, names)| change(link, sort, names, subscribe))).await?;
        Ok(refused.into_iter().flatten().collect())
    }

    /// Finds out whether the other ends are still there, when nothing else would tell.
    pub(super) async fn probe(&self) -> Result<()> {
        let ping = redis::cmd("PING");
        let links = std::iter::once(&self.home).chain(self.shards.values());
        let alive = all(links.map(|link| link.ask::<()>(&ping, DEADLINE)));
        alive.await.map(drop)
    }

    /// Returns when the Sentinels name another master than the one that is connected to: it may be cut off from them and
    /// not know. Without Sentinels, never.
    pub(super) fn replaced(&self) -> impl Future<Output = ()> + use<> {
        let home = self.home.address().clone();
        let replaced = self.topology.sentinels().map(|sentinels| sentinels.replaced(home));
        async move {
            match replaced {
                Some(replaced) => replaced.await,
                None => std::future::pending().await,
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.inlet.alive.store(false, Ordering::Release);
    }
}

/// Any node will do, because nodes pass on what is published; by chance, so that they share the work.
async fn dial_any(topology: &Topology, map: &SlotMap, on_push: &OnPush) -> Result<Link> {
    let masters = map.masters();
    let start = rand::random_range(0..masters.len().max(1));
    let mut failed = None;
    for node in masters.iter().cycle().skip(start).take(masters.len()) {
        let attempt = timeout(DEADLINE / 4, dial::dial(topology, node, Some(Arc::clone(on_push)))).await;
        match attempt.unwrap_or_else(|_| Err(Error::unreachable(node, timed_out()))) {
            Ok(link) => return Ok(link),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| Error::unreachable("the cluster", timed_out())))
}

/// One command a name, so that each has one answer of its own.
async fn change(link: &Link, sort: Sort, names: &[Arc<str>], subscribe: bool) -> Result<Vec<Refusal>> {
    let verb = match (sort, subscribe) {
        (Sort::Channel, true) => "SUBSCRIBE",
        (Sort::Channel, false) => "UNSUBSCRIBE",
        (Sort::Pattern, true) => "PSUBSCRIBE",
        (Sort::Pattern, false) => "PUNSUBSCRIBE",
        (Sort::Sharded, true) => "SSUBSCRIBE",
        (Sort::Sharded, false) => "SUNSUBSCRIBE",
    };
    let mut pipeline = redis::Pipeline::with_capacity(names.len());
    for name in names {
        pipeline.cmd(verb).arg(&**name);
    }
    let mut connection = link.commands();
    let sent = timeout(DEADLINE, connection.send_packed_commands(&pipeline, 0, names.len())).await;
    let answers = sent.unwrap_or_else(|_| Err(timed_out())).map_err(|error| Error::answered(link.address(), error))?;
    let mut refused = Vec::new();
    for (name, answer) in names.iter().zip(answers) {
        match answer.extract_error().map_err(|error| Error::answered(link.address(), error)) {
            Ok(_) => {}
            Err(error @ Error::Refused { .. }) => refused.push((Arc::clone(name), error)),
            Err(error) => return Err(error),
        }
    }
    Ok(refused)
}

impl Inlet {
    fn on_push(self: &Arc<Self>) -> OnPush {
        let inlet = Arc::clone(self);
        Arc::new(move |push| inlet.hear(push))
    }

    fn hear(&self, push: PushInfo) {
        if !self.alive.load(Ordering::Acquire) {
            return;
        }
        match push.kind {
            PushKind::Message | PushKind::SMessage | PushKind::PMessage => {
                let patterned = push.kind == PushKind::PMessage;
                // Redis itself sends this: what has another shape is no message.
                if let Some(message) = message(push.data, patterned)
                    && !self.queue.message(Event::Message(message))
                {
                    self.end(Lost::Lagging);
                }
            }
            PushKind::SUnsubscribe => {
                let name = push.data.into_iter().next().and_then(text);
                let asked = name.is_some_and(|name| self.leaving.lock().remove(&*name));
                if !asked {
                    self.end(Lost::Moved);
                }
            }
            PushKind::Disconnection => self.end(Lost::Closed),
            PushKind::Subscribe
            | PushKind::PSubscribe
            | PushKind::SSubscribe
            | PushKind::Unsubscribe
            | PushKind::PUnsubscribe
            | PushKind::Invalidate
            | PushKind::Other(_) => {}
            // The library may learn of further kinds; none of them is a message.
            _ => {}
        }
    }

    /// Nothing that comes later is passed on: it would stand behind a hole.
    fn end(&self, why: Lost) {
        self.alive.store(false, Ordering::Release);
        self.lost.send_if_modified(|lost| {
            let first = lost.is_none();
            if first {
                *lost = Some(why);
            }
            first
        });
    }
}

fn message(data: Vec<Value>, patterned: bool) -> Option<Message> {
    let mut parts = data.into_iter().map(bytes_of);
    let pattern = if patterned { Some(parts.next()??) } else { None };
    Some(Message { channel: parts.next()??, payload: parts.next()??, pattern })
}

fn bytes_of(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        Value::SimpleString(text) => Some(text.into_bytes().into()),
        _ => None,
    }
}

fn text(value: Value) -> Option<String> {
    String::from_utf8(bytes_of(value)?.into()).ok()
}
