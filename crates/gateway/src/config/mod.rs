//! What `trunkline serve` was told: as written ([`source`]), then checked and usable ([`Config`]).
//! Nothing past this module sees an unparsed value, and all mistakes are reported at once.

mod namespaces;
mod parse;
pub mod settings;
pub mod source;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, net::SocketAddr, num::NonZeroU32, time::Duration};

use http::Uri;
use jsonwebtoken::DecodingKey;

pub use namespaces::NamespacePath;
use namespaces::namespaces;
use parse::{Unit, origins};
use source::{Raw, Values};
use trunkline_adapter::{Listen, Mode, SubscriptionMode};
use trunkline_redis::{Topology, UrlError};

use self::settings::Setting;
use crate::auth;

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
#[derive(Clone, Debug)]
pub enum Auth {
    /// A signed token.
    Jwt(JwtConfig),
    /// Whom this server names.
    Hook(Uri),
    /// Whose session the cookie names.
    Session(SessionConfig),
    /// `query.userId`. For development.
    InsecureQuery,
}

/// What tokens are checked against. At least one of the keys is there.
#[derive(Clone)]
pub struct JwtConfig {
    /// The key of HS tokens.
    pub secret: Option<Secret>,
    /// The key of RS, PS, ES or EdDSA tokens.
    pub public_key: Option<DecodingKey>,
    /// Where more such keys are.
    pub jwks_url: Option<Uri>,
    /// `iss`, when it is checked.
    pub issuer: Option<String>,
    /// `aud`, when it is checked.
    pub audience: Option<String>,
    /// How far clocks may differ.
    pub leeway: Duration,
}

impl fmt::Debug for JwtConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtConfig").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// How sessions are found.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Where they are.
    pub redis: Topology,
    /// What their cookies are signed with.
    pub secret: Secret,
    /// What their keys start with.
    pub prefix: String,
}

