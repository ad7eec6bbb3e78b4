//! What `trunkline serve` was told: as written ([`source`]), then read, checked and usable ([`Config`]).
//! Nothing past this module sees an unparsed value, and all mistakes are reported at once.

mod kinds;
mod namespaces;
mod parse;
mod reader;
pub mod settings;
pub mod source;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, net::SocketAddr, num::NonZeroUsize, time::Duration};

use trunkline_adapter::Mode;
use trunkline_redis::Topology;

pub use kinds::{
    Auth, DialectName, JwtConfig, LogFormat, Notify, Origins, PresenceBroadcast, Rate, Secret, SessionConfig,
};
pub use namespaces::NamespacePath;
use parse::Unit;
use reader::Reader;

/// A setting that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it was written.
    pub origin: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Mistake {
    fn new(origin: &str, problem: String) -> Self {
        Self { origin: origin.to_owned(), problem }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.problem)
    }
}

/// Everything `trunkline serve` needs to know, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where nodes and operators connect, when that is another port.
    pub internal_listen: Option<SocketAddr>,
    /// The shared Redis; `None` for one node by itself.
    pub redis: Option<Topology>,
    /// This node's name.
    pub node_id: String,
    /// Where other nodes reach it.
    pub advertise: Option<String>,
    /// What nodes sign session ids and requests to each other with; without it one is kept in the store.
    pub cluster_secret: Option<Secret>,
    /// Connections accepted.
    pub accept_rate: Option<Rate>,
    /// Share of its clients that an overloaded node sends elsewhere per minute.
    pub rebalance: Option<f64>,
    /// Who is believed.
    pub auth: Auth,
    /// How far clocks may differ, and how long after its token's end an open socket is closed.
    pub leeway: Duration,
    /// The cookie with the token.
    pub cookie: String,
    /// Who may send notifications.
    pub notify: Notify,
    /// Namespaces and what they speak.
    pub namespaces: Vec<(NamespacePath, DialectName)>,
    /// Namespaces whose clients only listen.
    pub push_namespaces: Vec<String>,
    /// Of events, per socket.
    pub rate_limit: Option<Rate>,
    /// What back ends show.
    pub api_key: Option<Secret>,
    /// Which pages may connect.
    pub origins: Origins,
    /// Which of Node's adapters this node is like.
    pub adapter: Mode,
    /// First part of the adapter's channels.
    pub channel_prefix: String,
    /// Between pings.
    pub ping_interval: Duration,
    /// For answering one.
    pub ping_timeout: Duration,
    /// Whether HTTP long-polling is offered.
    pub polling: bool,
    /// Whether WebSocket is offered.
    pub websocket: bool,
    /// Bytes of one message.
    pub max_payload: usize,
    /// Whether plain WebSocket connections are served by the lean lane.
    pub websocket_lane: bool,
    /// How long packets gather after a fan-out.
    pub flush_delay: Duration,
    /// Bytes that may wait for one client.
    pub outbox_limit: usize,
    /// How long a client may read nothing of what waits for it.
    pub stall_timeout: Duration,
    /// Who hears of users going online and offline.
    pub presence_broadcast: PresenceBroadcast,
    /// Users beyond whom not everybody is told, and members of a conversation on this node.
    pub presence_broadcast_max: u64,
    /// Deliveries that announcements to everybody may cause.
    pub presence_broadcast_rate: Option<Rate>,
    /// How long a user without a connection still counts as online.
    pub presence_grace: Duration,
    /// Messages kept per conversation.
    pub log_max_entries: u64,
    /// How long messages are kept.
    pub log_max_age: Duration,
    /// Whether a stock client gets back what it missed, and is who it was, after a cut.
    pub connection_state_recovery: bool,
    /// How long after a cut.
    pub recovery_window: Duration,
    /// Time over which clients are closed at shutdown.
    pub drain_window: Duration,
    /// When shutdown ends whatever is left.
    pub drain_timeout: Duration,
    /// Threads that do the work; as many as there are cores if nobody says.
    pub workers: Option<NonZeroUsize>,
    /// How lines are logged.
    pub log_format: LogFormat,
    /// Which lines are logged.
    pub log_level: String,
    /// Whether the demo page may mint tokens.
    pub demo_tokens: bool,
}

impl Config {
    /// Reads all layers and checks everything.
    ///
    /// # Errors
    /// All mistakes there are, not the first alone.
    pub fn load(
        flags: &BTreeMap<String, String>,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let values = source::gather(flags, environment, &mut mistakes);
        let config = Reader { values: &values, mistakes: &mut mistakes }.config();
        match config {
            Some(config) if mistakes.is_empty() => Ok(config),
            _ => Err(mistakes),
        }
    }
}

/// Reads a token's time to live as a command line gives it.
///
/// # Errors
/// What was expected instead.
pub fn parse_ttl(text: &str) -> Result<Duration, String> {
    parse::positive(text, Unit::Seconds)
}
