//! What `trunkline serve` was told: as written ([`source`]), then checked and usable ([`Config`]).
//! Nothing past this module sees an unparsed value, and all mistakes are reported at once.

mod parse;
pub mod settings;
pub mod source;

use std::{collections::BTreeMap, fmt, net::SocketAddr, time::Duration};

use parse::Unit;
use source::{Raw, Values};
use trunkline_adapter::{Listen, Mode};
use trunkline_redis::{Topology, UrlError};

use self::settings::Setting;

/// A text that must not end up in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for where it is used.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

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

/// Who is believed about who a client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// A signed token.
    Jwt(JwtConfig),
    /// `query.userId`. For development.
    InsecureQuery,
}

/// What tokens are checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// The key of HS tokens.
    pub secret: Secret,
    /// `iss`, when it is checked.
    pub issuer: Option<String>,
    /// `aud`, when it is checked.
    pub audience: Option<String>,
    /// How far clocks may differ.
    pub leeway: Duration,
}

/// Who hears of users going online and offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceBroadcast {
    /// Everyone, up to this many online users.
    All {
        /// Beyond it nobody is told.
        max: u64,
    },
    /// Only those who asked.
    Watch,
    /// Nobody.
    Off,
}

/// Which pages may connect from a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Those served by this host.
    Same,
    /// All.
    Any,
    /// These, and those served by this host.
    List(Vec<String>),
}

/// How lines are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One object a line.
    Json,
}

/// The dialects a namespace can speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialectName {
    /// `noun:verb`.
    Native,
    /// Who is online, direct messages, rooms.
    OnlineUsers,
    /// Echoes, broadcasts and rooms.
    Rooms,
    /// Stored conversations.
    Conversations,
    /// A public chat, notifications, documents.
    Showcase,
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
    /// Share of its clients that an overloaded node sends elsewhere per minute.
    pub rebalance: Option<f64>,
    /// Who is believed.
    pub auth: Auth,
    /// Namespaces and what they speak.
    pub namespaces: Vec<(String, DialectName)>,
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
    /// How long a user without a connection still counts as online.
    pub presence_grace: Duration,
    /// Messages kept per conversation.
    pub log_max_entries: u64,
    /// How long messages are kept.
    pub log_max_age: Duration,
    /// Time over which clients are closed at shutdown.
    pub drain_window: Duration,
    /// When shutdown ends whatever is left.
    pub drain_timeout: Duration,
    /// How lines are logged.
    pub log_format: LogFormat,
    /// Which lines are logged.
    pub log_level: String,
    /// Whether the demo page may mint tokens.
    pub demo_tokens: bool,
    /// Settings that were given although they do nothing yet.
    pub without_effect: Vec<String>,
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

/// Reads values and notes every mistake on the way, so that one run shows them all.
struct Reader<'a> {
    values: &'a Values,
    mistakes: &'a mut Vec<Mistake>,
}

