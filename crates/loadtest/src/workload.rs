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
const SUCCESS: &[u8] = b"[{\"success\":true";

/// How the event begins that counts.
const MESSAGE: &[u8] = b"[\"message:new\",";

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
        to_server.emit("conversation:join", &json!(room), Some(0))?;
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
    let mut answer = None;
    while answer.is_none() {
        to_server.flush().await?;
        from_server
            .read(|incoming| match incoming {
                Incoming::Ping => to_server.pong(),
                Incoming::Ack { args, .. } => answer = Some(String::from_utf8_lossy(args).into_owned()),
                _ => {}
            })
            .await?;
    }
    to_server.flush().await?;
    match answer {
        Some(args) if !args.as_bytes().starts_with(SUCCESS) => bail!("refused: {args}"),
        _ => Ok(()),
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
            where_sent: Field::new("\"content\":\""),
            where_seq: Field::new("\"seq\":"),
            where_conversation: Field::new("\"conversationId\":\""),
            newest: Vec::new(),
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
    where_sent: Field,
    where_seq: Field,
    where_conversation: Field,
    /// The newest place seen in each conversation: one, or a few.
    newest: Vec<(Box<[u8]>, u64)>,
    seen: Seen,
}

impl Participant {
    async fn take_part(mut self, mut from_server: Receiver, over: CancellationToken) -> anyhow::Result<Seen> {
        let ended = over.run_until_cancelled(self.listen(&mut from_server)).await;
        ended.map_or(Ok(()), |ended| ended).map(|()| self.seen)
    }

    async fn listen(&mut self, from_server: &mut Receiver) -> anyhow::Result<()> {
        loop {
            self.fill_window()?;
            self.to_server.flush().await?;
            let before = self.seen.deliveries.len();
            // One look at the clock for all that came in one piece: it is when this client had them.
            let mut now = None;
            from_server.read(|incoming| self.take(incoming, *now.get_or_insert_with(Instant::now))).await?;
            let delivered = self.seen.deliveries.len() - before;
            if delivered > 0 {
                self.delivered.fetch_add(delivered, Ordering::Relaxed);
            }
        }
    }

    fn take(&mut self, incoming: Incoming<'_>, now: Instant) {
        match incoming {
            Incoming::Ping => self.to_server.pong(),
            Incoming::Ack { id, args } => {
                if let Some(sent) = self.open.remove(&id) {
                    report::record(&mut self.seen.acks, now - sent);
                }
                if !args.starts_with(SUCCESS) {
                    self.seen.refused += 1;
                }
            }
            Incoming::Event(event) if event.starts_with(MESSAGE) => self.count(event, now),
            _ => {}
        }
    }

    fn fill_window(&mut self) -> anyhow::Result<()> {
        while self.left > 0 && self.open.len() < self.load.in_flight {
            let now = self.begin.elapsed().as_nanos();
            self.template["content"] = json!(format!("{now} {}", "x".repeat(self.load.bytes.saturating_sub(16))));
            self.open.insert(self.next, Instant::now());
            self.to_server.emit(self.event, &self.template, Some(self.next))?;
            self.next += 1;
            self.left -= 1;
        }
        Ok(())
    }

    /// Looks at three fields and parses nothing: this runs for each delivery, and the servers need the machine.
    fn count(&mut self, message: &[u8], now: Instant) {
        let Some(sent) = self.where_sent.find(message).map(number).map(Duration::from_nanos) else { return };
        report::record(&mut self.seen.deliveries, (now - self.begin).saturating_sub(sent));
        let place = self.where_seq.find(message).map_or(0, number);
        let conversation = self.where_conversation.find(message).unwrap_or_default();
        let end = conversation.iter().position(|&byte| byte == b'"').unwrap_or_default();
        let conversation = &conversation[..end];
        let Some((_, newest)) = self.newest.iter_mut().find(|(known, _)| **known == *conversation) else {
            self.newest.push((conversation.into(), place));
            return;
        };
        match place.cmp(newest) {
            std::cmp::Ordering::Greater => *newest = place,
            std::cmp::Ordering::Equal => self.seen.repeated += 1,
            std::cmp::Ordering::Less => self.seen.overtaken += 1,
        }
    }
}

/// A field of a JSON text that we know the shape of. It stands where it stood in the text before, or is looked for.
struct Field {
    key: &'static str,
    at: usize,
}

impl Field {
    fn new(key: &'static str) -> Self {
        Self { key, at: 0 }
    }

    /// What follows the key.
    fn find<'a>(&mut self, text: &'a [u8]) -> Option<&'a [u8]> {
        let key = self.key.as_bytes();
        if !text.get(self.at..).is_some_and(|text| text.starts_with(key)) {
            self.at = text.windows(key.len()).position(|window| window == key)?;
        }
        text.get(self.at + key.len()..)
    }
}

/// The digits at the beginning; 0 when there are none.
fn number(text: &[u8]) -> u64 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: u64, digit| number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
}
