//! One client's life: it connects, joins, sends, and listens all the while.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use tokio::{
    pin, select,
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use crate::{
    connection::{Connection, Incoming},
    crowd::{Phase, Shared},
    plan::{Pace, Until},
    schedule::Schedule,
    stamp::{Finder, Stamp},
    tally::{self, Arrival, Seen, lock},
    vocabulary::To,
};

/// Where a server answers nothing, a join is taken for done after this long.
const UNANSWERED: Duration = Duration::from_secs(2);

/// Who has stalled and reads again has everything when nothing came for this long.
const QUIET: Duration = Duration::from_secs(3);

/// Bytes queued before they are written, within one burst of messages.
const BURST: usize = 64 * 1024;

/// Lives until the crowd is dropped or the connection ends, and leaves everything worth knowing with the crowd.
pub(crate) async fn live(number: u32, shared: Arc<Shared>, mut phases: watch::Receiver<Phase>) {
    let connection = match connect(number, &shared).await {
        Ok(connection) => connection,
        Err(error) => {
            shared.counts.failed.fetch_add(1, Ordering::Relaxed);
            return shared.trouble(&error);
        }
    };
    shared.counts.connected.fetch_add(1, Ordering::Relaxed);
    let mut client = Client { connection, ears: Ears::new(number, shared) };
    if let Err(error) = client.take_part(&mut phases).await {
        let counts = &client.ears.shared.counts;
        counts.ended.fetch_add(1, Ordering::Relaxed);
        if client.ears.to_send {
            counts.cut_off.fetch_add(1, Ordering::Relaxed);
        }
        client.ears.shared.trouble(&error);
    }
}

async fn connect(number: u32, shared: &Shared) -> anyhow::Result<Connection> {
    let _turn = shared.opening.acquire().await?;
    // After one failure no figure counts: the rest would take as long again each.
    ensure!(shared.counts.failed.load(Ordering::Relaxed) == 0, "not tried any more");
    let begin = Instant::now();
    let user = shared.vocabulary.user(number);
    let connection = Connection::open(shared.target(number), &user, &shared.sources).await?;
    tally::record(&mut lock(&shared.connects), begin.elapsed());
    Ok(connection)
}

struct Client {
    connection: Connection,
    ears: Ears,
}

impl Client {
    async fn take_part(&mut self, phases: &mut watch::Receiver<Phase>) -> anyhow::Result<()> {
        self.until(phases.wait_for(|&phase| phase != Phase::Connect)).await??;
        self.join().await?;
        self.ears.shared.counts.joined.fetch_add(1, Ordering::Relaxed);
        let sending = |phase: &Phase| matches!(phase, Phase::Send(_) | Phase::Resume);
        let phase = *self.until(phases.wait_for(sending)).await??;
        if self.ears.stalled {
            phases.wait_for(|&phase| phase == Phase::Resume).await?;
            self.read_on().await;
            return Ok(());
        }
        if let (true, Phase::Send(begin)) = (self.ears.to_send, phase) {
            self.send(begin).await?;
            self.ears.to_send = false;
            self.ears.shared.counts.done.fetch_add(1, Ordering::Relaxed);
        }
        self.until(std::future::pending()).await
    }

    /// Listens until `event` happens.
    async fn until<T>(&mut self, event: impl Future<Output = T>) -> anyhow::Result<T> {
        pin!(event);
        loop {
            select! {
                biased;
                happened = &mut event => return Ok(happened),
                ready = self.connection.ready() => ready?,
            }
            self.ears.listen(&mut self.connection)?;
        }
    }

    async fn join(&mut self) -> anyhow::Result<()> {
        let shared = Arc::clone(&self.ears.shared);
        for &room in &shared.plan.rooms_of[self.ears.number as usize] {
            // Those who wait for their turn listen: the others' arrivals are announced to them.
            let _turn = self.until(shared.joining.acquire()).await??;
            let begin = Instant::now();
            let event = shared.vocabulary.join(self.ears.number, room);
            if !shared.vocabulary.acks() {
                self.connection.event([&event, "", ""], None);
                self.connection.flush()?;
                continue;
            }
            self.connection.event([&event, "", ""], Some(JOIN));
            while self.ears.joined.is_none() {
                self.connection.ready().await?;
                self.ears.listen(&mut self.connection)?;
            }
            if let Some(Err(answer)) = self.ears.joined.take() {
                bail!("a join was refused: {answer}");
            }
            tally::record(&mut lock(&shared.joins), begin.elapsed());
        }
        if !shared.vocabulary.acks() {
            self.until(sleep(UNANSWERED)).await?;
        }
        Ok(())
    }