impl Reader<'_> {
    fn config(mut self) -> Option<Config> {
        let listen = self.required("listen", parse::address);
        let internal_listen = self.optional("internal-listen", parse::address);
        let redis = self.optional("redis-url", topology);
        let node_id = self.optional("node-id", node_id);
        let advertise = self.optional("advertise", parse::host_and_port);
        let cluster_secret = self.optional("cluster-secret", long_secret);
        let rebalance = self.required("rebalance", parse::share);
        let auth = self.auth();
        let api_key = self.optional("api-key", long_secret);
        let namespaces = self.required("namespaces", namespaces);
        let origins = self.optional("cors-origins", origins);
        self.required("adapter", |text| match text {
            "classic" => Ok(()),
            "sharded" => Err("the sharded adapter is not in this version; use classic".to_owned()),
            _ => Err("expected classic or sharded".to_owned()),
        });
        let adapter = self.required("adapter-subscriptions", |text| {
            let (rooms, pattern) = (Mode::Classic(Listen::Rooms), Mode::Classic(Listen::Pattern));
            parse::one_of(text, &[("rooms", rooms), ("pattern", pattern)])
        });
        let channel_prefix = self.required("channel-prefix", channel_prefix);
        self.required("rate-limit", parse::rate);
        let ping_interval = self.required("ping-interval", |text| parse::positive(text, Unit::Milliseconds));
        let ping_timeout = self.required("ping-timeout", |text| parse::positive(text, Unit::Milliseconds));
        let transports = self.required("transports", transports);
        let max_payload = self.required("max-payload", |text| parse::number(text, 1024));
        let broadcast_max = self.required("presence-broadcast-max", |text| parse::number(text, 0));
        let broadcast = self.required("presence-broadcast", |text| {
            let max = broadcast_max.unwrap_or_default();
            let all = PresenceBroadcast::All { max };
            parse::one_of(text, &[("all", all), ("watch", PresenceBroadcast::Watch), ("off", PresenceBroadcast::Off)])
        });
        let presence_grace = self.required("presence-grace", |text| parse::duration(text, Unit::Seconds));
        let log_max_entries = self.required("log-max-entries", |text| parse::number(text, 1));
        let log_max_age = self.required("log-max-age", |text| parse::positive(text, Unit::Seconds));
        let drain_window = self.required("drain-window", |text| parse::duration(text, Unit::Seconds));
        let drain_timeout = self.required("drain-timeout", |text| parse::positive(text, Unit::Seconds));
        let websocket_lane = self.required("websocket-lane", parse::switch);
        let flush_delay = self.required("flush-delay", |text| parse::duration(text, Unit::Milliseconds));
        let outbox_limit = self.required("outbox-limit", |text| parse::number(text, 1024));
        let stall_timeout = self.required("stall-timeout", |text| parse::positive(text, Unit::Seconds));
        self.required("recovery-window", |text| parse::duration(text, Unit::Seconds));
        self.optional("jwks-url", |text| text.parse::<http::Uri>().map_err(|_| "expected a URL".to_owned()));
        let formats = [("pretty", LogFormat::Pretty), ("json", LogFormat::Json)];
        let log_format = self.required("log-format", |text| parse::one_of(text, &formats));
        let log_level = self.required("log-level", log_level);
        let demo_tokens = self.required("demo-tokens", parse::switch);
        let (polling, websocket) = transports?;
        Some(Config {
            listen: listen?,
            internal_listen,
            redis,
            node_id: node_id.unwrap_or_else(default_node_id),
            advertise,
            cluster_secret,
            rebalance: rebalance?,
            auth: auth?,
            api_key,
            namespaces: namespaces?,
            origins: origins.unwrap_or(Origins::Same),
            adapter: adapter?,
            channel_prefix: channel_prefix?,
            ping_interval: ping_interval?,
            ping_timeout: ping_timeout?,
            polling,
            websocket,
            max_payload: usize::try_from(max_payload?).ok()?,
            websocket_lane: websocket_lane?,
            flush_delay: flush_delay?,
            outbox_limit: usize::try_from(outbox_limit?).ok()?,
            stall_timeout: stall_timeout?,
            presence_broadcast: broadcast?,
            presence_grace: presence_grace?,
            log_max_entries: log_max_entries?,
            log_max_age: log_max_age?,
            drain_window: drain_window?,
            drain_timeout: drain_timeout?,
            log_format: log_format?,
            log_level: log_level?,
            demo_tokens: demo_tokens?,
            without_effect: self.without_effect(),
        })
    }

    fn raw(&self, name: &str) -> Option<Raw> {
        self.values.get(name).cloned()
    }

    fn optional<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let raw = self.raw(name)?;
        read(raw.text.trim()).map_err(|problem| self.mistakes.push(Mistake { origin: raw.origin, problem })).ok()
    }

    /// For settings that have a default.
    fn required<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        if self.values.contains_key(name) {
            return self.optional(name, read);
        }
        let default = Setting::named(name).and_then(|setting| setting.default).unwrap_or_default();
        read(default).map_err(|problem| self.mistakes.push(Mistake::new(name, problem))).ok()
    }

    fn auth(&mut self) -> Option<Auth> {
        let leeway = self.required("jwt-leeway", |text| parse::duration(text, Unit::Seconds));
        let secret = self.optional("jwt-secret", |text| {
            if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(Secret(text.to_owned())) }
        });
        let [issuer, audience] = ["jwt-issuer", "jwt-audience"].map(|name| self.raw(name).map(|raw| raw.text));
        let mode = self.required("auth", |text| match text {
            "jwt" | "insecure-query" => Ok(text.to_owned()),
            "session" | "hook" => Err(format!("{text} is not in this version; use jwt or insecure-query")),
            _ => Err("expected one of jwt, session, hook, insecure-query".to_owned()),
        })?;
        if mode == "insecure-query" {
            return Some(Auth::InsecureQuery);
        }
        let Some(secret) = secret else {
            if !self.mistakes.iter().any(|mistake| mistake.origin.to_lowercase().contains("secret")) {
                let problem = "jwt needs a key: set --jwt-secret or TRUNKLINE_JWT_SECRET (or --auth insecure-query for development)";
                self.mistakes.push(Mistake::new("--auth", problem.to_owned()));
            }
            return None;
        };
        Some(Auth::Jwt(JwtConfig { secret, issuer, audience, leeway: leeway? }))
    }

    fn without_effect(&self) -> Vec<String> {
        let given = self.values.iter().filter(|(name, _)| Setting::named(name).is_some_and(|s| !s.effective));
        given.map(|(_, raw)| raw.origin.clone()).collect()
    }
}

