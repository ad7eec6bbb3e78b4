//! What this node listens to, and the one consumer of what it hears.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use trunkline_redis::{Error, Event, Events, Limits, Message, PubSub, Topology};

use super::{Side, Trouble, probe};
use crate::{
    arrivals::Arrivals,
    core::Core,
    interest::{Batch, Topic},
    limits::{CLOSE_TIMEOUT, INCOMING_BYTES, INCOMING_MESSAGES, RECONCILE_INTERVAL, REFUSED_PAUSE},
    metrics,
};

/// Messages of one round.
const ROUND: usize = 256;

/// After a round with so many deliveries to crowds there is a pause of so many times its length, up to a bound, or longer where
/// [more is to gather](crate::ClusterOptions::gather).
const MANY: usize = 256;
const PAUSE_FACTOR: u32 = 4;
const PAUSE_MAX: Duration = Duration::from_millis(5);

/// A link that is not read for longer would be taken for deaf, and what arrives has a bound.
const GATHER_MAX: Duration = Duration::from_millis(100);

/// Listens until `stop`, and unsubscribes in the end. Returns when all that was heard until then is handled.
pub(crate) async fn run(core: Arc<Core>, topology: Topology, stop: CancellationToken) {
    let limits = Limits { messages: INCOMING_MESSAGES, bytes: INCOMING_BYTES };
    loop {
        // Before anything is asked of it: a new one knows of nothing.
        core.interests.reset();
        let (pubsub, mut events) = PubSub::start(&topology, limits);
        let (connected, connection) = watch::channel(false);
        let why = tokio::select! {
            () = hear(&core, &mut events, &connected) => Trouble::Lost,
            () = keep_subscribed(&core, &pubsub, connection) => Trouble::Lost,
            why = probe::run(&core) => why,
            () = stop.cancelled() => Trouble::Closed,
        };
        core.interests.lost();
        core.status.down(Side::Subscriber, why);
        if why == Trouble::Closed {
            leave(&core, &pubsub, &mut events).await;
            return;
        }
        tracing::warn!(cause = %why, "not hearing the other nodes, connecting anew");
    }
}

/// The count of members goes down before this one stops answering: what it heard by then, it handles.
async fn leave(core: &Arc<Core>, pubsub: &PubSub, events: &mut Events) {
    let names = names(core, &core.status.namespaces());
    let unsubscribing = async {
        // Without a connection nobody counts us.
        let _ = pubsub.unsubscribe(&names.channels).await;
        let _ = pubsub.sunsubscribe(&names.sharded).await;
    };
    let _ = timeout(CLOSE_TIMEOUT, unsubscribing).await;
    let mut arrivals = Arrivals::default();
    while let Some(event) = events.try_next() {
        if let Event::Message(message) = event {
            handle(core, &message, &mut arrivals);
        }
    }
    hand_over(core, &mut arrivals);
}

/// Handles messages in the order in which they were published: a server that lets sockets join a room and then sends to it
/// relies on that.
///
/// What arrived meanwhile is handled in one round, and after a round that went to crowds there is a pause, so that the next
/// round is larger: visiting a thousand sockets costs the same for one message as for twenty.
async fn hear(core: &Arc<Core>, events: &mut Events, connected: &watch::Sender<bool>) {
    let probe = core.channels.probe();
    while let Some(first) = events.next().await {
        let begun = Instant::now();
        let (mut arrivals, mut count) = (Arrivals::default(), 0);
        let more = std::iter::from_fn(|| events.try_next());
        for event in std::iter::once(first).chain(more.take(ROUND - 1)) {
            core.probe.heard();
            count += 1;
            match event {
                Event::Message(message) if message.channel == probe => core.probe.returned(&message.payload),
                Event::Message(message) => handle(core, &message, &mut arrivals),
                Event::Restored => drop(connected.send_replace(true)),
                Event::Lost(why) => {
                    // What was heard before must not seem to have come after.
                    hand_over(core, &mut arrivals);
                    connected.send_replace(false);
                    core.interests.lost();
                    core.status.down(Side::Subscriber, why.into());
                    tracing::warn!(cause = %why, "not hearing the other nodes, connecting again");
                }
            }
        }
        hand_over(core, &mut arrivals);
        // A full round is large enough, and leaves more to be taken.
        if arrivals.crowds() >= MANY && count < ROUND {
            let pause = (PAUSE_FACTOR * begun.elapsed()).min(PAUSE_MAX);
            sleep(pause.max(core.gather.min(GATHER_MAX))).await;
        }
    }
}

