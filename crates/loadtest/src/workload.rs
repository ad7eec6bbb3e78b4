//! What the clients do.
//!
//! Sent messages carry the time of sending, so that any receiver in this process can tell how long they took.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::bail;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    client::{self, Incoming, Receiver, Sender},
    cpu::Meter,
    report::{self, Report, Seen},
};

/// How an ack begins that says yes.
const SUCCESS: &str = "[{\"success\":true";

/// How the event begins that counts.
const MESSAGE: &str = "[\"message:new\",";

/// Between the last join and the first message.
const SETTLING: Duration = Duration::from_secs(2);

/// How much is sent.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) servers: Meter,
    pub(crate) messages: usize,
    pub(crate) in_flight: usize,
    pub(crate) bytes: usize,
    pub(crate) patience: Duration,
}

/// Opens `count` connections, spread over `urls`, and prints how that went.
pub(crate) async fn connect(
    urls: &[String],
    count: usize,
    opening: usize,
    servers: &Meter,
) -> anyhow::Result<Vec<(Sender, Receiver)>> {
    let before = servers.read()?;
    let begin = Instant::now();
    let connected = stream::iter(0..count)
        .map(|number| async move {
            let begin = Instant::now();
            let halves = client::connect(&urls[number % urls.len()], &user(number)).await?;
            anyhow::Ok((number, halves, begin.elapsed()))
        })
        .buffer_unordered(opening)
        .try_collect::<Vec<_>>()
        .await?;
    let mut times = report::histogram();
    let mut clients: Vec<_> = Vec::with_capacity(count);
    for (number, halves, time) in connected {
        report::record(&mut times, time);
        clients.push((number, halves));
    }
    report::print_connected(count, begin.elapsed(), &times);
    if let Some((after, before)) = servers.read()?.zip(before) {
        report::print_spent_connecting(count, after.saturating_sub(before));
    }
    clients.sort_by_key(|(number, _)| *number);
    Ok(clients.into_iter().map(|(_, halves)| halves).collect())
}

/// All clients join a conversation, the first one sends: the others are to get every message once and in order.
pub(crate) async fn room(clients: Vec<(Sender, Receiver)>, load: &Load) -> anyhow::Result<Report> {
    if clients.len() < 2 {
        bail!("a room needs two clients");
    }
    let room = format!("load-{:x}", std::process::id());
    let expected = (clients.len() - 1) * load.messages;
    let mut joined = Vec::with_capacity(clients.len());
    for (mut to_server, mut from_server) in clients {
        to_server.emit("conversation:join", &json!(room), Some(0)).await?;
        expect_ack(&mut to_server, &mut from_server).await?;
        joined.push((to_server, from_server));
    }
    // Everybody has heard of everybody: what comes from here on is the load.
    tokio::time::sleep(SETTLING).await;
    let mut run = Run::new(load, expected)?;
    // The sender last, when everybody listens.
    for (number, halves) in joined.into_iter().enumerate().rev() {
        let to_send = if number == 0 { load.messages } else { 0 };
        run.start(halves, "message:send", json!({"conversationId": room}), to_send);
    }
    run.finish().await
}

/// Clients 2n and 2n + 1 send to each other.
pub(crate) async fn pairs(clients: Vec<(Sender, Receiver)>, load: &Load) -> anyhow::Result<Report> {
    let senders = clients.len() / 2 * 2;
    if senders == 0 {
        bail!("pairs need two clients");
    }
    let each = (load.messages / senders).max(1);
    tokio::time::sleep(SETTLING).await;
    let mut run = Run::new(load, each * senders)?;
    for (number, halves) in clients.into_iter().enumerate().take(senders) {
        run.start(halves, "private:message", json!({"recipientUserId": user(number ^ 1)}), each);
    }
    run.finish().await
}

fn user(number: usize) -> String {
    format!("load-{number}")
}

async fn expect_ack(to_server: &mut Sender, from_server: &mut Receiver) -> anyhow::Result<()> {
    loop {
        match from_server.next().await? {
            Incoming::Ping => to_server.pong().await?,
            Incoming::Ack { args, .. } if args.starts_with(SUCCESS) => return Ok(()),
            Incoming::Ack { args, .. } => bail!("refused: {args}"),
            Incoming::Event(_) => {}
        }
    }
}

/// One run: a task per client, and what they have in common.
struct Run {
    load: Load,
    /// What the servers had spent before.
    cpu: Option<Duration>,
    expected: usize,
    begin: Instant,
    delivered: Arc<AtomicU64>,
    over: CancellationToken,
    tasks: JoinSet<anyhow::Result<Seen>>,
}

impl Run {
    fn new(load: &Load, expected: usize) -> anyhow::Result<Self> {
        Ok(Self {
            cpu: load.servers.read()?,
            load: load.clone(),
            expected,
            begin: Instant::now(),
            delivered: Arc::default(),
            over: CancellationToken::new(),
            tasks: JoinSet::new(),
        })
    }