/// Which users may send notifications to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// All.
    All,
    /// Those whose credentials say so.
    Permitted,
    /// None.
    Nobody,
}

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Times a second.
    pub per_second: NonZeroU32,
    /// Times at once.
    pub burst: NonZeroU32,
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
        let accept_rate = self.required("accept-rate", parse::rate);
        let rebalance = self.required("rebalance", parse::share);
        let leeway = self.required("jwt-leeway", |text| parse::duration(text, Unit::Seconds));
        let auth = self.auth(leeway, redis.as_ref());
        let cookie = self.optional("session-cookie", cookie_name);
        let notify = self.required("notify", |text| {
            let choices = [("all", Notify::All), ("permitted", Notify::Permitted), ("none", Notify::Nobody)];
            parse::one_of(text, &choices)
        });
        let api_key = self.optional("api-key", long_secret);
        let push_namespaces =
            self.required("push-namespaces", |text| Ok(parse::list(text).into_iter().map(str::to_owned).collect()));
        let namespaces = self.required("namespaces", namespaces);
        let origins = self.optional("cors-origins", origins);
        let sharded = self.required("adapter", |text| parse::one_of(text, &[("classic", false), ("sharded", true)]));
        let adapter = sharded.and_then(|sharded| self.adapter(sharded));
        let channel_prefix = self.required("channel-prefix", channel_prefix);
        let rate_limit = self.required("rate-limit", parse::rate);
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
        let broadcast_rate = self.required("presence-broadcast-rate", parse::rate);
        let presence_grace = self.required("presence-grace", |text| parse::duration(text, Unit::Seconds));
        let log_max_entries = self.required("log-max-entries", |text| parse::number(text, 1));
        let log_max_age = self.required("log-max-age", |text| parse::positive(text, Unit::Seconds));
        let drain_window = self.required("drain-window", |text| parse::duration(text, Unit::Seconds));
        let drain_timeout = self.required("drain-timeout", |text| parse::positive(text, Unit::Seconds));
        let websocket_lane = self.required("websocket-lane", parse::switch);
        let flush_delay = self.required("flush-delay", |text| parse::duration(text, Unit::Milliseconds));
        let outbox_limit = self.required("outbox-limit", |text| parse::number(text, 1024));
        let stall_timeout = self.required("stall-timeout", |text| parse::positive(text, Unit::Seconds));
        let recovery_window = self.required("recovery-window", |text| parse::duration(text, Unit::Seconds));
        let connection_state_recovery = self.connection_state_recovery(redis.as_ref(), websocket_lane);
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
            accept_rate: accept_rate?,
            rebalance: rebalance?,
            cookie: cookie.unwrap_or_else(|| default_cookie(auth.as_ref()).to_owned()),
            auth: auth?,
            leeway: leeway?,
            notify: notify?,
            push_namespaces: push_namespaces?,
            rate_limit: rate_limit?,
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
            presence_broadcast_max: broadcast_max?,
            presence_broadcast_rate: broadcast_rate?,
            presence_grace: presence_grace?,
            log_max_entries: log_max_entries?,
            log_max_age: log_max_age?,
            connection_state_recovery: connection_state_recovery?,
            recovery_window: recovery_window?,
            drain_window: drain_window?,
            drain_timeout: drain_timeout?,
            log_format: log_format?,
            log_level: log_level?,
            demo_tokens: demo_tokens?,
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

    fn auth(&mut self, leeway: Option<Duration>, redis: Option<&Topology>) -> Option<Auth> {
        let secret = self.optional("jwt-secret", |text| {
            if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(Secret(text.to_owned())) }
        });
        let public_key = self.optional("jwt-public-key", public_key);
        let jwks_url = self.optional("jwks-url", parse::url);
        let hook = self.optional("auth-hook-url", parse::url);
        let [issuer, audience] = ["jwt-issuer", "jwt-audience"].map(|name| self.raw(name).map(|raw| raw.text));
        let mode = self.required("auth", |text| match text {
            "jwt" | "session" | "hook" | "insecure-query" => Ok(text.to_owned()),
            _ => Err("expected one of jwt, session, hook, insecure-query".to_owned()),
        })?;
        match mode.as_str() {
            "insecure-query" => Some(Auth::InsecureQuery),
            "hook" => hook.map(Auth::Hook).or_else(|| {
                self.missing("auth-hook-url", "hook needs a server to ask: set --auth-hook-url");
                None
            }),
            "session" => self.session(redis),
            _ if secret.is_none() && public_key.is_none() && jwks_url.is_none() => {
                let problem = "jwt needs a key: set --jwt-secret (or TRUNKLINE_JWT_SECRET), --jwt-public-key or --jwks-url \
                    (or --auth insecure-query for development)";
                // One that was given and can't be used is a mistake already.
                let given = ["jwt-secret", "jwt-public-key", "jwks-url"].iter().any(|name| self.raw(name).is_some());
                if !given {
                    self.mistakes.push(Mistake::new("--auth", problem.to_owned()));
                }
                None
            }
            _ => Some(Auth::Jwt(JwtConfig { secret, public_key, jwks_url, issuer, audience, leeway: leeway? })),
        }
    }

    fn session(&mut self, redis: Option<&Topology>) -> Option<Auth> {
        let secret = self.optional("session-secret", |text| Ok(Secret(text.to_owned())));
        let prefix = self.required("session-prefix", |text| Ok(text.to_owned()));
        if secret.is_none() {
            self.missing("session-secret", "session needs what the cookies are signed with: set --session-secret");
        }
        if redis.is_none() {
            self.missing("redis-url", "session needs the Redis that has the sessions: set --redis-url");
        }
        Some(Auth::Session(SessionConfig { redis: redis?.clone(), secret: secret?, prefix: prefix? }))
    }

    /// Notes that a setting is missing, unless it is there and wrong.
    fn missing(&mut self, name: &str, problem: &str) {
        if self.raw(name).is_none() {
            self.mistakes.push(Mistake::new("--auth", problem.to_owned()));
        }
    }

    fn adapter(&mut self, sharded: bool) -> Option<Mode> {
        let sharded_modes = [
            ("dynamic", Mode::Sharded(SubscriptionMode::Dynamic)),
            ("static", Mode::Sharded(SubscriptionMode::Static)),
            ("dynamic-private", Mode::Sharded(SubscriptionMode::DynamicPrivate)),
        ];
        let classic_modes = [("rooms", Mode::Classic(Listen::Rooms)), ("pattern", Mode::Classic(Listen::Pattern))];
        let modes: &[_] = if sharded { &sharded_modes } else { &classic_modes };
        match self.optional("adapter-subscriptions", |text| parse::one_of(text, modes)) {
            None if self.values.contains_key("adapter-subscriptions") => None,
            None => modes.first().map(|(_, mode)| *mode),
            chosen => chosen,
        }
    }

    fn connection_state_recovery(&mut self, redis: Option<&Topology>, websocket_lane: Option<bool>) -> Option<bool> {
        const NAME: &str = "connection-state-recovery";
        self.required(NAME, |text| match parse::switch(text)? {
            true if redis.is_some_and(Topology::is_cluster) => {
                Err("needs one Redis, or one with Sentinels: nothing puts the \
                messages of a Redis Cluster's masters into one order; clients can bring cursors instead"
                    .to_owned())
            }
            true if websocket_lane == Some(false) => Err("needs --websocket-lane on".to_owned()),
            on => Ok(on),
        })
    }
}

fn topology(text: &str) -> Result<Topology, String> {
    text.parse().map_err(|error: UrlError| error.to_string())
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

fn public_key(text: &str) -> Result<DecodingKey, String> {
    if text.contains("-----BEGIN") {
        return auth::public_key(text);
    }
    let pem = std::fs::read_to_string(text).map_err(|error| format!("could not read {text}: {error}"))?;
    auth::public_key(&pem).map_err(|problem| format!("{text} {problem}"))
}

/// The names that Node's libraries give the two.
fn default_cookie(auth: Option<&Auth>) -> &'static str {
    if matches!(auth, Some(Auth::Session(_))) { "connect.sid" } else { "token" }
}

fn cookie_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if !text.is_empty() && text.chars().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("expected the name of a cookie".to_owned())
    }
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
