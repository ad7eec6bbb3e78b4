//! Runs faults against a cluster of its own and says whether every promise was kept; see `scripts/chaos`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::ValueParser;
use clap::{Arg, Command, value_parser};
use trunkline_testkit::chaos::{Chaos, Scenario};

fn command() -> Command {
    let option = |name: &'static str, default: &'static str, parser: ValueParser, help: &'static str| {
        Arg::new(name).long(name).default_value(default).value_parser(parser).help(help)
    };
    let number = || ValueParser::from(value_parser!(u64).range(1..));
    Command::new("chaos")
        .about("Faults of many kinds under load, then the proof that nothing got lost. TRUNKLINE_BIN names the program under test.")
        .arg(
            option("scenario", "everything", ["everything", "failover", "bad-network", "avalanche"].into(), "What goes wrong")
                .long_help("everything: faults of all kinds; failover: the same, with a replica of Redis that takes over; bad-network: a tenth of the connections is cut every 5 s; avalanche: all clients are on one node, which is killed"),
        )
        .arg(
            Arg::new("avalanche").long("avalanche").value_name("CLIENTS").value_parser(value_parser!(u64).range(10..)).help(
                "Short for --scenario avalanche with so many clients, a tenth as many conversations, 50 messages a second, 20 s",
            ),
        )
        .arg(option("conversations", "8", number(), "Conversations; each client is in two of them"))
        .arg(option("minutes", "1", value_parser!(f64).into(), "How long faults happen at the most"))
        .arg(option("faults", "1000000", number(), "How many faults at the most"))
        .arg(
            option("seed", "1", value_parser!(u64).into(), "Decides which faults come when; several are run in turn")
                .value_delimiter(','),
        )
        .arg(
            Arg::new("only").long("only").value_name("WORD").value_delimiter(',')
                .help("Only faults whose names, as the report has them, contain one of these words"),
        )
        .arg(option("nodes", "3", number(), "Nodes of the cluster"))
        .arg(
            Arg::new("journal").long("journal").value_name("FILE").value_parser(value_parser!(PathBuf))
                .help("Where to add, line by line, what was done and what each client saw"),
        )
        .arg(option("clients", "60", number(), "Clients, all of them senders and receivers"))
        .arg(option("every", "500", number(), "Milliseconds between two faults, on average"))
        .arg(option("send-every", "2000", number(), "Milliseconds between two messages of one client, on average"))
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = command().get_matches();
    let number = |name: &str| *arguments.get_one::<u64>(name).expect("it has a default");
    let minutes = *arguments.get_one::<f64>("minutes").expect("it has a default");
    let scenario = match arguments.get_one::<String>("scenario").map(String::as_str) {
        Some("failover") => Scenario::Failover,
        Some("bad-network") => Scenario::BadNetwork,
        Some("avalanche") => Scenario::Avalanche,
        _ => Scenario::Everything,
    };
    let mut whole = true;
    let mut faults = 0;
    for seed in arguments.get_many::<u64>("seed").into_iter().flatten() {
        let nodes = usize::try_from(number("nodes")).unwrap_or(1);
        let chaos = match arguments.get_one::<u64>("avalanche") {
            Some(clients) => Chaos::avalanche(usize::try_from(*clients).unwrap_or(usize::MAX)),
            None => Chaos {
                scenario,
                conversations: usize::try_from(number("conversations")).unwrap_or(1),
                time: Duration::try_from_secs_f64(minutes * 60.0).unwrap_or_default(),
                faults: usize::try_from(number("faults")).unwrap_or(usize::MAX),
                clients: usize::try_from(number("clients")).unwrap_or(1),
                only: arguments.get_many("only").into_iter().flatten().cloned().collect(),
                fault_every: Duration::from_millis(number("every")),
                send_every: Duration::from_millis(number("send-every")),
                ..Chaos::default()
            },
        };
        let chaos =
            Chaos { seed: *seed, nodes, progress: true, journal: arguments.get_one("journal").cloned(), ..chaos };
        let report = chaos.run().await;
        println!("## {report}");
        whole &= report.is_whole();
        faults += report.fault_count();
    }
    println!("{faults} faults in all: {}", if whole { "every promise was kept" } else { "PROMISES WERE BROKEN" });
    if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