    /// Lets a client listen, and send `left` messages made from `template`.
    fn start(&mut self, halves: (Sender, Receiver), event: &'static str, template: Value, left: usize) {
        let participant = Participant {
            to_server: halves.0,
            load: self.load.clone(),
            event,
            template,
            left,
            next: 1,
            open: HashMap::new(),
            begin: self.begin,
            delivered: Arc::clone(&self.delivered),
            places: HashMap::new(),
            seen: Seen::default(),
        };
        self.tasks.spawn(participant.take_part(halves.1, self.over.clone()));
    }

    /// Waits until everything has arrived, or nothing has for as long as patience lasts.
    async fn finish(mut self) -> anyhow::Result<Report> {
        let mut progress = (0, Instant::now());
        let mut said = Instant::now();
        loop {
            if let Ok(Some(ended)) = timeout(Duration::from_millis(20), self.tasks.join_next()).await {
                ended??;
                bail!("a client ended before the run did");
            }
            let delivered = self.delivered.load(Ordering::Relaxed);
            if delivered != progress.0 {
                progress = (delivered, Instant::now());
            }
            if delivered as usize >= self.expected || progress.1.elapsed() > self.load.patience {
                break;
            }
            if said.elapsed() > Duration::from_secs(2) {
                said = Instant::now();
                eprintln!("{delivered} of {} delivered", self.expected);
            }
        }
        let spent = self.load.servers.read()?.zip(self.cpu).map(|(after, before)| after.saturating_sub(before));
        let mut report = Report::new(self.expected, progress.1 - self.begin, spent);
        self.over.cancel();
        while let Some(seen) = self.tasks.join_next().await {
            report.add(&seen??)?;
        }
        Ok(report)
    }
}

/// A client of a run.
struct Participant {
    to_server: Sender,
    load: Load,
    event: &'static str,
    /// The payload, less its content.
    template: Value,
    left: usize,
    /// The number of the next event that wants an ack.
    next: u64,
    /// When the unacknowledged ones were sent.
    open: HashMap<u64, Instant>,
    begin: Instant,
    delivered: Arc<AtomicU64>,
    /// The newest place seen in each conversation.
    places: HashMap<String, u64>,
    seen: Seen,
}

impl Participant {
    async fn take_part(mut self, mut from_server: Receiver, over: CancellationToken) -> anyhow::Result<Seen> {
        self.fill_window().await?;
        loop {
            let incoming = tokio::select! {
                incoming = from_server.next() => incoming?,
                () = over.cancelled() => return Ok(self.seen),
            };
            match incoming {
                Incoming::Ping => self.to_server.pong().await?,
                Incoming::Ack { id, args } => {
                    if let Some(sent) = self.open.remove(&id) {
                        report::record(&mut self.seen.acks, sent.elapsed());
                    }
                    if !args.starts_with(SUCCESS) {
                        self.seen.refused += 1;
                    }
                    self.fill_window().await?;
                }
                Incoming::Event(event) if event.starts_with(MESSAGE) => self.count(event),
                Incoming::Event(_) => {}
            }
        }
    }

    async fn fill_window(&mut self) -> anyhow::Result<()> {
        while self.left > 0 && self.open.len() < self.load.in_flight {
            let now = self.begin.elapsed().as_nanos();
            self.template["content"] = json!(format!("{now} {}", "x".repeat(self.load.bytes.saturating_sub(16))));
            self.open.insert(self.next, Instant::now());
            self.to_server.emit(self.event, &self.template, Some(self.next)).await?;
            self.next += 1;
            self.left -= 1;
        }
        Ok(())
    }

    /// Looks at three fields and parses nothing: this runs for each delivery, and the servers need the machine.
    fn count(&mut self, message: &str) {
        let sent = field(message, "\"content\":\"").and_then(|content| content.split(' ').next()?.parse().ok());
        let Some(sent) = sent.map(Duration::from_nanos) else { return };
        report::record(&mut self.seen.deliveries, self.begin.elapsed().saturating_sub(sent));
        self.delivered.fetch_add(1, Ordering::Relaxed);
        let place = field(message, "\"seq\":").map(|text| text.split(|c: char| !c.is_ascii_digit()));
        let place = place.and_then(|mut digits| digits.next()?.parse().ok()).unwrap_or_default();
        let conversation = field(message, "\"conversationId\":\"").and_then(|text| text.split('"').next());
        let conversation = conversation.unwrap_or_default();
        let Some(newest) = self.places.get_mut(conversation) else {
            self.places.insert(conversation.to_owned(), place);
            return;
        };
        match place.cmp(newest) {
            std::cmp::Ordering::Greater => *newest = place,
            std::cmp::Ordering::Equal => self.seen.repeated += 1,
            std::cmp::Ordering::Less => self.seen.overtaken += 1,
        }
    }
}

/// What follows `key` in a JSON text that we know the shape of.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.find(key).map(|at| &text[at + key.len()..])
}
