//! What each workload does, from the first connection to the result.

use std::{io, sync::Arc, thread, time::Duration};

use anyhow::{Context, bail, ensure};
use tokio::{sync::oneshot, time::sleep};

use crate::{
    churn,
    connection::Target,
    crowd::{Crowd, Run, Site},
    crowds::Crowds,
    meter::Meter,
    options::{Cli, Sending, SiteOptions, Workload},
    outcome::{Load, Memory, Once, Outcome, Stalled},
    plan::{Pace, Plan},
    sources::{Sources, enough_descriptors},
    tally::lock,
    vocabulary::{To, Vocabulary},
};

/// Between the last join and the first message: everybody has heard of everybody, and what comes from then on is the load.
const SETTLING: Duration = Duration::from_secs(2);

/// How the line begins that says that all clients are connected: a process that started this one waits for it.
pub(crate) const HOLDING: &str = "all connected";

/// Messages may leave this late, 99 of 100, at an open rate.
const LATE: Duration = Duration::from_millis(20);

/// Of an open rate, so much must have left.
const REACHED: f64 = 0.99;

/// Does it.
///
/// # Errors
/// Something is wrong with what was asked for, or with this machine. What is wrong with the servers, or with the load, is in
/// the outcome.
pub(crate) async fn run(cli: &Cli) -> anyhow::Result<Outcome> {
    ensure!(!cli.site.urls.is_empty(), "where are the servers? (--url ws://HOST:PORT)");
    let day = Day { site: site(&cli.site, &vocabulary(cli, "")?).await?, cli };
    let mut outcome = Outcome {
        workload: cli.site.name.clone().unwrap_or_else(|| cli.workload.name().to_owned()),
        server: cli.site.server.clone(),
        round: cli.site.round,
        scale: cli.site.scale,
        ..Outcome::default()
    };
    if let Err(why) = day.fits() {
        outcome.doubts.push(why.to_string());
        return Ok(outcome);
    }
    day.pass(&mut outcome).await?;
    outcome.source_addresses = day.site.sources.used();
    outcome.valid = outcome.doubts.is_empty();
    Ok(outcome)
}

async fn site(options: &SiteOptions, words: &Vocabulary) -> anyhow::Result<Arc<Site>> {
    let mut targets = Vec::new();
    for url in &options.urls {
        targets.push(Target::new(url, words.query(), words.namespace(), words.auth()).await?);
    }
    Ok(Arc::new(Site {
        targets,
        sources: Arc::new(Sources::new()),
        opening: options.opening.max(1),
        servers: Meter::new(options.server_pids.clone()),
        redis: Meter::new(options.redis_pids.clone()),
        patience: options.patience(),
    }))
}

/// Crowds side by side have words of their own, since their users must not be the same.
fn vocabulary(cli: &Cli, crowd: &str) -> anyhow::Result<Vocabulary> {
    Vocabulary::new(cli.words.clone(), format!("{:x}{crowd}", std::process::id()))
}

/// One run.
struct Day<'a> {
    site: Arc<Site>,
    cli: &'a Cli,
}

