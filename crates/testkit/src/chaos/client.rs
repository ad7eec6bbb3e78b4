//! A client that lives through anything: it comes back with its cursors, sends again until it is acknowledged, and notes what
//! it sees.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::journal::Journal;
use crate::history::{Acknowledged, Seen};

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A connection that takes nothing for so long is gone.
const STUCK: Duration = Duration::from_secs(6);
/// A message that is not acknowledged by then is sent again.
const SEND_AGAIN: Duration = Duration::from_secs(4);
/// How events begin that are worth parsing, for thousands of clients.
const OF_INTEREST: [&str; 2] = ["[\"message:new\"", "[\"conversation:"];
/// What all clients are told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Send and listen.
    Talking,
    /// Only what is not acknowledged yet is sent, again.
    Listening,
    /// The end.
    Over,
}

/// How soon a client gives up, and comes back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For an answer to CONNECT.
    pub connect: Duration,
    /// A server that says nothing for so long is gone: it pings more often.
    pub silence: Duration,
    /// Before the first attempt to come back, on average; doubled with each that fails, up to the second.
    pub pause: (Duration, Duration),
}

impl Patience {
    /// In a hurry, for servers that ping every 2 s.
    pub(super) const LITTLE: Self = Self {
        connect: Duration::from_secs(8),
        silence: Duration::from_secs(6),
        pause: (Duration::from_millis(200), Duration::from_millis(200)),
    };
    /// That of the stock JavaScript client, for servers that ping every 25 s.
    pub(super) const STOCK: Self = Self {
        connect: Duration::from_secs(20),
        silence: Duration::from_secs(45),
        pause: (Duration::from_secs(1), Duration::from_secs(5)),
    };
}

/// Who a client is and what it does.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub name: String,
    pub conversations: Vec<String>,
    /// Addresses to connect to, one at random each time.
    pub addresses: Vec<String>,
    /// Between two messages, on average.
    pub send_every: Duration,
    /// Connects to the first address until somebody waits for it to come back, and to the others from then on.
    pub begins_with_first: bool,
    pub patience: Patience,
    /// Between looks at what is to be done.
    pub tick: Duration,
    /// Leaves for good when the talking is over.
    pub leaves: bool,
    pub seed: u64,
}

/// What a client did and saw, for whoever watches the run.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub connected: bool,
    /// It was in all its conversations once.
    pub joined: bool,
    pub connects: u64,
    pub resets: u64,
    /// What it has sent and nobody has acknowledged.
    pub unacknowledged: BTreeSet<String>,
    pub acknowledged: Vec<Acknowledged>,
    pub seen: BTreeMap<String, Vec<Seen>>,
    /// It reads nothing until then.
    pub slow_until: Option<Instant>,
    /// From CONNECT until it had all it had missed, each time.
    pub resumed_in: Vec<Duration>,
    /// Since when somebody waits for it to come back with all it has missed.
    pub watched_since: Option<Instant>,
    /// How long that took.
    pub back_in: Option<Duration>,
}

pub(super) type Shared = Arc<Mutex<Record>>;

/// A message that is not acknowledged yet.
#[derive(Debug)]
struct Outgoing {
    id: String,
    conversation: String,
    ack: Option<u64>,
    due: Instant,
}

struct Client {
    plan: Plan,
    record: Shared,
    journal: Journal,
    rng: SmallRng,
    cursors: BTreeMap<String, (String, u64)>,
    outgoing: Vec<Outgoing>,
    next_message: u64,
    next_ack: u64,
    /// Joins that are not answered yet.
    joins: BTreeMap<u64, String>,
    /// Conversations that are not synced yet on this connection, and since when.
    syncing: (usize, Option<Instant>),
    say_next: Instant,
    /// Attempts to connect in a row that came to nothing.
    failed: u32,
}

/// Runs a client until the phase is over.
pub(super) async fn run(plan: Plan, record: Shared, mut phase: watch::Receiver<Phase>, journal: Journal) {
    let mut rng = SmallRng::seed_from_u64(plan.seed);
    let say_next = Instant::now() + plan.send_every.mul_f64(rng.random_range(0.0..1.0));
    let mut client = Client {
        plan,
        record,
        journal,
        rng,
        cursors: BTreeMap::new(),
        outgoing: Vec::new(),
        next_message: 0,
        next_ack: 0,
        joins: BTreeMap::new(),
        syncing: (0, None),
        say_next,
        failed: 0,
    };
    loop {
        let now = *phase.borrow_and_update();
        if now == Phase::Over || (client.plan.leaves && now == Phase::Listening && client.outgoing.is_empty()) {
            return;
        }
        if let Ok(Some(stream)) = timeout(client.plan.patience.connect, client.connect()).await {
            client.failed = 0;
            client.note(|record| (record.connected, record.connects) = (true, record.connects + 1));
            client.talk(stream, &mut phase).await;
            client.note(|record| record.connected = false);
            client.tell(|| "disconnected".to_owned());
        }
        sleep(client.pause()).await;
    }
}

