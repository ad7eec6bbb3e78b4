//! Clients that come at an open rate, join a room, stay a little and leave.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use hdrhistogram::Histogram;
use tokio::{
    task::JoinSet,
    time::{sleep, sleep_until},
};

use crate::{
    connection::Connection,
    crowd::{Site, Step},
    plan::{Arrivals, Pace},
    progress::Progress,
    schedule::Schedule,
    tally::{histogram, lock, record},
    vocabulary::Vocabulary,
};

/// Visits may begin this late, 99 of 100.
const LATE: Duration = Duration::from_millis(20);

/// How many come, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    per_second: f64,
    lasting: Duration,
}

impl Rate {
    pub(crate) fn new(per_second: f64, seconds: u64) -> anyhow::Result<Self> {
        ensure!(per_second > 0.0 && per_second.is_finite(), "a rate is more than nothing, and finite");
        Ok(Self { per_second, lasting: Duration::from_secs(seconds) })
    }
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Visits {
    pub(crate) planned: u32,
    failed: u32,
    failure: Option<String>,
    lag: Histogram<u64>,
    /// Times are from when a visitor was to come until the namespace was connected.
    pub(crate) step: Step,
}

impl Visits {
    pub(crate) fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.failed > 0 {
            let why = self.failure.as_deref().unwrap_or("unknown");
            doubts.push(format!("{} of {} visits failed: {why}", self.failed, self.planned));
        }
        let late = Duration::from_micros(self.lag.value_at_quantile(0.99));
        if late > LATE {
            doubts.push(format!(
                "visits began up to {late:.0?} late (p99; {LATE:?} may be): this machine is too slow for that rate"
            ));
        }
        doubts
    }
}

#[derive(Debug)]
struct Log {
    times: Mutex<Histogram<u64>>,
    failed: AtomicU32,
    failure: Mutex<Option<String>>,
}

/// Lets them come, until the last has left.
pub(crate) async fn run(site: &Arc<Site>, words: &Vocabulary, rate: Rate, stay: Duration) -> anyhow::Result<Visits> {
    let before = site.read()?;
    let log = Arc::new(Log { times: Mutex::new(histogram()), failed: AtomicU32::new(0), failure: Mutex::new(None) });
    let pace = Pace::Open { per_second: rate.per_second, lasting: rate.lasting, arrivals: Arrivals::Even };
    let begin = Instant::now();
    let (mut visits, mut lag, mut planned, mut progress) = (JoinSet::new(), histogram(), 0, Progress::new());
    for due in Schedule::new(pace, begin, 0, 1) {
        sleep_until(due.into()).await;
        record(&mut lag, due.elapsed());
        let visit = visit(
            Arc::clone(site),
            Arc::clone(&log),
            planned,
            words.user(planned),
            words.join(planned, planned % 100),
            due,
            stay,
        );
        visits.spawn(visit);
        planned += 1;
        while visits.try_join_next().is_some() {}
        progress.say(|| format!("{planned} visits, {} of them now", visits.len()));
    }
    while visits.join_next().await.is_some() {}
    let times = lock(&log.times).clone();
    let step = Step { count: times.len(), took: begin.elapsed(), times, spent: site.read()?.since(before) };
    let failure = lock(&log.failure).take();
    Ok(Visits { planned, failed: log.failed.load(Ordering::Relaxed), failure, lag, step })
}

async fn visit(site: Arc<Site>, log: Arc<Log>, number: u32, user: String, join: String, due: Instant, stay: Duration) {
    let visit = async {
        let target = &site.targets[number as usize % site.targets.len()];
        let mut connection = Connection::open(target, &user, &site.sources).await?;
        record(&mut lock(&log.times), due.elapsed());
        connection.event([&join, "", ""], Some(0));
        let leaving = sleep(stay);
        tokio::pin!(leaving);
        loop {
            tokio::select! {
                biased;
                () = &mut leaving => return anyhow::Ok(()),
                ready = connection.ready() => ready?,
            }
            connection.read(|_| ())?;
        }
    };
    if let Err(error) = visit.await {
        log.failed.fetch_add(1, Ordering::Relaxed);
        lock(&log.failure).get_or_insert_with(|| format!("{error:#}"));
    }
}
