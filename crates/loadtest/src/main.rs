//! Load on a Trunkline cluster: many stock-protocol clients over WebSocket, and what they see.
//!
//! In reading order: [`workload`] says what is done, [`client`] is one connection, [`report`] what is printed.

mod client;
mod cpu;
mod report;
mod workload;

use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::workload::Load;

/// Puts load on a Trunkline cluster and prints what the clients saw.
///
/// The nodes must run with `--auth insecure-query`. Users are named `load-0`, `load-1`, …
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// A node, such as ws://127.0.0.1:3001; repeat it, and clients are spread over all of them.
    #[arg(long = "url", required = true)]
    urls: Vec<String>,

    /// Clients to connect.
    #[arg(long, default_value_t = 100)]
    clients: usize,

    /// Connections being opened at a time.
    #[arg(long, default_value_t = 64)]
    opening: usize,

    /// A server's process, on this machine; repeat it. What they spend on the load, without connecting and joining, is printed.
    #[arg(long = "server-pid")]
    server_pids: Vec<u32>,

    #[command(subcommand)]
    workload: Workload,
}

#[derive(Debug, Subcommand)]
enum Workload {
    /// Connect, and stay for a while.
    Connect {
        /// Seconds to stay connected.
        #[arg(long, default_value_t = 0)]
        hold: u64,
    },
    /// All clients in one conversation; one of them sends, acknowledged and stored.
    Room(Sending),
    /// Every two clients, on different nodes where there are several, send private messages to each other.
    Pairs(Sending),
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct Sending {
    /// Messages in all.
    #[arg(long, default_value_t = 1000)]
    messages: usize,
    /// Messages that one sender has unacknowledged at the most.
    #[arg(long, default_value_t = 16)]
    in_flight: usize,
    /// Bytes of content.
    #[arg(long, default_value_t = 100)]
    bytes: usize,
    /// Seconds to wait for the last delivery.
    #[arg(long, default_value_t = 30)]
    patience: u64,
}

impl Sending {
    fn load(self, servers: cpu::Meter) -> Load {
        Load {
            servers,
            messages: self.messages,
            in_flight: self.in_flight.max(1),
            bytes: self.bytes,
            patience: Duration::from_secs(self.patience),
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let servers = cpu::Meter::new(cli.server_pids);
    let clients = workload::connect(&cli.urls, cli.clients, cli.opening.max(1), &servers).await?;
    match cli.workload {
        Workload::Connect { hold } => tokio::time::sleep(Duration::from_secs(hold)).await,
        Workload::Room(sending) => report::print(&workload::room(clients, &sending.load(servers)).await?),
        Workload::Pairs(sending) => report::print(&workload::pairs(clients, &sending.load(servers)).await?),
    }
    Ok(())
}
