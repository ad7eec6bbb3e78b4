//! The connection that listens, and the one consumer of what it hears.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{Stream, StreamExt};
use redis::{Msg, aio::PubSubSink};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Backoff, Side, Trouble, probe};
use crate::{
    core::Core,
    interest::{Batch, Topic},
    limits::{CLOSE_TIMEOUT, INCOMING_BYTES, INCOMING_MESSAGES, IO_TIMEOUT, PROBE_INTERVAL, RECONCILE_INTERVAL},
    metrics,
};

/// Namespaces subscribed for in one command.
const CHUNK: usize = 64;
/// How often a consumer that fell behind is looked at.
const DRAIN_CHECK: Duration = Duration::from_millis(20);

/// The way from the connection to the consumer: bounded by count through the channel, by bytes through the counter.
#[derive(Debug)]
pub(crate) struct Incoming {
    sender: mpsc::Sender<Msg>,
    bytes: Arc<AtomicUsize>,
}

/// The consumer's end.
#[derive(Debug)]
pub(crate) struct Consumer {
    receiver: mpsc::Receiver<Msg>,
    bytes: Arc<AtomicUsize>,
}

pub(crate) fn incoming() -> (Incoming, Consumer) {
    let (sender, receiver) = mpsc::channel(INCOMING_MESSAGES);
    let bytes = Arc::new(AtomicUsize::new(0));
    (Incoming { sender, bytes: Arc::clone(&bytes) }, Consumer { receiver, bytes })
}

impl Incoming {
    fn push(&self, message: Msg) -> Result<(), Trouble> {
        let size = message.get_payload_bytes().len();
        if self.bytes.fetch_add(size, Ordering::Relaxed) + size > INCOMING_BYTES {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            return Err(Trouble::Lagging);
        }
        self.sender.try_send(message).map_err(|_| {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            Trouble::Lagging
        })
    }

    /// Returns when the consumer has caught up, so that a new connection doesn't fail like the last.
    async fn drained(&self) {
        while self.sender.capacity() < self.sender.max_capacity() / 2
            || self.bytes.load(Ordering::Relaxed) > INCOMING_BYTES / 2
        {
            sleep(DRAIN_CHECK).await;
        }
    }
}

impl Consumer {
    /// Handles messages one at a time, in the order in which they were published: a server that lets
    /// sockets join a room and then sends to it relies on that. Ends with the last [`Incoming`].
    pub(crate) async fn run(mut self, core: Arc<Core>) {
        while let Some(message) = self.receiver.recv().await {
            self.taken(&message);
            // Delivery runs code of every socket's lane. A fault there costs a message, not the link.
            if catch_unwind(AssertUnwindSafe(|| {
                core.receive(message.get_channel_name().as_bytes(), message.get_payload_bytes())
            }))
            .is_err()
            {
                metrics::panicked();
                tracing::error!("handling a message of another node panicked");
            }
        }
    }

    fn taken(&self, message: &Msg) {
        self.bytes.fetch_sub(message.get_payload_bytes().len(), Ordering::Relaxed);
    }
}

/// Listens until `stop`, over as many connections as that takes, and unsubscribes in the end.
pub(crate) async fn run(core: Arc<Core>, client: redis::Client, incoming: Incoming, stop: CancellationToken) {
    let mut backoff = Backoff::new();
    loop {
        let connected = Instant::now();
        let why = listen(&core, &client, &incoming, &stop).await;
        core.status.down(Side::Subscriber, why);
        if why == Trouble::Closed {
            return;
        }
        tracing::warn!(cause = %why, "not hearing the other nodes, connecting again");
        let again = async {
            incoming.drained().await;
            backoff.pause(connected.elapsed()).await;
        };
        tokio::select! {
            () = again => {}
            () = stop.cancelled() => return,
        }
    }
}

/// One connection, from its making to its end. Returns `Closed` only after `stop`.
async fn listen(core: &Core, client: &redis::Client, incoming: &Incoming, stop: &CancellationToken) -> Trouble {
    let connecting = timeout(IO_TIMEOUT, client.get_async_pubsub());
    let connection = tokio::select! {
        connection = connecting => connection,
        () = stop.cancelled() => return Trouble::Closed,
    };
    let (mut sink, stream) = match connection {
        Ok(Ok(connection)) => connection.split(),
        Ok(Err(error)) => {
            tracing::debug!(error = %error, "could not connect to listen");
            return Trouble::of(&error);
        }
        Err(_) => return Trouble::Unresponsive,
    };
    tokio::pin!(stream);
    // Messages are taken from the first moment on, also those that overtake the reply to SUBSCRIBE.
    let end = tokio::select! {
        why = forward(core, stream.as_mut(), incoming) => why,
        why = keep_subscribed(core, &mut sink) => why,
        why = probe::run(core) => why,
        () = stop.cancelled() => Trouble::Closed,
    };
    core.interests.lost();
    if end == Trouble::Closed {
        // The count of members goes down before this one stops answering.
        let _ = tokio::select! {
            unsubscribed = timeout(CLOSE_TIMEOUT, unsubscribe(core, &mut sink)) => unsubscribed.is_ok(),
            _ = forward(core, stream, incoming) => false,
        };
    }
    end
}

async fn forward(core: &Core, mut stream: impl Stream<Item = Msg> + Unpin, incoming: &Incoming) -> Trouble {
    let probe = core.channels.probe();
    while let Some(message) = stream.next().await {
        // Not queued behind the others: it asks whether the connection hears, not whether the consumer keeps up.
        if message.get_channel_name() == probe {
            core.probe.returned(message.get_payload_bytes());
            continue;
        }
        if let Err(why) = incoming.push(message) {
            return why;
        }
    }
    Trouble::Lost
}