fn handle(core: &Arc<Core>, message: &Message, arrivals: &mut Arrivals) {
    guarded(|| {
        core.receive(&message.channel, &message.payload, arrivals);
    });
}

fn hand_over(core: &Arc<Core>, arrivals: &mut Arrivals) {
    guarded(|| arrivals.hand_over(core));
}

/// Delivery runs code of every socket's lane. A fault there costs what was being handed over, not the link.
fn guarded(handle: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(handle)).is_err() {
        metrics::panicked();
        tracing::error!("handling a message of another node panicked");
    }
}

/// Subscribes for every namespace that is served and every room that is listened for, also for those that come later.
async fn keep_subscribed(core: &Core, pubsub: &PubSub, mut connected: watch::Receiver<bool>) {
    loop {
        // The sender is in the same task, which ends both together.
        let _ = connected.wait_for(|connected| *connected).await;
        let everything = core.interests.restored();
        tokio::select! {
            () = subscribe_for_all(core, pubsub, everything) => {}
            _ = connected.wait_for(|connected| !connected) => {}
        }
    }
}

/// Over one connection; never returns.
async fn subscribe_for_all(core: &Core, pubsub: &PubSub, everything: u64) {
    let mut reconcile = tokio::time::interval(RECONCILE_INTERVAL);
    reconcile.set_missed_tick_behavior(MissedTickBehavior::Delay);
    reconcile.reset();
    let mut probing = false;
    loop {
        if !probing {
            probing = subscribed(core, subscribe_probe(core, pubsub).await).await;
        } else if let Some(batch) = core.interests.batch(Instant::now().into()) {
            let doing = Doing { core, batch: Some(batch) };
            doing.finish(pubsub).await;
        } else if let ended @ [_, ..] = &*core.status.take_ended() {
            unsubscribe_namespaces(core, pubsub, ended).await;
        } else if core.interests.is_confirmed(everything) && !core.status.is_subscribed() {
            // Rooms first: from the moment that namespaces are subscribed for, this node counts as a member, and a
            // member hears everything.
            let namespaces = core.status.unconfirmed();
            if subscribed(core, subscribe_namespaces(core, pubsub, &namespaces).await).await {
                core.status.confirm(&namespaces);
                core.status.up(Side::Subscriber);
            }
        } else {
            tokio::select! {
                () = core.status.served.notified() => {}
                () = core.interests.changed() => {}
                _ = reconcile.tick() => drop(core.interests.reconcile(&core.hub, Instant::now().into())),
            }
        }
    }
}

/// A batch that is being done. Given up halfway, with its connection, it counts as failed.
struct Doing<'a> {
    core: &'a Core,
    batch: Option<Batch>,
}

impl Doing<'_> {
    async fn finish(mut self, pubsub: &PubSub) {
        let Some(batch) = &self.batch else { return };
        let outcome = listen_for(self.core, pubsub, batch).await;
        if outcome.is_ok()
            && let Some(batch) = self.batch.take()
        {
            self.core.interests.confirmed(&batch);
        }
        let core = self.core;
        drop(self);
        subscribed(core, outcome).await;
    }
}

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        if let Some(batch) = &self.batch {
            self.core.interests.failed(batch);
        }
    }
}