fn topology(text: &str) -> Result<Topology, String> {
    let topology: Topology = text.parse().map_err(|error: UrlError| error.to_string())?;
    if topology.single_client().is_none() {
        return Err("Redis Cluster, Sentinel and TLS are not in this version; use one redis:// URL".to_owned());
    }
    Ok(topology)
}

fn node_id(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !text.is_empty() && text.len() <= 64 && text.chars().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 64 letters, digits, '-', '_' or '.'".to_owned())
    }
}

/// Bytes of a secret that nobody is to guess.
const LONG_SECRET: usize = 16;

fn long_secret(text: &str) -> Result<Secret, String> {
    if text.len() < LONG_SECRET {
        return Err(format!("must have at least {LONG_SECRET} characters"));
    }
    Ok(Secret(text.to_owned()))
}

fn default_node_id() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(48).collect();
    let host = if host.is_empty() { "node" } else { &host };
    format!("{host}-{:04x}", rand::random::<u16>())
}

fn namespaces(text: &str) -> Result<Vec<(String, DialectName)>, String> {
    let mut namespaces: Vec<(String, DialectName)> = Vec::new();
    for item in parse::list(text) {
        let (path, dialect) = item.split_once('=').ok_or_else(|| format!("`{item}`: expected /path=dialect"))?;
        if !path.starts_with('/') {
            return Err(format!("`{path}`: a namespace starts with /"));
        }
        if path.contains('{') {
            return Err(format!("`{path}`: dynamic namespaces are not in this version"));
        }
        if namespaces.iter().any(|(known, _)| known == path) {
            return Err(format!("`{path}` is there twice"));
        }
        let dialect = match dialect {
            "native" => DialectName::Native,
            "online-users" => DialectName::OnlineUsers,
            "rooms" => DialectName::Rooms,
            "conversations" => DialectName::Conversations,
            "showcase" => DialectName::Showcase,
            _ => {
                return Err(format!(
                    "`{dialect}`: there is no such dialect; use native, online-users, rooms, conversations or showcase"
                ));
            }
        };
        namespaces.push((path.to_owned(), dialect));
    }
    if namespaces.is_empty() { Err("expected at least one, such as /=native".to_owned()) } else { Ok(namespaces) }
}

fn origins(text: &str) -> Result<Origins, String> {
    let mut origins = Vec::new();
    for origin in parse::list(text) {
        if origin == "*" {
            return Ok(Origins::Any);
        }
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        match host {
            Some(host) if !host.is_empty() && !host.contains('/') => origins.push(origin.to_lowercase()),
            _ => return Err(format!("`{origin}`: expected an origin such as https://chat.example, without a path")),
        }
    }
    Ok(Origins::List(origins))
}

fn channel_prefix(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 128 || text.chars().any(char::is_control) {
        return Err("expected 1 to 128 printable characters".to_owned());
    }
    Ok(text.to_owned())
}

fn transports(text: &str) -> Result<(bool, bool), String> {
    let list = parse::list(text);
    if let Some(unknown) = list.iter().find(|name| !matches!(**name, "polling" | "websocket")) {
        return Err(format!("`{unknown}`: expected polling, websocket or both"));
    }
    match (list.contains(&"polling"), list.contains(&"websocket")) {
        (false, false) => Err("expected polling, websocket or both".to_owned()),
        both => Ok(both),
    }
}