/// Subscribes for every namespace that is served and every room that is listened for, also for those that come later,
/// and asks now and then whether the connection still lives.
async fn keep_subscribed(core: &Core, sink: &mut PubSubSink) -> Trouble {
    match timeout(IO_TIMEOUT, sink.subscribe(core.channels.probe())).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Trouble::of(&error),
        Err(_) => return Trouble::Unresponsive,
    }
    let everything = core.interests.connected();
    let mut ping = interval(PROBE_INTERVAL);
    let mut reconcile = interval(RECONCILE_INTERVAL);
    loop {
        if let Some(batch) = core.interests.batch(Instant::now().into()) {
            match timeout(IO_TIMEOUT, listen_for(core, sink, &batch)).await {
                Ok(Ok(())) => core.interests.confirmed(&batch),
                Ok(Err(error)) => return refused(&error),
                Err(_) => return Trouble::Unresponsive,
            }
        } else if core.interests.is_confirmed(everything) && !core.status.is_subscribed() {
            // Rooms first: from the moment that namespaces are subscribed for, this node counts as a member, and a
            // member hears everything.
            if let Err(why) = subscribe_namespaces(core, sink).await {
                return why;
            }
            core.status.up(Side::Subscriber);
        } else {
            tokio::select! {
                () = core.status.served.notified() => {}
                () = core.interests.changed() => {}
                _ = reconcile.tick() => {
                    core.interests.reconcile(&core.hub, Instant::now().into());
                }
                _ = ping.tick() => match timeout(IO_TIMEOUT, sink.ping::<redis::Value>()).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return Trouble::of(&error),
                    Err(_) => return Trouble::Unresponsive,
                },
            }
        }
    }
}

fn interval(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval.reset();
    interval
}

fn refused(error: &redis::RedisError) -> Trouble {
    tracing::debug!(error = %error, "could not subscribe");
    Trouble::of(error)
}

/// One round trip each: Redis confirms every channel of a command.
async fn listen_for(core: &Core, sink: &mut PubSubSink, batch: &Batch) -> redis::RedisResult<()> {
    let channels =
        |topics: &[Topic]| topics.iter().map(|t| core.channels.room(&t.namespace, &t.room)).collect::<Vec<_>>();
    if !batch.unsubscribe.is_empty() {
        sink.unsubscribe(channels(&batch.unsubscribe)).await?;
    }
    if !batch.subscribe.is_empty() {
        sink.subscribe(channels(&batch.subscribe)).await?;
    }
    Ok(())
}

async fn subscribe_namespaces(core: &Core, sink: &mut PubSubSink) -> Result<(), Trouble> {
    for namespaces in core.status.unconfirmed().chunks(CHUNK) {
        match timeout(IO_TIMEOUT, subscribe(core, sink, namespaces)).await {
            Ok(Ok(())) => core.status.confirm(namespaces),
            Ok(Err(error)) => return Err(refused(&error)),
            Err(_) => return Err(Trouble::Unresponsive),
        }
    }
    Ok(())
}

/// Broadcasts first: from the moment the request channel is subscribed to, this node counts as a member, and a
/// member hears everything.
async fn subscribe(core: &Core, sink: &mut PubSubSink, namespaces: &[Arc<str>]) -> redis::RedisResult<()> {
    if core.mode.by_room() {
        let everyone: Vec<_> = namespaces.iter().map(|namespace| core.channels.everyone(namespace)).collect();
        sink.subscribe(&everyone).await?;
    } else {
        let patterns: Vec<_> = namespaces.iter().map(|namespace| core.channels.pattern(namespace)).collect();
        sink.psubscribe(&patterns).await?;
    }
    let channels: Vec<_> = namespaces.iter().flat_map(|namespace| core.channels.exact(namespace)).collect();
    sink.subscribe(&channels).await
}

async fn unsubscribe(core: &Core, sink: &mut PubSubSink) -> redis::RedisResult<()> {
    for namespaces in core.status.namespaces().chunks(CHUNK) {
        let channels: Vec<_> = namespaces.iter().flat_map(|namespace| core.channels.exact(namespace)).collect();
        sink.unsubscribe(&channels).await?;
    }
    // The rest goes with the connection.
    Ok(())
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::*;

    fn message(payload: &[u8]) -> Msg {
        let parts = [b"message".as_slice(), b"channel", payload];
        Msg::from_owned_value(Value::Array(parts.map(|part| Value::BulkString(part.to_vec())).to_vec())).unwrap()
    }

    #[tokio::test]
    async fn a_consumer_that_falls_behind_is_noticed_and_waited_for() {
        let (incoming, mut consumer) = incoming();
        for _ in 0..INCOMING_MESSAGES {
            incoming.push(message(b"x")).unwrap();
        }
        assert_eq!(incoming.push(message(b"x")), Err(Trouble::Lagging));
        assert!(timeout(2 * DRAIN_CHECK, incoming.drained()).await.is_err());
        for _ in 0..INCOMING_MESSAGES {
            let message = consumer.receiver.try_recv().unwrap();
            consumer.taken(&message);
        }
        incoming.drained().await;
        assert_eq!(incoming.bytes.load(Ordering::Relaxed), 0);
        incoming.push(message(b"x")).unwrap();
    }

    #[test]
    fn large_messages_count_by_their_bytes() {
        let (incoming, _consumer) = incoming();
        incoming.bytes.store(INCOMING_BYTES - 1, Ordering::Relaxed);
        incoming.push(message(b"x")).unwrap();
        assert_eq!(incoming.push(message(b"x")), Err(Trouble::Lagging));
        assert_eq!(incoming.bytes.load(Ordering::Relaxed), INCOMING_BYTES);
    }
}
