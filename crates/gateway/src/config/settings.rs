//! Every setting of `trunkline serve`, in one table: flag, environment variables, TOML key, default and help
//! all come from here.

/// One setting. Its flag is `--name`, its TOML key the name with `_`.
#[derive(Debug)]
pub struct Setting {
    /// The name, with `-`.
    pub name: &'static str,
    /// What stands for its value in `--help`.
    pub value: &'static str,
    /// Other environment variables that are understood besides `TRUNKLINE_<NAME>`, in order of precedence.
    pub aliases: &'static [&'static str],
    /// What holds when nobody says anything.
    pub default: Option<&'static str>,
    /// One line.
    pub help: &'static str,
    /// Whether its value must not be shown.
    pub secret: bool,
}

const PLAIN: Setting = Setting { name: "", value: "", aliases: &[], default: None, help: "", secret: false };

/// All of them, in the order of `--help`.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "listen",
        value: "ADDRESS",
        aliases: &["PORT", "SOCKET_PORT"],
        default: Some("0.0.0.0:3000"),
        help: "Where clients connect; a port alone listens on all addresses, port 0 picks one and the first log line says which",
        ..PLAIN
    },
    Setting {
        name: "redis-url",
        value: "URL",
        aliases: &["REDIS_URL"],
        help: "redis://, rediss:// (TLS), several with commas (Redis Cluster), or redis+sentinel://host,host/master; without it one node runs by itself, in memory",
        secret: true,
        ..PLAIN
    },
    Setting {
        name: "internal-listen",
        value: "ADDRESS",
        help: "Port for /metrics and node-to-node traffic; without it they are on the public listener",
        ..PLAIN
    },
    Setting { name: "node-id", value: "NAME", help: "This node's name; default: host name and a random part", ..PLAIN },
    Setting { name: "advertise", value: "HOST:PORT", help: "Where other nodes reach this one", ..PLAIN },
    Setting {
        name: "cluster-secret",
        value: "SECRET",
        help: "What nodes sign session ids and requests to each other with, the same on all; without it: one kept in Redis",
        secret: true,
        ..PLAIN
    },
    Setting {
        name: "accept-rate",
        value: "RATE/BURST",
        default: Some("5000/5000"),
        help: "Connections accepted a second, and at once; more wait their turn. off: as they come",
        ..PLAIN
    },
    Setting {
        name: "rebalance",
        value: "SHARE",
        default: Some("off"),
        help: "Share of its clients, such as 2%, that a node with more than its part sends elsewhere per minute, or off",
        ..PLAIN
    },
    Setting {
        name: "auth",
        value: "MODE",
        default: Some("jwt"),
        help: "jwt, session, hook or insecure-query (development: query.userId is believed)",
        ..PLAIN
    },
    Setting {
        name: "jwt-secret",
        value: "SECRET",
        aliases: &["JWT_SECRET"],
        help: "Key of HS256, HS384 and HS512 tokens",
        secret: true,
        ..PLAIN
    },
    Setting {
        name: "jwt-public-key",
        value: "PEM|PATH",
        help: "Key of RS, PS, ES and EdDSA tokens: the PEM text or a path to it",
        ..PLAIN
    },
    Setting {
        name: "jwks-url",
        value: "URL",
        help: "Where to fetch a set of such keys; it is looked into again every 10 minutes, and when a token names a new key",
        ..PLAIN
    },
    Setting { name: "jwt-issuer", value: "ISS", help: "Accept tokens of this issuer only", ..PLAIN },
    Setting { name: "jwt-audience", value: "AUD", help: "Accept tokens for this audience only", ..PLAIN },
    Setting {
        name: "jwt-leeway",
        value: "DURATION",
        default: Some("2s"),
        help: "How far clocks may differ when a token's times are checked; an open socket is closed that long after its token's end",
        ..PLAIN
    },
    Setting {
        name: "auth-hook-url",
        value: "URL",
        help: "With --auth hook: asked by POST {auth, query, headers, address} who a client is; answers 200 {userId, expiresAt?, notifies?}, or 401",
        ..PLAIN
    },
    Setting {
        name: "session-cookie",
        value: "NAME",
        help: "The cookie that holds the token (--auth jwt, default token) or the session (--auth session, default connect.sid)",
        ..PLAIN
    },
    Setting {
        name: "session-secret",
        value: "SECRET",
        aliases: &["SESSION_SECRET"],
        help: "With --auth session: what express-session signs its cookies with",
        secret: true,
        ..PLAIN
    },
    Setting {
        name: "session-prefix",
        value: "PREFIX",
        default: Some("sess:"),
        help: "With --auth session: what the keys of connect-redis start with, in the Redis at --redis-url",
        ..PLAIN
    },
    Setting {
        name: "notify",
        value: "WHO",
        default: Some("permitted"),
        help: "Which users may send notifications to others: all, none, or those permitted by their token (role admin or service, scope notifications:send); back ends always may",
        ..PLAIN
    },
    Setting {
        name: "namespaces",
        value: "LIST",
        default: Some("/=native"),
        help: "Which dialect each namespace speaks: /=native,/chat=native; each that fits /dynamic-{name}=native is a realm of its own",
        ..PLAIN
    },
    Setting {
        name: "push-namespaces",
        value: "LIST",
        default: Some("/notifications"),
        help: "Those of the namespaces whose clients only listen: what they send is refused",
        ..PLAIN
    },
    Setting {
        name: "cors-origins",
        value: "LIST",
        aliases: &["SOCKET_CORS_ORIGIN", "CLIENT_URL"],
        help: "Origins that browsers may connect from, or *; checked on WebSocket upgrades too. Without it: the same origin",
        ..PLAIN
    },
    Setting {
        name: "api-key",
        value: "KEY",
        help: "For the HTTP interface for back ends, which is closed without one",
        secret: true,
        ..PLAIN
    },
    Setting {
        name: "adapter",
        value: "MODE",
        default: Some("classic"),
        help: "classic, or sharded (Redis 7 and newer): which of Node's Redis adapters the others have",
        ..PLAIN
    },
    Setting {
        name: "adapter-subscriptions",
        value: "MODE",
        help: "What a node listens to. Classic: rooms (default: those with sockets here) or pattern (all, as Node does). Sharded: dynamic (default), static or dynamic-private, the same as on Node servers",
        ..PLAIN
    },
    Setting {
        name: "channel-prefix",
        value: "PREFIX",
        default: Some("socket.io"),
        help: "First part of the adapter's channels, as `key` of Node's adapter",
        ..PLAIN
    },
    Setting {
        name: "rate-limit",
        value: "RATE/BURST",
        default: Some("200/4000"),
        help: "Events a second per socket, and how many at once; or off, which switches off dialects' own limits too",
        ..PLAIN
    },
    Setting { name: "ping-interval", value: "MS", default: Some("25000"), help: "Milliseconds between pings", ..PLAIN },
    Setting {
        name: "ping-timeout",
        value: "MS",
        default: Some("20000"),
        help: "Milliseconds a client has to answer a ping",
        ..PLAIN
    },
    Setting {
        name: "transports",
        value: "LIST",
        default: Some("polling,websocket"),
        help: "polling, websocket or both",
        ..PLAIN
    },
    Setting {
        name: "max-payload",
        value: "BYTES",
        default: Some("1000000"),
        help: "Size of one message, announced to clients, the same on all transports",
        ..PLAIN
    },
    Setting {
        name: "presence-broadcast",
        value: "MODE",
        default: Some("all"),
        help: "Who hears of users going online and offline: all, watch or off",
        ..PLAIN
    },
    Setting {
        name: "presence-broadcast-max",
        value: "USERS",
        default: Some("1000"),
        help: "Online users up to which everybody hears of it, beyond it those who watch; and members of a conversation on one node up to which they hear who joins",
        ..PLAIN
    },
    Setting {
        name: "presence-broadcast-rate",
        value: "RATE/BURST",
        default: Some("50000/500000"),
        help: "Deliveries a second and at once that this node's announcements to everybody may cause, beyond it only those who watch hear of it; off",
        ..PLAIN
    },
    Setting {
        name: "presence-grace",
        value: "DURATION",
        default: Some("5s"),
        help: "How long a user who lost the last connection still counts as online",
        ..PLAIN
    },
    Setting {
        name: "log-max-entries",
        value: "COUNT",
        default: Some("10000"),
        help: "Messages kept per conversation",
        ..PLAIN
    },
    Setting {
        name: "log-max-age",
        value: "DURATION",
        default: Some("30d"),
        help: "How long messages are kept",
        ..PLAIN
    },
    Setting {
        name: "drain-window",
        value: "DURATION",
        default: Some("8s"),
        help: "Time over which clients are closed at shutdown",
        ..PLAIN
    },
    Setting {
        name: "drain-timeout",
        value: "DURATION",
        default: Some("10s"),
        help: "When shutdown ends whatever is left",
        ..PLAIN
    },
    Setting {
        name: "websocket-lane",
        value: "on|off",
        default: Some("on"),
        help: "Whether clients that open a WebSocket straight away are served by the lean lane; off: all by socketioxide",
        ..PLAIN
    },
    Setting {
        name: "flush-delay",
        value: "MS",
        default: Some("0"),
        help: "Milliseconds that packets for many gather, under load on their way in and before they are written",
        ..PLAIN
    },
    Setting {
        name: "outbox-limit",
        value: "BYTES",
        default: Some("1048576"),
        help: "Bytes that may wait for one client, before it counts as a slow consumer",
        ..PLAIN
    },
    Setting {
        name: "stall-timeout",
        value: "DURATION",
        default: Some("10s"),
        help: "How long a client of the WebSocket lane may read nothing of what waits for it",
        ..PLAIN
    },
    Setting {
        name: "connection-state-recovery",
        value: "on|off",
        default: Some("off"),
        help: "Stock clients get back their id, rooms and what they missed after a cut; events then have one more argument, as on Node; the same on all nodes",
        ..PLAIN
    },
    Setting {
        name: "recovery-window",
        value: "DURATION",
        default: Some("120s"),
        help: "How long after a cut a connection can be recovered",
        ..PLAIN
    },
    Setting {
        name: "workers",
        value: "N",
        help: "Threads that do the work; without it, as many as there are cores. Fewer where several nodes share them",
        ..PLAIN
    },
    Setting { name: "log-format", value: "FORMAT", default: Some("pretty"), help: "pretty or json", ..PLAIN },
    Setting {
        name: "log-level",
        value: "FILTER",
        aliases: &["RUST_LOG", "LOG_LEVEL"],
        default: Some("info"),
        help: "error, warn, info, debug, trace, or a filter such as info,trunkline_adapter=debug",
        ..PLAIN
    },
    Setting {
        name: "demo-tokens",
        value: "on|off",
        default: Some("off"),
        help: "Development: the demo page may mint tokens for any user by itself",
        ..PLAIN
    },
    Setting { name: "config", value: "PATH", help: "TOML file; keys are the flags' names with _", ..PLAIN },
];

impl Setting {
    /// `TRUNKLINE_REDIS_URL` of `redis-url`.
    pub fn variable(&self) -> String {
        format!("TRUNKLINE_{}", self.name.replace('-', "_").to_uppercase())
    }

    /// `redis_url` of `redis-url`.
    pub fn key(&self) -> String {
        self.name.replace('-', "_")
    }

    /// The setting with this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }
}