fn log_level(text: &str) -> Result<String, String> {
    tracing_subscriber::EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|_| "expected error, warn, info, debug, trace or a filter".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(flags: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Config, Vec<Mistake>> {
        let flags = flags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let environment: BTreeMap<_, _> = environment.iter().copied().collect();
        Config::load(&flags, &|name| environment.get(name).map(|&value| value.to_owned()))
    }

    #[test]
    fn flags_win_over_environment_over_file_over_default() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("trunkline.toml");
        std::fs::write(&file, "listen = \"127.0.0.1:1\"\nping_interval = 1\nping_timeout = 1\n").unwrap();
        let file = file.to_str().unwrap();
        let config = load(
            &[("listen", "127.0.0.1:3"), ("config", file), ("auth", "insecure-query")],
            &[("TRUNKLINE_LISTEN", "127.0.0.1:2"), ("TRUNKLINE_PING_INTERVAL", "2")],
        )
        .unwrap();
        assert_eq!(config.listen.port(), 3);
        assert_eq!(config.ping_interval, Duration::from_millis(2));
        assert_eq!(config.ping_timeout, Duration::from_millis(1));
        assert_eq!(config.max_payload, 1_000_000);
    }

    #[test]
    fn our_variable_wins_over_its_aliases() {
        let config = load(&[("auth", "insecure-query")], &[("PORT", "1"), ("TRUNKLINE_LISTEN", "2")]).unwrap();
        assert_eq!(config.listen.port(), 2);
        let config = load(&[("auth", "insecure-query")], &[("SOCKET_PORT", "1")]).unwrap();
        assert_eq!(config.listen.port(), 1);
    }

    #[test]
    fn all_mistakes_are_reported_at_once_by_name() {
        let mistakes = load(
            &[("listen", "nowhere"), ("auth", "magic"), ("transports", "carrier-pigeon")],
            &[("TRUNKLINE_PING_TIMEOUT", "soon"), ("REDIS_URL", "http://x")],
        )
        .unwrap_err();
        let origins: Vec<_> = mistakes.iter().map(|mistake| mistake.origin.as_str()).collect();
        for origin in ["--listen", "--auth", "--transports", "TRUNKLINE_PING_TIMEOUT", "REDIS_URL"] {
            assert!(origins.contains(&origin), "{origin} missing in {mistakes:?}");
        }
    }

    #[test]
    fn jwt_without_a_key_does_not_start() {
        let mistakes = load(&[], &[]).unwrap_err();
        assert_eq!(mistakes.len(), 1);
        assert!(mistakes[0].problem.contains("--jwt-secret"), "{}", mistakes[0]);
        assert!(load(&[], &[("JWT_SECRET", "s")]).is_ok());
    }

    #[test]
    fn unknown_keys_in_the_file_are_mistakes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("trunkline.toml");
        std::fs::write(&file, "listne = 1\n").unwrap();
        let mistakes = load(&[("config", file.to_str().unwrap()), ("auth", "insecure-query")], &[]).unwrap_err();
        assert!(mistakes[0].origin.starts_with("listne in "), "{}", mistakes[0]);
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = load(&[("jwt-secret", "hunter2")], &[("REDIS_URL", "redis://:hunter2@127.0.0.1:1")]).unwrap();
        assert!(!format!("{:?}", config.auth).contains("hunter2"));
        let mistakes = load(&[("redis-url", "redis://:hunter2@[::")], &[]).unwrap_err();
        assert!(mistakes.iter().all(|mistake| !mistake.to_string().contains("hunter2")));
    }

    #[test]
    fn what_does_nothing_yet_is_checked_and_named() {
        let config = load(&[("auth", "insecure-query"), ("recovery-window", "1m")], &[]).unwrap();
        assert_eq!(config.without_effect, ["--recovery-window"]);
        assert!(load(&[("auth", "insecure-query"), ("recovery-window", "long")], &[]).is_err());
    }

    #[test]
    fn every_default_is_valid() {
        assert!(load(&[("auth", "insecure-query")], &[]).is_ok());
    }
}
