//! Many clients at once: they come, join, send and listen, each step when all have done the one before.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::sleep,
};

use crate::{
    client::{self, Stall, Window},
    connection::Target,
    meter::{Meter, Reading},
    plan::{Pace, Plan, Until},
    progress::Progress,
    sources::Sources,
    tally::{Seen, histogram, lock},
    vocabulary::Vocabulary,
};

/// Clients of one shard count together.
const SHARDS: usize = 16;

/// How often a step looks whether it is over.
const TICK: Duration = Duration::from_millis(20);

/// Between two points of a series.
const SERIES: Duration = Duration::from_millis(250);

/// Troubles that are remembered by their text.
const TROUBLES: usize = 3;

/// What is the same for all crowds of a run.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) targets: Vec<Target>,
    pub(crate) sources: Arc<Sources>,
    /// Connections being opened at a time.
    pub(crate) opening: usize,
    pub(crate) servers: Meter,
    pub(crate) redis: Meter,
    /// Time without any delivery after which what is missing counts as lost.
    pub(crate) patience: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Connect,
    Join,
    /// Since when.
    Send(Instant),
    /// Those who had stalled read again.
    Resume,
}

/// Numbers that only grow.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connected: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) joined: AtomicU64,
    /// Senders that have sent everything.
    pub(crate) done: AtomicU64,
    /// Senders whose connection ended before that.
    pub(crate) cut_off: AtomicU64,
    /// Clients whose connection ended, senders or not.
    pub(crate) ended: AtomicU64,
}

/// What the clients have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) vocabulary: Arc<Vocabulary>,
    pub(crate) plan: Plan,
    targets: Vec<Target>,
    pub(crate) sources: Arc<Sources>,
    epoch: Instant,
    pub(crate) opening: Semaphore,
    pub(crate) joining: Semaphore,
    /// Ascending, each once.
    senders: Vec<u32>,
    /// The streams of each sender.
    own: HashMap<u32, Vec<(u32, u32)>>,
    /// Of each stream: the event before and behind the content, how many were sent, and in a closed loop what bounds them.
    messages: Vec<(String, String)>,
    sent: Vec<AtomicU64>,
    windows: Vec<Window>,
    until: Option<Until>,
    shards: Vec<Mutex<Seen>>,
    pub(crate) seen_by_stalled: Mutex<Seen>,
    pub(crate) stalls: Mutex<Vec<Stall>>,
    pub(crate) connects: Mutex<Histogram<u64>>,
    pub(crate) joins: Mutex<Histogram<u64>>,
    pub(crate) counts: Counts,
    troubles: Mutex<Vec<String>>,
}

impl Shared {
    pub(crate) fn target(&self, client: u32) -> &Target {
        &self.targets[client as usize % self.targets.len()]
    }

    pub(crate) fn shard(&self, client: u32) -> &Mutex<Seen> {
        &self.shards[client as usize % SHARDS]
    }

    /// Nanoseconds since the crowd was made, as stamps have them.
    pub(crate) fn now(&self) -> u64 {
        self.since_epoch(Instant::now())
    }

    pub(crate) fn since_epoch(&self, time: Instant) -> u64 {
        u64::try_from(time.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }

    /// How many senders come before this one, and how many there are.
    pub(crate) fn place_among_senders(&self, client: u32) -> (u64, u64) {
        (self.senders.partition_point(|&sender| sender < client) as u64, self.senders.len() as u64)
    }

    /// The streams of a client, and their weights.
    pub(crate) fn streams_of(&self, client: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.own.get(&client).into_iter().flatten().copied()
    }

    pub(crate) fn message(&self, stream: u32) -> (&str, &str) {
        let (before, behind) = &self.messages[stream as usize];
        (before, behind)
    }

    /// Counts a message of the stream, and says which it is, from 1.
    pub(crate) fn sent(&self, stream: u32) -> u64 {
        self.sent[stream as usize].fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn sent_of(&self, stream: u32) -> u64 {
        self.sent[stream as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn window(&self, stream: u32) -> Window {
        Arc::clone(&self.windows[stream as usize])
    }

    pub(crate) fn acked(&self, stream: u32) {
        if self.until == Some(Until::Acked) {
            self.windows[stream as usize].add_permits(1);
        }
    }

    pub(crate) fn delivered(&self, stream: u32, count: usize) {
        if self.until == Some(Until::Delivered) {
            self.windows[stream as usize].add_permits(count);
        }
    }

    pub(crate) fn trouble(&self, error: &anyhow::Error) {
        let mut troubles = lock(&self.troubles);
        let text = format!("{error:#}");
        if troubles.len() < TROUBLES && !troubles.contains(&text) {
            troubles.push(text);
        }
    }

    /// What everybody saw so far.
    fn seen(&self) -> Seen {
        let mut sum = Seen::default();
        self.shards.iter().for_each(|shard| sum.add(&lock(shard)));
        sum
    }

    /// Messages sent, and deliveries that makes.
    fn expected(&self) -> (u64, u64) {
        let sent = self.sent.iter().map(|sent| sent.load(Ordering::Relaxed));
        sent.zip(&self.plan.streams).fold((0, 0), |(sum, expected), (sent, stream)| {
            (sum + sent, expected + sent * u64::from(stream.recipients))
        })
    }
}

/// Clients of this process. They leave when it is dropped.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) shared: Arc<Shared>,
    phases: watch::Sender<Phase>,
    tasks: JoinSet<()>,
    site: Arc<Site>,
}

/// How a step went that every client takes once.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) count: u64,
    pub(crate) took: Duration,
    pub(crate) times: Histogram<u64>,
    pub(crate) spent: Spent,
}

/// CPU time during a step, and memory at its end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) servers: Option<Reading>,
    pub(crate) redis: Option<Reading>,
    pub(crate) generator: Reading,
}

/// How the sending went.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) took: Duration,
    pub(crate) sent: u64,
    pub(crate) expected: u64,
    pub(crate) seen: Seen,
    pub(crate) spent: Spent,
    /// Seconds since the beginning, and deliveries up to then.
    pub(crate) series: Vec<(f64, u64)>,
    /// The servers' memory when it was largest.
    pub(crate) peak_kib: Option<u64>,
}