    async fn send(&mut self, begin: Instant) -> anyhow::Result<()> {
        let shared = Arc::clone(&self.ears.shared);
        let (place, senders) = shared.place_among_senders(self.ears.number);
        match shared.plan.pace {
            Pace::Closed { messages, until, .. } => {
                let quota = messages / senders + u64::from(place < messages % senders);
                self.send_closed(quota, until).await
            }
            Pace::Open { .. } => self.send_open(Schedule::new(shared.plan.pace, begin, place, senders)).await,
        }
    }

    async fn send_closed(&mut self, quota: u64, until: Until) -> anyhow::Result<()> {
        let shared = Arc::clone(&self.ears.shared);
        for _ in 0..quota {
            let stream = self.ears.choose();
            let units = if until == Until::Delivered { shared.plan.streams[stream as usize].recipients } else { 1 };
            let window = shared.window(stream);
            if let Ok(permit) = window.try_acquire_many(units) {
                permit.forget();
            } else {
                self.connection.flush()?;
                self.until(window.acquire_many(units)).await??.forget();
            }
            self.say(stream, shared.now())?;
        }
        Ok(self.connection.flush()?)
    }

    async fn send_open(&mut self, schedule: Schedule) -> anyhow::Result<()> {
        let shared = Arc::clone(&self.ears.shared);
        for due in schedule {
            if due > Instant::now() {
                self.connection.flush()?;
                self.until(tokio::time::sleep_until(due.into())).await?;
            }
            let lag = due.elapsed();
            tally::record(&mut lock(self.ears.shard()).lag, lag);
            let stream = self.ears.choose();
            self.say(stream, shared.since_epoch(due))?;
        }
        Ok(self.connection.flush()?)
    }

    /// Queues a message that was meant to leave at `at`.
    fn say(&mut self, stream: u32, at: u64) -> anyhow::Result<()> {
        let shared = Arc::clone(&self.ears.shared);
        let number = shared.sent(stream);
        let id = shared.vocabulary.acks().then(|| self.ears.ask(stream, at));
        let content = Stamp { stream, number, at }.content(shared.plan.bytes);
        let (before, behind) = shared.message(stream);
        if self.connection.event([before, &content, behind], id) > BURST {
            self.connection.flush()?;
        }
        Ok(())
    }

    /// Reads what has come while nobody read, until the end or until nothing comes any more, and says which it was.
    async fn read_on(&mut self) {
        let closed = loop {
            match timeout(QUIET, self.connection.ready()).await {
                Err(_) => break false,
                Ok(Err(_)) => break true,
                Ok(Ok(())) => {}
            }
            if self.ears.listen(&mut self.connection).is_err() {
                break true;
            }
        };
        let missing = self.ears.missing();
        lock(&self.ears.shared.stalls).push(Stall { closed, missing });
    }
}

/// What became of a client that had stopped reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stall {
    /// It was told, by the end of its connection.
    pub(crate) closed: bool,
    /// Messages it does not have.
    pub(crate) missing: u64,
}

/// The number of a join's ack; messages have those from 1.
const JOIN: u64 = 0;

/// What a client has heard.
struct Ears {
    number: u32,
    shared: Arc<Shared>,
    /// Something is still to be sent.
    to_send: bool,
    stalled: bool,
    /// Its own streams, with the sum of the weights up to each.
    own: Vec<(u32, u32)>,
    /// The answer to a join.
    joined: Option<Result<(), String>>,
    next: u64,
    /// For the events that are not answered yet: their stream, and when they were meant to leave.
    open: HashMap<u64, (u32, u64)>,
    finder: Finder,
    streams: Vec<(u32, tally::Stream)>,
}

impl Ears {
    fn new(number: u32, shared: Arc<Shared>) -> Self {
        let mut sum = 0;
        let own: Vec<_> = shared
            .streams_of(number)
            .map(|(stream, weight)| {
                sum += weight;
                (stream, sum)
            })
            .collect();
        Self {
            number,
            to_send: !own.is_empty(),
            stalled: shared.plan.stalled.contains(&number),
            own,
            joined: None,
            next: JOIN + 1,
            open: HashMap::new(),
            finder: Finder::default(),
            streams: Vec::new(),
            shared,
        }
    }

    fn shard(&self) -> &std::sync::Mutex<Seen> {
        if self.stalled { &self.shared.seen_by_stalled } else { self.shared.shard(self.number) }
    }

