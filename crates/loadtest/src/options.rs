//! What can be asked for on the command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{
    plan::{Arrivals, Pace, Until},
    vocabulary::Words,
};

/// Puts load on a Socket.IO cluster, and prints what the clients saw and what the servers spent.
///
/// Clients speak WebSocket and, unless told otherwise, Trunkline's native words; its nodes must run with `--auth insecure-query`.
/// Exits with 3 if the load was not what was asked for, so that no figure counts.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) site: SiteOptions,

    #[command(flatten)]
    pub(crate) words: Words,

    #[command(subcommand)]
    pub(crate) workload: Workload,
}

#[derive(Debug, Args)]
pub(crate) struct SiteOptions {
    /// A node, such as ws://127.0.0.1:3001; repeat it, and clients are spread over all of them.
    #[arg(long = "url")]
    pub(crate) urls: Vec<String>,

    /// Clients to connect; each workload has its own default.
    #[arg(long)]
    pub(crate) clients: Option<u32>,

    /// Connections being opened, and rooms being joined, at a time.
    #[arg(long, default_value_t = 64)]
    pub(crate) opening: usize,

    /// A server's process, on this machine; repeat it. What they spend and hold is in the result.
    #[arg(long = "server-pid")]
    pub(crate) server_pids: Vec<u32>,

    /// Redis' process.
    #[arg(long = "redis-pid")]
    pub(crate) redis_pids: Vec<u32>,

    /// Seconds without any delivery after which what is missing is lost.
    #[arg(long, default_value_t = 30)]
    patience: u64,

    /// Writes the result to this file.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,

    /// Exits with 4 if anything was lost, came twice, was overtaken or refused.
    #[arg(long)]
    pub(crate) strict: bool,

    /// What is measured, as the result names it.
    #[arg(long, default_value = "")]
    pub(crate) server: String,

    /// The workload's name in the result, if not the subcommand's.
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// Which round of several this is.
    #[arg(long, default_value_t = 1)]
    pub(crate) round: u32,

    /// Where this run lies on the horizontal axis of a plot.
    #[arg(long)]
    pub(crate) scale: Option<f64>,
}

impl SiteOptions {
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Workload {
    /// Connect, and stay for a while.
    Connect {
        /// Seconds to stay connected.
        #[arg(long, default_value_t = 0)]
        hold: u64,
        /// Leave when standard input ends: with the process that started this one, however that ends.
        #[arg(long, hide = true)]
        while_stdin: bool,
    },
    /// What a connection takes of memory when it does nothing.
    Idle {
        /// Seconds until the memory is read: what counts is a connection that has been pinged, not one that has just come.
        #[arg(long, default_value_t = 30)]
        hold: u64,
        /// Processes that share the clients: one has as many as it may have descriptors, often 20,000.
        #[arg(long, default_value_t = 1)]
        processes: u32,
    },
    /// Whether the memory of a burst is given back: some idle clients stay, others come, get a million deliveries, and leave.
    Burst {
        #[command(flatten)]
        sending: Sending,
        /// Clients that stay.
        #[arg(long, default_value_t = 2000)]
        idle: u32,
        /// Seconds until the memory is read again.
        #[arg(long, default_value_t = 60)]
        hold: u64,
    },
    /// All clients in one room; the first of them sends.
    Room(Sending),
    /// Many small rooms; the first client of each sends.
    Rooms {
        #[command(flatten)]
        sending: Sending,
        #[arg(long, default_value_t = 200)]
        rooms: u32,
        /// Clients in each.
        #[arg(long, default_value_t = 10)]
        size: u32,
    },
    /// Every two clients, on different nodes where there are several, send each other messages that are kept.
    Pairs(Sending),
    /// The same with messages that nobody keeps.
    Direct(Sending),
    /// A day of chat at an open rate: rooms of ten, friends, signals, and visitors who come and go.
    Day {
        #[command(flatten)]
        sending: Sending,
        /// Visitors a second.
        #[arg(long, default_value_t = 20.0)]
        visitors: f64,
    },
    /// Clients that come at an open rate, stay a little, and leave.
    Churn {
        /// Clients a second.
        #[arg(long, default_value_t = 200.0)]
        rate: f64,
        /// Seconds of that.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Milliseconds that each of them stays.
        #[arg(long, default_value_t = 500)]
        stay: u64,
    },
    /// One room at an open rate, in which some clients stop reading: what that costs the others, and what becomes of them.
    Slow {
        #[command(flatten)]
        sending: Sending,
        /// Clients that stop reading.
        #[arg(long, default_value_t = 10)]
        stalled: u32,
    },
    /// Sets the results of several servers side by side: no load.
    Compare {
        /// Where the results are that --json wrote.
        directory: PathBuf,
        /// Writes the tables to this file, and plots beside it.
        #[arg(long)]
        markdown: Option<PathBuf>,
        /// What that file begins with.
        #[arg(long)]
        preface: Option<PathBuf>,
    },
}

impl Workload {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::Idle { .. } => "idle",
            Self::Burst { .. } => "burst",
            Self::Room(_) => "room",
            Self::Rooms { .. } => "rooms",
            Self::Pairs(_) => "pairs",
            Self::Direct(_) => "direct",
            Self::Day { .. } => "day",
            Self::Churn { .. } => "churn",
            Self::Slow { .. } => "slow",
            Self::Compare { .. } => "compare",
        }
    }
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Sending {
    /// Messages in all, in a closed loop.
    #[arg(long, default_value_t = 1000)]
    messages: u64,
    /// Messages that are not done at a time, over all senders.
    #[arg(long, default_value_t = 16)]
    in_flight: u32,
    /// When a message is done; with --no-acks, when it is delivered.
    #[arg(long, default_value = "acked")]
    until: Until,
    /// Messages a second over all senders, whatever the servers do, instead of a closed loop.
    #[arg(long)]
    rate: Option<f64>,
    /// Seconds at that rate.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How the times at that rate lie.
    #[arg(long, default_value = "even")]
    arrivals: Arrivals,
    /// Bytes of content: 27 at least.
    #[arg(long, default_value_t = 100)]
    pub(crate) bytes: usize,
}

impl Sending {
    pub(crate) fn pace(&self, acks: bool) -> Pace {
        match self.rate {
            Some(rate) => self.open(rate),
            None => Pace::Closed {
                messages: self.messages,
                in_flight: self.in_flight.max(1),
                until: if acks { self.until } else { Until::Delivered },
            },
        }
    }

    /// An open rate, this one unless another is asked for.
    pub(crate) fn open(&self, otherwise: f64) -> Pace {
        let per_second = self.rate.unwrap_or(otherwise);
        Pace::Open { per_second, lasting: Duration::from_secs(self.seconds), arrivals: self.arrivals }
    }
}