impl Site {
    pub(crate) fn read(&self) -> anyhow::Result<Spent> {
        Ok(Spent {
            servers: self.servers.read()?,
            redis: self.redis.read()?,
            generator: Meter::own().read()?.unwrap_or_default(),
        })
    }
}

impl Spent {
    /// What was spent since an earlier reading.
    pub(crate) fn since(self, earlier: Self) -> Self {
        let less = |now: Reading, then: Reading| Reading { cpu: now.cpu.saturating_sub(then.cpu), ..now };
        let less_optional = |now: Option<Reading>, then| now.zip(then).map(|(now, then)| less(now, then));
        Self {
            servers: less_optional(self.servers, earlier.servers),
            redis: less_optional(self.redis, earlier.redis),
            generator: less(self.generator, earlier.generator),
        }
    }
}

impl Crowd {
    /// Nobody has come yet.
    pub(crate) fn new(site: Arc<Site>, vocabulary: Arc<Vocabulary>, plan: Plan) -> Self {
        let senders = plan.senders();
        let mut own: HashMap<u32, Vec<(u32, u32)>> = HashMap::new();
        for (id, stream) in (0..).zip(&plan.streams) {
            own.entry(stream.sender).or_default().push((id, stream.weight));
        }
        let (windows, until) = windows(&plan, &senders);
        let shared = Shared {
            messages: plan.streams.iter().map(|stream| vocabulary.message(stream.to)).collect(),
            sent: plan.streams.iter().map(|_| AtomicU64::new(0)).collect(),
            windows,
            until,
            senders,
            own,
            targets: site.targets.clone(),
            sources: Arc::clone(&site.sources),
            epoch: Instant::now(),
            opening: Semaphore::new(site.opening),
            joining: Semaphore::new(site.opening),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            seen_by_stalled: Mutex::default(),
            stalls: Mutex::default(),
            connects: Mutex::new(histogram()),
            joins: Mutex::new(histogram()),
            counts: Counts::default(),
            troubles: Mutex::default(),
            vocabulary,
            plan,
        };
        Self { shared: Arc::new(shared), phases: watch::Sender::new(Phase::Connect), tasks: JoinSet::new(), site }
    }

    /// The clients come. Those that could not are among the [`doubts`](Self::doubts).
    pub(crate) async fn connect(&mut self) -> anyhow::Result<Step> {
        let count = u64::from(self.shared.plan.clients());
        let (before, begin) = (self.site.read()?, Instant::now());
        for number in 0..self.shared.plan.clients() {
            self.tasks.spawn(client::live(number, Arc::clone(&self.shared), self.phases.subscribe()));
        }
        let step = self.step(before, begin, "connected", count, |counts| [&counts.connected, &counts.failed]).await?;
        Ok(Step { count: self.shared.counts.connected.load(Ordering::Relaxed), ..step })
    }

    /// They join their rooms.
    pub(crate) async fn join(&mut self) -> anyhow::Result<Step> {
        let (before, begin) = (self.site.read()?, Instant::now());
        self.phases.send_replace(Phase::Join);
        let count = self.shared.counts.connected.load(Ordering::Relaxed);
        let mut step = self.step(before, begin, "joined", count, |counts| [&counts.joined, &counts.ended]).await?;
        step.times = lock(&self.shared.joins).clone();
        step.count = step.times.len();
        Ok(step)
    }

    /// Waits until so many have done it, or failed.
    async fn step(
        &self,
        before: Spent,
        begin: Instant,
        what: &str,
        count: u64,
        over: fn(&Counts) -> [&AtomicU64; 2],
    ) -> anyhow::Result<Step> {
        let mut progress = Progress::new();
        loop {
            let [done, failed] = over(&self.shared.counts).map(|count| count.load(Ordering::Relaxed));
            if done + failed >= count {
                break;
            }
            progress.say(|| format!("{done} of {count} {what}"));
            sleep(TICK).await;
        }
        let took = begin.elapsed();
        let spent = self.site.read()?.since(before);
        let times = lock(&self.shared.connects).clone();
        Ok(Step { count, took, times, spent })
    }