impl Day<'_> {
    fn clients(&self, otherwise: u32) -> u32 {
        self.cli.site.clients.unwrap_or(otherwise)
    }

    /// Whether all the clients can be descriptors of this process.
    fn fits(&self) -> anyhow::Result<()> {
        let most = match &self.cli.workload {
            Workload::Burst { idle, .. } => self.clients(1001) + idle,
            Workload::Rooms { rooms, size, .. } => self.clients(rooms.saturating_mul(*size)),
            Workload::Churn { .. } => 0,
            Workload::Idle { processes, .. } => self.clients(self.usual_clients()).div_ceil((*processes).max(1)),
            _ => self.clients(self.usual_clients()),
        };
        enough_descriptors(most as usize)
    }

    fn usual_clients(&self) -> u32 {
        match &self.cli.workload {
            Workload::Room(_) | Workload::Burst { .. } | Workload::Slow { .. } => 1001,
            Workload::Pairs(_) | Workload::Direct(_) => 64,
            Workload::Day { .. } => 2000,
            _ => 100,
        }
    }

    async fn pass(&self, outcome: &mut Outcome) -> anyhow::Result<()> {
        let clients = self.clients(self.usual_clients());
        let echo = self.cli.words.echo();
        match &self.cli.workload {
            Workload::Connect { hold, while_stdin } => {
                tokio::select! {
                    connected = self.connect(outcome, clients, *hold) => connected,
                    () = end_of_stdin(), if *while_stdin => {
                        bail!("the process that started this one has ended")
                    }
                }
            }
            Workload::Idle { hold, processes } if *processes > 1 => {
                self.idle_beside(outcome, clients, *processes, *hold).await
            }
            Workload::Idle { hold, .. } => self.idle(outcome, clients, *hold).await,
            Workload::Burst { sending, idle, hold } => self.burst(outcome, clients, *idle, sending, *hold).await,
            Workload::Room(sending) => self.load(outcome, Plan::room(at_least(2, clients)?, echo), sending).await,
            Workload::Rooms { sending, rooms, size } => {
                let clients = self.clients(rooms.saturating_mul(*size));
                ensure!(
                    *rooms > 0 && (2..=clients).contains(size),
                    "a room has 2 clients or more, and no more than there are"
                );
                self.load(outcome, Plan::rooms(clients, *rooms, *size, echo), sending).await
            }
            Workload::Pairs(sending) => {
                self.load(outcome, Plan::pairs(at_least(2, clients)?, To::Direct), sending).await
            }
            Workload::Direct(sending) => {
                self.load(outcome, Plan::pairs(at_least(2, clients)?, To::Signal), sending).await
            }
            Workload::Day { sending, visitors } => self.day(outcome, clients, sending, *visitors).await,
            Workload::Churn { rate, seconds, stay } => {
                let (rate, stay) = (churn::Rate::new(*rate, *seconds)?, Duration::from_millis(*stay));
                let visits = churn::run(&self.site, &vocabulary(self.cli, "")?, rate, stay).await?;
                outcome.clients = visits.planned;
                outcome.doubts.extend(visits.doubts());
                outcome.connect = Some(Once::new(&visits.step));
                Ok(())
            }
            Workload::Slow { sending, stalled } => self.slow(outcome, clients, sending, *stalled).await,
            Workload::Compare { .. } => bail!("comparing is no load"),
        }
    }

    /// A crowd, connected.
    async fn gather(&self, outcome: &mut Outcome, plan: Plan, name: &str) -> anyhow::Result<Crowd> {
        outcome.clients += plan.clients();
        let mut crowd = Crowd::new(Arc::clone(&self.site), Arc::new(vocabulary(self.cli, name)?), plan);
        outcome.connect = Some(Once::new(&crowd.connect().await?));
        Ok(crowd)
    }

    async fn connect(&self, outcome: &mut Outcome, clients: u32, hold: u64) -> anyhow::Result<()> {
        let crowd = self.gather(outcome, Plan::idle(clients), "").await?;
        outcome.doubts.extend(crowd.doubts());
        if hold > 0 && outcome.doubts.is_empty() {
            println!("{HOLDING}, staying for {hold} s");
            sleep(Duration::from_secs(hold)).await;
            outcome.doubts.extend(crowd.doubts());
        }
        Ok(())
    }

    fn memory_kib(&self) -> anyhow::Result<u64> {
        let reading = self.site.servers.read()?.context("what a connection takes is read with --server-pid")?;
        Ok(reading.rss_kib)
    }

    async fn idle(&self, outcome: &mut Outcome, clients: u32, hold: u64) -> anyhow::Result<()> {
        let before = self.memory_kib()?;
        let crowd = self.gather(outcome, Plan::idle(clients), "").await?;
        let peak = self.memory_kib()?;
        sleep(Duration::from_secs(hold)).await;
        outcome.memory = Some(memory(before, peak, self.memory_kib()?, clients));
        outcome.doubts.extend(crowd.doubts());
        Ok(())
    }

    /// The same with clients of several processes.
    async fn idle_beside(&self, outcome: &mut Outcome, clients: u32, processes: u32, hold: u64) -> anyhow::Result<()> {
        let before = self.memory_kib()?;
        outcome.clients = clients;
        let crowds = match Crowds::start(self.cli, clients, processes, &self.site).await {
            Ok(crowds) => crowds,
            Err(error) => {
                outcome.doubts.push(format!("{error:#}"));
                return Ok(());
            }
        };
        let peak = self.memory_kib()?;
        sleep(Duration::from_secs(hold)).await;
        outcome.memory = Some(memory(before, peak, self.memory_kib()?, clients));
        outcome.connect = Some(Once::new(&crowds.step));
        Ok(())
    }

    async fn burst(
        &self,
        outcome: &mut Outcome,
        clients: u32,
        idle: u32,
        sending: &Sending,
        hold: u64,
    ) -> anyhow::Result<()> {
        let staying = self.gather(outcome, Plan::idle(idle), "stay").await?;
        // Pinged once, as in `idle`.
        sleep(Duration::from_secs(30.min(hold))).await;
        let before = self.memory_kib()?;
        let plan = Plan::room(at_least(2, clients)?, self.cli.words.echo());
        self.load(outcome, plan, sending).await?;
        let peak = outcome.load.as_ref().and_then(|load| load.server_peak_kib);
        sleep(Duration::from_secs(hold)).await;
        outcome.memory = Some(memory(before, peak.unwrap_or(before), self.memory_kib()?, idle));
        outcome.doubts.extend(staying.doubts());
        Ok(())
    }

    /// A crowd that joins and sends, and leaves.
    async fn load(&self, outcome: &mut Outcome, plan: Plan, sending: &Sending) -> anyhow::Result<()> {
        let pace = sending.pace(self.cli.words.acks());
        self.load_at(outcome, Plan { pace, bytes: sending.bytes, ..plan }).await.map(drop)
    }

    async fn load_at(&self, outcome: &mut Outcome, plan: Plan) -> anyhow::Result<Crowd> {
        let pace = plan.pace;
        let mut crowd = self.gather(outcome, plan, "").await?;
        outcome.join = Some(Once::new(&crowd.join().await?));
        sleep(SETTLING).await;
        // Who isn't there would only be waited for.
        if crowd.doubts().is_empty() {
            let run = crowd.run().await?;
            outcome.doubts.extend(pace_doubts(pace, &run));
            outcome.load = Some(Load::new(&run, planned(pace)));
        }
        outcome.doubts.extend(crowd.doubts());
        Ok(crowd)
    }

    async fn day(&self, outcome: &mut Outcome, clients: u32, sending: &Sending, visitors: f64) -> anyhow::Result<()> {
        let pace = sending.open(2000.0);
        let plan = Plan { pace, bytes: sending.bytes, ..Plan::day(at_least(20, clients)?, self.cli.words.echo()) };
        let Pace::Open { lasting, .. } = pace else { bail!("a day has an open rate") };
        let words = vocabulary(self.cli, "visit")?;
        let rate = churn::Rate::new(visitors, lasting.as_secs())?;
        // The visitors come while the others connect, too: their times are not those of an empty house.
        let visits = churn::run(&self.site, &words, rate, Duration::from_secs(1));
        let (day, visits) = tokio::join!(self.load_at(outcome, plan), visits);
        day?;
        outcome.doubts.extend(visits?.doubts());
        Ok(())
    }

    async fn slow(&self, outcome: &mut Outcome, clients: u32, sending: &Sending, stalled: u32) -> anyhow::Result<()> {
        ensure!(stalled + 2 <= clients, "besides {stalled} stalled clients there must be a sender and a recipient");
        let mut plan =
            Plan { pace: sending.open(200.0), bytes: sending.bytes, ..Plan::room(clients, self.cli.words.echo()) };
        // Not the first, who sends; and spread over the nodes.
        plan.stall((1..=stalled).collect());
        let mut crowd = self.load_at(outcome, plan).await?;
        let stalls = crowd.resume().await;
        let count = |of: &dyn Fn(bool, u64) -> bool| {
            stalls.iter().filter(|stall| of(stall.closed, stall.missing)).count() as u64
        };
        outcome.stalled = Some(Stalled {
            clients: u64::from(stalled),
            closed: count(&|closed, _| closed),
            complete: count(&|closed, missing| !closed && missing == 0),
            silent_holes: count(&|closed, missing| !closed && missing > 0),
        });
        let overtaken = lock(&crowd.shared.seen_by_stalled).verdicts.overtaken;
        if let Some(load) = &mut outcome.load {
            load.overtaken += overtaken;
        }
        Ok(())
    }
}