impl Client {
    fn note<T>(&self, f: impl FnOnce(&mut Record) -> T) -> T {
        f(&mut self.record.lock().expect("no panic under this lock"))
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        self.journal.line(|| format!("{}: {}", self.plan.name, what()));
    }

    /// Before the next attempt to connect; counts it as failed until it has succeeded.
    fn pause(&mut self) -> Duration {
        let (first, longest) = self.plan.patience.pause;
        let pause = first.saturating_mul(1 << self.failed.min(16)).min(longest);
        self.failed += 1;
        pause.mul_f64(self.rng.random_range(0.5..1.5))
    }

    fn address(&mut self) -> &str {
        let all = self.plan.addresses.len();
        let returns = self.note(|record| record.watched_since.is_some() || record.back_in.is_some());
        let at = match (self.plan.begins_with_first, returns) {
            (true, false) => 0,
            (true, true) if all > 1 => self.rng.random_range(1..all),
            _ => self.rng.random_range(0..all),
        };
        &self.plan.addresses[at]
    }

    /// Up to the answer to CONNECT.
    async fn connect(&mut self) -> Option<Stream> {
        let address = self.address().to_owned();
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket&userId={}", self.plan.name);
        let (mut stream, _) = tokio_tungstenite::connect_async(url).await.ok()?;
        let cursors: Value =
            self.cursors.iter().map(|(id, (epoch, seq))| (id.clone(), json!({"epoch": epoch, "seq": seq}))).collect();
        stream.send(Message::text(format!("40{}", json!({ "cursors": cursors })))).await.ok()?;
        loop {
            match stream.next().await?.ok()? {
                Message::Text(text) if text.starts_with("40") => break,
                Message::Text(text) if text.starts_with("44") => return None,
                Message::Text(text) if text.as_str() == "2" => stream.send(Message::text("3")).await.ok()?,
                Message::Close(_) => return None,
                _ => {}
            }
        }
        self.tell(|| format!("connected to {address} with {:?}", self.cursors));
        self.joins.clear();
        self.outgoing.iter_mut().for_each(|message| (message.ack, message.due) = (None, Instant::now()));
        self.syncing = (self.cursors.len(), (!self.cursors.is_empty()).then(Instant::now));
        Some(stream)
    }

    async fn talk(&mut self, stream: Stream, phase: &mut watch::Receiver<Phase>) {
        let (mut sink, mut source) = stream.split();
        for conversation in self.plan.conversations.clone() {
            if !self.cursors.contains_key(&conversation) && self.join(&mut sink, conversation).await.is_none() {
                return;
            }
        }
        let mut ticks = interval(self.plan.tick);
        let mut heard = Instant::now();
        loop {
            let slow_until = self.note(|record| record.slow_until.filter(|until| *until > Instant::now()));
            tokio::select! {
                message = next(&mut source), if slow_until.is_none() => {
                    heard = Instant::now();
                    let Some(text) = message else { return };
                    let answer = if text == "2" { Some("3") } else { None };
                    if let Some(answer) = answer
                        && sink.send(Message::text(answer)).await.is_err()
                    {
                        return;
                    }
                    if self.hear(&text).is_none() {
                        return;
                    }
                }
                _ = ticks.tick() => {
                    let now = *phase.borrow_and_update();
                    if self.act(&mut sink, now).await.is_none() {
                        return;
                    }
                    if slow_until.is_some() {
                        heard = Instant::now();
                    }
                    let leaves = self.plan.leaves && now >= Phase::Listening && self.outgoing.is_empty();
                    if now == Phase::Over || leaves {
                        let _ = sink.send(Message::text("41")).await;
                        let _ = sink.close().await;
                        return;
                    }
                    if heard.elapsed() > self.plan.patience.silence {
                        return;
                    }
                }
            }
        }
    }

    async fn join(&mut self, sink: &mut SplitSink<Stream, Message>, conversation: String) -> Option<()> {
        let ack = self.ack();
        let text = format!("42{ack}{}", json!(["conversation:join", conversation]));
        self.joins.insert(ack, conversation);
        sink.send(Message::text(text)).await.ok()
    }

    fn ack(&mut self) -> u64 {
        self.next_ack += 1;
        self.next_ack
    }

