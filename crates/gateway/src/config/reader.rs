//! From the values of all layers to a [`Config`]: each setting read once, each mistake noted.

use std::time::Duration;

use jsonwebtoken::DecodingKey;
use trunkline_adapter::{Listen, Mode, SubscriptionMode};
use trunkline_redis::{Topology, UrlError};

use super::{
    Auth, Config, JwtConfig, LogFormat, Mistake, Notify, Origins, PresenceBroadcast, Secret, SessionConfig,
    namespaces::namespaces,
    parse::{self, Unit, origins},
    settings::Setting,
    source::{Raw, Values},
};
use crate::auth;

/// Reads values and notes every mistake on the way, so that one run shows them all.
pub(super) struct Reader<'a> {
    pub(super) values: &'a Values,
    pub(super) mistakes: &'a mut Vec<Mistake>,
}

impl Reader<'_> {
    pub(super) fn config(mut self) -> Option<Config> {
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
        let workers = self.optional("workers", |text| {
            text.parse().map_err(|_| "expected a number of threads, at least 1".to_owned())
        });
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
            workers,
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
            if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned().into()) }
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
        let secret = self.optional("session-secret", |text| Ok(text.to_owned().into()));
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
    Ok(text.to_owned().into())
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