/// Waits for it in a thread of its own, which the end of the program does not wait for.
async fn end_of_stdin() {
    let (ended, end) = oneshot::channel();
    thread::spawn(move || {
        // An error is an end too, and who waited may be gone.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = ended.send(());
    });
    let _ = end.await;
}

fn at_least(least: u32, clients: u32) -> anyhow::Result<u32> {
    ensure!(clients >= least, "this takes {least} clients or more: --clients");
    Ok(clients)
}

fn memory(before_kib: u64, peak_kib: u64, after_kib: u64, clients: u32) -> Memory {
    let per_connection_kib = (after_kib as f64 - before_kib as f64) / f64::from(clients.max(1));
    Memory { before_kib, peak_kib: peak_kib.max(after_kib), after_kib, per_connection_kib }
}

fn planned(pace: Pace) -> Option<f64> {
    match pace {
        Pace::Open { per_second, .. } => Some(per_second),
        Pace::Closed { .. } => None,
    }
}

/// What the generator itself did wrong.
fn pace_doubts(pace: Pace, run: &Run) -> Vec<String> {
    let mut doubts = Vec::new();
    match pace {
        Pace::Closed { messages, .. } if run.sent < messages => {
            doubts.push(format!("{} of {messages} messages were sent: the servers stopped answering", run.sent));
        }
        Pace::Closed { .. } => {}
        Pace::Open { per_second, lasting, arrivals } => {
            let planned = per_second * lasting.as_secs_f64();
            // Independent arrivals are more or fewer by chance.
            let chance = if arrivals == crate::plan::Arrivals::Poisson { 4.0 * planned.sqrt() } else { 1.0 };
            if (run.sent as f64) < planned * REACHED - chance {
                doubts.push(format!("{} of {planned:.0} messages were sent", run.sent));
            }
            let late = Duration::from_micros(run.seen.lag.value_at_quantile(0.99));
            if late > LATE {
                doubts.push(format!(
                    "messages left up to {late:.0?} late (p99; {LATE:?} may be): this machine is too slow for that rate"
                ));
            }
        }
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::{Arrivals, Until},
        tally,
    };

    fn run(sent: u64, late: Duration) -> Run {
        let mut seen = tally::Seen::default();
        tally::record(&mut seen.lag, late);
        Run {
            took: Duration::from_secs(1),
            sent,
            expected: sent,
            seen,
            spent: Default::default(),
            series: vec![],
            peak_kib: None,
        }
    }

    #[test]
    fn a_generator_that_falls_behind_its_rate_says_so() {
        let pace = Pace::Open { per_second: 1000.0, lasting: Duration::from_secs(1), arrivals: Arrivals::Even };
        assert!(pace_doubts(pace, &run(1000, Duration::from_millis(1))).is_empty());
        assert!(pace_doubts(pace, &run(1000, Duration::from_millis(50)))[0].contains("late"));
        assert!(pace_doubts(pace, &run(900, Duration::from_millis(1)))[0].contains("900 of 1000"));
    }

    #[test]
    fn a_closed_loop_that_was_not_closed_is_invalid() {
        let pace = Pace::Closed { messages: 10, in_flight: 1, until: Until::Acked };
        assert!(pace_doubts(pace, &run(10, Duration::ZERO)).is_empty());
        assert!(!pace_doubts(pace, &run(9, Duration::ZERO)).is_empty());
    }
}