    /// Takes what has come.
    fn listen(&mut self, connection: &mut Connection) -> anyhow::Result<()> {
        let shared = Arc::clone(&self.shared);
        let shard = if self.stalled { &shared.seen_by_stalled } else { shared.shard(self.number) };
        let mut seen = None;
        // One look at the clock for all that came in one piece: it is when this client had them.
        let mut now = None;
        let mut arrived = Arrived::default();
        connection.read(|said| match said {
            Incoming::Ack { id, args } => {
                let seen = seen.get_or_insert_with(|| lock(shard));
                self.answered(id, args, *now.get_or_insert_with(|| shared.now()), seen);
            }
            Incoming::Event(event) if shared.vocabulary.brings(event) => {
                let seen = seen.get_or_insert_with(|| lock(shard));
                if let Some(stream) = self.heard(event, *now.get_or_insert_with(|| shared.now()), seen) {
                    arrived.add(stream, &shared);
                }
            }
            _ => {}
        })?;
        drop(seen);
        arrived.give_back(&shared);
        Ok(())
    }

    fn answered(&mut self, id: u64, args: &[u8], now: u64, seen: &mut Seen) {
        let yes = self.shared.vocabulary.says_yes(args);
        if id == JOIN {
            self.joined = Some(if yes { Ok(()) } else { Err(String::from_utf8_lossy(args).into_owned()) });
            return;
        }
        let Some((stream, at)) = self.open.remove(&id) else { return };
        tally::record(&mut seen.acks, Duration::from_nanos(now.saturating_sub(at)));
        if !yes {
            seen.refused += 1;
            seen.refusal.get_or_insert_with(|| String::from_utf8_lossy(args).into_owned());
        }
        self.shared.acked(stream);
    }

    /// The stream of a message that has not come before.
    fn heard(&mut self, event: &[u8], now: u64, seen: &mut Seen) -> Option<u32> {
        let stamp = self.finder.find(event)?;
        let known = match self.streams.iter().position(|(stream, _)| *stream == stamp.stream) {
            Some(known) => known,
            None => {
                self.streams.push((stamp.stream, tally::Stream::default()));
                self.streams.len() - 1
            }
        };
        match self.streams[known].1.arrived(stamp.number) {
            Arrival::Repeated => {
                seen.verdicts.repeated += 1;
                return None;
            }
            Arrival::Overtaken => seen.verdicts.overtaken += 1,
            Arrival::New => {}
        }
        seen.delivered += 1;
        tally::record(&mut seen.deliveries, Duration::from_nanos(now.saturating_sub(stamp.at)));
        Some(stamp.stream)
    }

    /// One of its own streams.
    fn choose(&self) -> u32 {
        match self.own.as_slice() {
            [(only, _)] => *only,
            several => {
                let sum = several.last().map_or(1, |(_, sum)| *sum);
                let drawn = rand::random_range(0..sum);
                several[several.partition_point(|(_, upto)| *upto <= drawn)].0
            }
        }
    }

    fn ask(&mut self, stream: u32, at: u64) -> u64 {
        let id = self.next;
        self.next += 1;
        self.open.insert(id, (stream, at));
        id
    }

    /// Messages of its rooms that it does not have.
    fn missing(&self) -> u64 {
        let plan = &self.shared.plan;
        let rooms = &plan.rooms_of[self.number as usize];
        let mine = (0_u32..).zip(&plan.streams).filter(|(_, stream)| match stream.to {
            To::Room(room) => rooms.contains(&room) && stream.sender != self.number,
            To::Direct(user) | To::Signal(user) => user == self.number,
        });
        mine.map(|(id, _)| {
            let sent = self.shared.sent_of(id);
            self.streams.iter().find(|(stream, _)| *stream == id).map_or(sent, |(_, stream)| stream.lost(sent))
        })
        .sum()
    }
}

/// Deliveries that came in one piece, mostly of one stream: its window is given back what they took once, not once for each.
#[derive(Default)]
struct Arrived {
    stream: u32,
    count: usize,
}

impl Arrived {
    fn add(&mut self, stream: u32, shared: &Shared) {
        if stream != self.stream {
            self.give_back(shared);
            self.stream = stream;
        }
        self.count += 1;
    }

    fn give_back(&mut self, shared: &Shared) {
        if self.count > 0 {
            shared.delivered(self.stream, self.count);
        }
        self.count = 0;
    }
}

/// What a sender takes from before it sends.
pub(crate) type Window = Arc<Semaphore>;