    /// Sends what is due. `None` when the connection is gone.
    async fn act(&mut self, sink: &mut SplitSink<Stream, Message>, phase: Phase) -> Option<()> {
        let now = Instant::now();
        if phase == Phase::Talking && now >= self.say_next && !self.plan.send_every.is_zero() {
            self.say_next = now + self.plan.send_every.mul_f64(self.rng.random_range(0.5..1.5));
            self.next_message += 1;
            let (id, which) = (
                format!("{}-{}", self.plan.name, self.next_message),
                self.rng.random_range(0..self.plan.conversations.len()),
            );
            let conversation = self.plan.conversations[which].clone();
            self.note(|record| record.unacknowledged.insert(id.clone()));
            self.outgoing.push(Outgoing { id, conversation, ack: None, due: now });
        }
        for at in 0..self.outgoing.len() {
            if self.outgoing[at].due <= now {
                let ack = self.ack();
                self.tell(|| format!("{} sent as {ack}", self.outgoing[at].id));
                let message = &mut self.outgoing[at];
                (message.ack, message.due) = (Some(ack), now + SEND_AGAIN);
                let payload = json!({"conversationId": message.conversation, "content": message.id, "clientMessageId": message.id});
                let text = format!("42{ack}{}", json!(["message:send", payload]));
                timeout(STUCK, sink.send(Message::text(text))).await.ok()?.ok()?;
            }
        }
        Some(())
    }

    /// `None` when this connection is of no more use.
    fn hear(&mut self, text: &str) -> Option<()> {
        if let Some(rest) = text.strip_prefix("43") {
            let digits = rest.find('[').unwrap_or(0);
            let answer: Vec<Value> = serde_json::from_str(&rest[digits..]).ok()?;
            self.answered(rest[..digits].parse().ok()?, answer.first()?)
        } else if let Some(event) = text.strip_prefix("42") {
            if !OF_INTEREST.iter().any(|name| event.starts_with(name)) {
                return Some(());
            }
            let event: Vec<Value> = serde_json::from_str(event).ok()?;
            self.event(event.first()?.as_str()?, event.get(1).unwrap_or(&Value::Null));
            Some(())
        } else {
            (!text.starts_with("41")).then_some(())
        }
    }

    fn answered(&mut self, ack: u64, answer: &Value) -> Option<()> {
        let success = answer["success"] == true;
        if let Some(conversation) = self.joins.remove(&ack) {
            // Not in: it tries again with another connection.
            let (epoch, seq) = success.then(|| position(answer)).flatten()?;
            self.tell(|| format!("{conversation} joined at {epoch}:{seq}"));
            self.note(|record| record.seen.entry(conversation.clone()).or_default().push(Seen::From(seq)));
            self.cursors.insert(conversation, (epoch, seq));
            let all = self.cursors.len() == self.plan.conversations.len();
            self.note(|record| record.joined = all);
            return Some(());
        }
        let at = self.outgoing.iter().position(|message| message.ack == Some(ack))?;
        if !success {
            self.tell(|| format!("{} was not taken: {answer}", self.outgoing[at].id));
            self.outgoing[at].due = Instant::now() + Duration::from_millis(300);
            return Some(());
        }
        let Outgoing { id, conversation, .. } = self.outgoing.remove(at);
        let (epoch, seq) = position(answer)?;
        self.tell(|| format!("{conversation} acknowledged {epoch}:{seq} {id}"));
        if let Some(cursor) = self.cursors.get_mut(&conversation)
            && *cursor == (epoch.clone(), seq.saturating_sub(1))
        {
            *cursor = (epoch, seq);
        }
        let client = self.plan.name.clone();
        self.note(|record| {
            record.unacknowledged.remove(&id);
            record.acknowledged.push(Acknowledged { client, conversation, id, seq });
        });
        Some(())
    }

    fn event(&mut self, name: &str, payload: &Value) {
        let Some(conversation) = payload["conversationId"].as_str().map(str::to_owned) else { return };
        let Some((epoch, seq)) = position(payload) else { return };
        self.tell(|| {
            format!("{conversation} {name} {epoch}:{seq} {}", payload["content"].as_str().unwrap_or_default())
        });
        match name {
            "message:new" => {
                let id = payload["content"].as_str().unwrap_or_default().to_owned();
                self.note(|record| {
                    record.seen.entry(conversation.clone()).or_default().push(Seen::Message { seq, id })
                });
            }
            "conversation:reset" => self.note(|record| {
                record.resets += 1;
                record.seen.entry(conversation.clone()).or_default().push(Seen::Reset(seq));
            }),
            "conversation:synced" => {}
            _ => return,
        }
        if name != "message:new" {
            self.syncing.0 = self.syncing.0.saturating_sub(1);
            if self.syncing.0 == 0
                && let Some(since) = self.syncing.1.take()
            {
                self.note(|record| {
                    record.resumed_in.push(since.elapsed());
                    if let Some(watched) = record.watched_since.take_if(|watched| *watched < since) {
                        record.back_in = Some(watched.elapsed());
                    }
                });
            }
        }
        self.cursors.insert(conversation, (epoch, seq));
    }
}

fn position(payload: &Value) -> Option<(String, u64)> {
    Some((payload["epoch"].as_str()?.to_owned(), payload["seq"].as_u64()?))
}

/// The next text; `None` when the connection has ended.
async fn next(source: &mut SplitStream<Stream>) -> Option<String> {
    loop {
        match source.next().await?.ok()? {
            Message::Text(text) => return Some(text.to_string()),
            Message::Close(_) => return None,
            _ => {}
        }
    }
}
