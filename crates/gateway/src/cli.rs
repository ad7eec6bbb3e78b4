//! The command line: one flag per setting of the table, and the small tools.

use std::collections::BTreeMap;

use clap::{Arg, ArgMatches, Command};
use trunkline_gateway::config::settings::{SETTINGS, Setting};

/// What the user wants.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// `trunkline serve`, with the flags given.
    Serve(BTreeMap<String, String>),
    /// `trunkline check`, with the flags given.
    Check(BTreeMap<String, String>),
    /// `trunkline token`.
    Token { secret: String, user: String, ttl: String },
}

pub(crate) fn parse() -> Wanted {
    match command().get_matches().remove_subcommand() {
        Some((name, mut matches)) if name == "token" => {
            let mut take = |name: &str| matches.remove_one::<String>(name).unwrap_or_default();
            Wanted::Token { secret: take("secret"), user: take("user"), ttl: take("ttl") }
        }
        Some((name, matches)) if name == "check" => Wanted::Check(flags(&matches)),
        // clap requires a subcommand, and there are three.
        Some((_, matches)) => Wanted::Serve(flags(&matches)),
        None => Wanted::Serve(BTreeMap::new()),
    }
}

fn command() -> Command {
    Command::new("trunkline")
        .version(trunkline_gateway::VERSION)
        .about("A horizontally scaled Socket.IO server")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("serve")
                .about("Run a gateway node")
                .after_help("Flags win over environment variables, those over the TOML file.")
                .args(SETTINGS.iter().map(flag)),
        )
        .subcommand(
            Command::new("check")
                .about("See whether a node with these settings would work: configuration, Redis, permissions")
                .after_help("Exits with 0 if it would, 1 if something fails, 2 if the configuration is wrong.")
                .args(SETTINGS.iter().map(flag)),
        )
        .subcommand(
            Command::new("token")
                .about("Mint a JWT for development")
                .arg(
                    Arg::new("secret")
                        .long("secret")
                        .env("TRUNKLINE_JWT_SECRET")
                        .hide_env_values(true)
                        .allow_hyphen_values(true)
                        .required(true)
                        .help("The key that the nodes were given as --jwt-secret"),
                )
                .arg(Arg::new("user").long("user").required(true).help("Whose token"))
                .arg(Arg::new("ttl").long("ttl").default_value("24h").help("How long it is good")),
        )
}

fn flag(setting: &'static Setting) -> Arg {
    let mut help = format!("{} [env: {}", setting.help, setting.variable());
    for alias in setting.aliases {
        help += &format!(", {alias}");
    }
    help += "]";
    if let Some(default) = setting.default {
        help += &format!(" [default: {default}]");
    }
    // A key in PEM begins with dashes, and a secret may.
    let dashes = setting.secret || setting.value.contains("PEM");
    let arg = Arg::new(setting.name).long(setting.name).value_name(setting.value).help(help);
    let arg = arg.allow_hyphen_values(dashes);
    // A switch may stand alone.
    if setting.value == "on|off" { arg.num_args(0..=1).default_missing_value("on") } else { arg }
}

fn flags(matches: &ArgMatches) -> BTreeMap<String, String> {
    let given = |setting: &Setting| {
        let value = matches.get_one::<String>(setting.name)?;
        Some((setting.name.to_owned(), value.clone()))
    };
    SETTINGS.iter().filter_map(given).collect()
}