    /// The senders send. Over when everything has arrived, or nothing has for as long as patience lasts.
    pub(crate) async fn run(&mut self) -> anyhow::Result<Run> {
        let before = self.site.read()?;
        let begin = Instant::now();
        self.phases.send_replace(Phase::Send(begin));
        let mut progress = Progress::new();
        let mut newest = (0, begin);
        let mut series = vec![(0.0, 0)];
        let mut peak_kib = None;
        let counts = &self.shared.counts;
        loop {
            sleep(TICK).await;
            let delivered = self.shared.shards.iter().map(|shard| lock(shard).delivered).sum();
            if delivered != newest.0 {
                newest = (delivered, Instant::now());
            }
            let finished = counts.done.load(Ordering::Relaxed) + counts.cut_off.load(Ordering::Relaxed);
            let all_sent = finished >= self.shared.senders.len() as u64;
            if all_sent && delivered >= self.shared.expected().1 {
                break;
            }
            // An open rate may be low: then silence says nothing until the last message has left.
            let stuck = all_sent || matches!(self.shared.plan.pace, Pace::Closed { .. });
            if stuck && newest.1.elapsed() > self.site.patience {
                break;
            }
            let elapsed = begin.elapsed();
            if elapsed.as_secs_f64() - series.last().map_or(0.0, |(at, _)| *at) >= SERIES.as_secs_f64() {
                series.push((elapsed.as_secs_f64(), delivered));
                peak_kib = peak_kib.max(self.site.servers.read()?.map(|reading| reading.rss_kib));
            }
            progress.say(|| {
                let rate = delivered as f64 / elapsed.as_secs_f64();
                format!("{delivered} of {} delivered, {rate:.0} a second", self.shared.expected().1)
            });
        }
        let spent = self.site.read()?.since(before);
        let took = newest.1 - begin;
        series.push((took.as_secs_f64(), newest.0));
        series.retain(|(at, _)| *at <= took.as_secs_f64());
        peak_kib = peak_kib.max(spent.servers.map(|reading| reading.rss_kib));
        let (sent, expected) = self.shared.expected();
        Ok(Run { took, sent, expected, seen: self.shared.seen(), spent, series, peak_kib })
    }

    /// Those who had stopped reading read again; what became of them, as far as it is known within twice the patience.
    pub(crate) async fn resume(&mut self) -> Vec<Stall> {
        self.phases.send_replace(Phase::Resume);
        let begin = Instant::now();
        let stalled = self.shared.plan.stalled.len();
        let mut progress = Progress::new();
        loop {
            let read = lock(&self.shared.stalls).clone();
            if read.len() >= stalled || begin.elapsed() > self.site.patience * 2 {
                return read;
            }
            progress.say(|| format!("{} of {stalled} that had stalled have read on", read.len()));
            sleep(TICK).await;
        }
    }

    /// Why the load was not what it should have been.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let shared = &self.shared;
        let [failed, cut_off, ended] = [&shared.counts.failed, &shared.counts.cut_off, &shared.counts.ended]
            .map(|count| count.load(Ordering::Relaxed));
        let mut doubts = Vec::new();
        if failed > 0 {
            doubts.push(format!("{failed} of {} clients did not connect", shared.plan.clients()));
        }
        if cut_off > 0 {
            doubts.push(format!(
                "{cut_off} of {} senders were cut off before they had sent everything",
                shared.senders.len()
            ));
        } else if ended > 0 {
            doubts.push(format!("{ended} clients were cut off"));
        }
        if !doubts.is_empty() {
            doubts.extend(lock(&shared.troubles).iter().cloned());
        }
        doubts
    }
}

/// What bounds each stream of a closed loop: a window per sender, or one for all where there are more senders than messages
/// in flight. Counted in messages, or in deliveries where a message is done when all have it.
fn windows(plan: &Plan, senders: &[u32]) -> (Vec<Window>, Option<Until>) {
    let Pace::Closed { in_flight, until, .. } = plan.pace else {
        return (Vec::new(), None);
    };
    let units = |stream: &crate::plan::Stream| if until == Until::Delivered { stream.recipients as usize } else { 1 };
    let largest = plan.streams.iter().map(units).max().unwrap_or(1);
    let window = |messages: usize| Arc::new(Semaphore::new(messages * largest));
    if (in_flight as usize) < senders.len() {
        let shared = window(in_flight.max(1) as usize);
        return (vec![shared; plan.streams.len()], Some(until));
    }
    let each: HashMap<u32, Window> =
        senders.iter().map(|&sender| (sender, window(in_flight as usize / senders.len()))).collect();
    (plan.streams.iter().map(|stream| Arc::clone(&each[&stream.sender])).collect(), Some(until))
}