/// Whether it was. A refusal is waited out, since somebody has to change a permission; a lost connection ends the wait.
async fn subscribed(core: &Core, outcome: Result<(), Error>) -> bool {
    let Err(error) = outcome else { return true };
    if matches!(error, Error::Refused { .. }) {
        core.status.down(Side::Subscriber, Trouble::Rejected);
        tracing::warn!(error = %error, cause = %error.cause(), "Redis refused a subscription");
    } else {
        tracing::debug!(error = %error, cause = %error.cause(), "could not subscribe");
    }
    sleep(REFUSED_PAUSE).await;
    false
}

async fn subscribe_probe(core: &Core, pubsub: &PubSub) -> Result<(), Error> {
    let channels = [core.channels.probe()];
    if core.mode.is_sharded() { pubsub.ssubscribe(&channels).await } else { pubsub.subscribe(&channels).await }
}

/// One round trip for each kind of channel: Redis confirms every channel of a command.
async fn listen_for(core: &Core, pubsub: &PubSub, batch: &Batch) -> Result<(), Error> {
    let (off, on) = (wires(core, &batch.unsubscribe), wires(core, &batch.subscribe));
    // Without a connection nothing arrives, which is as good.
    let _ = tokio::join!(
        pubsub.unsubscribe(&off.channels),
        pubsub.sunsubscribe(&off.sharded),
        pubsub.punsubscribe(&off.patterns)
    );
    tokio::try_join!(
        pubsub.subscribe(&on.channels),
        pubsub.ssubscribe(&on.sharded),
        listen_for_family(core, pubsub, &on.patterns)
    )?;
    Ok(())
}

/// Rules of Redis that allow a user channels by a pattern allow no other pattern: then every socket's room is subscribed to.
async fn listen_for_family(core: &Core, pubsub: &PubSub, patterns: &[String]) -> Result<(), Error> {
    match pubsub.psubscribe(patterns).await {
        Err(error @ Error::Refused { .. }) => {
            tracing::info!(cause = %error.cause(), "Redis refused a pattern, so each socket's room is subscribed to by itself");
            core.interests.forget_family(&core.hub);
            Ok(())
        }
        other => other,
    }
}

/// What is subscribed to for the sake of rooms.
fn wires(core: &Core, topics: &[Topic]) -> Names {
    let (channels, mut names) = (&core.channels, Names::default());
    for topic in topics {
        if core.interests.is_pattern(topic) {
            names.patterns.push(channels.family(&topic.namespace, core.hub.id_prefix()));
            continue;
        }
        let channel = channels.room(&topic.namespace, &topic.room);
        if core.mode.is_sharded() && core.mode.has_channel(&topic.room) {
            names.sharded.push(channel.clone());
        }
        names.channels.push(channel);
    }
    names
}

async fn subscribe_namespaces(core: &Core, pubsub: &PubSub, namespaces: &[Arc<str>]) -> Result<(), Error> {
    let names = names(core, namespaces);
    pubsub.psubscribe(&names.patterns).await?;
    pubsub.subscribe(&names.channels).await?;
    pubsub.ssubscribe(&names.sharded).await
}

/// Without a connection nothing arrives, which is as good.
async fn unsubscribe_namespaces(core: &Core, pubsub: &PubSub, namespaces: &[Arc<str>]) {
    let names = names(core, namespaces);
    let _ = tokio::join!(
        pubsub.punsubscribe(&names.patterns),
        pubsub.unsubscribe(&names.channels),
        pubsub.sunsubscribe(&names.sharded)
    );
}

/// What is subscribed to.
#[derive(Default)]
struct Names {
    patterns: Vec<String>,
    channels: Vec<String>,
    sharded: Vec<String>,
}

/// What is subscribed to for the sake of namespaces.
fn names(core: &Core, namespaces: &[Arc<str>]) -> Names {
    let (channels, mut names) = (&core.channels, Names::default());
    for namespace in namespaces {
        if core.mode.by_room() {
            names.channels.push(channels.everyone(namespace));
        } else {
            names.patterns.push(channels.pattern(namespace));
        }
        if core.mode.is_sharded() {
            names.sharded.extend([channels.everyone(namespace), channels.room(namespace, &core.uid)]);
        } else {
            names.channels.extend(channels.exact(namespace));
        }
    }
    names
}
