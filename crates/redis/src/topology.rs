//! What there is to reach, and how.

use std::{
    fmt,
    path::PathBuf,
    str::FromStr,
    sync::{Arc, OnceLock},
};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use redis::{ProtocolVersion, RedisConnectionInfo};
use tokio_rustls::rustls::ClientConfig;

use crate::{
    sentinels::Sentinels,
    url::{self, UrlError},
};

/// Where Redis is, what it is made of, and how to get in. Cheap to clone; prints no secret.
///
/// | form | what |
/// |---|---|
/// | `redis://[user:password@]host[:6379][/db]` | one server |
/// | `unix:///path/to/socket[?db=n&user=u&password=p]` | one server on this machine |
/// | `redis://a:7000,redis://b:7000` | a Cluster, found from any of these; `redis+cluster://a:7000,b:7000` too |
/// | `redis+sentinel://[user:password@]s1:26379,s2:26379/master[/db]` | the master of that name |
///
/// With `rediss` in place of `redis`, all connections use TLS. Options follow `?`: `ca`, `cert` and `key` name PEM files (the
/// authority to trust instead of the machine's; the client's own certificate and key), `sentinel_user` and
/// `sentinel_password` are for the Sentinels, which know no others. What stands in user, password or options
/// is percent-decoded.
#[derive(Clone)]
pub struct Topology(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) kind: Kind,
    pub(crate) access: Access,
    /// Followed from the first time that anybody asks.
    pub(crate) sentinels: OnceLock<Sentinels>,
    /// For the Sentinels.
    pub(crate) sentinel_access: Access,
    pub(crate) db: i64,
}

/// What Redis is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// One server.
    Single(Address),
    /// A master and its replicas, watched by Sentinels.
    Sentinel {
        /// The Sentinels to ask; one that answers is enough.
        sentinels: Vec<Address>,
        /// The name by which they know the master.
        master: String,
    },
    /// A Redis Cluster.
    Cluster {
        /// The nodes to ask for the others; one that answers is enough.
        seeds: Vec<Address>,
    },
}

/// Where a server listens.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// Host name or IP address, without brackets, and port.
    Tcp {
        /// The host.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
    /// The path of a socket.
    Unix(PathBuf),
}

/// How to get into a server: the same for all of one kind.
#[derive(Clone, Default)]
pub(crate) struct Access {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Topology {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// What Redis is made of.
    pub fn kind(&self) -> &Kind {
        &self.0.kind
    }

    /// Whether it is a Redis Cluster.
    pub fn is_cluster(&self) -> bool {
        matches!(self.0.kind, Kind::Cluster { .. })
    }

    /// Whether another server may take the place of one that is gone.
    pub(crate) fn elects_masters(&self) -> bool {
        !matches!(self.0.kind, Kind::Single(_))
    }

    /// The addresses of the URL.
    pub(crate) fn addresses(&self) -> &[Address] {
        match &self.0.kind {
            Kind::Single(address) => std::slice::from_ref(address),
            Kind::Sentinel { sentinels, .. } => sentinels,
            Kind::Cluster { seeds } => seeds,
        }
    }

    pub(crate) fn access(&self) -> &Access {
        &self.0.access
    }

    /// What the Sentinels say, if there are any. Followed by all clones together.
    pub(crate) fn sentinels(&self) -> Option<&Sentinels> {
        let Kind::Sentinel { sentinels, master } = &self.0.kind else { return None };
        let access = &self.0.sentinel_access;
        Some(self.0.sentinels.get_or_init(|| Sentinels::follow(sentinels, access, master)))
    }

    pub(crate) fn sentinel_access(&self) -> &Access {
        &self.0.sentinel_access
    }

    pub(crate) fn db(&self) -> i64 {
        self.0.db
    }
}

impl Access {
    /// As the client library takes it. RESP3, because only there the end of a connection is told and messages can be told
    /// from answers.
    pub(crate) fn settings(&self, db: i64) -> RedisConnectionInfo {
        let mut settings = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_db(db);
        if let Some(user) = &self.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        settings
    }
}

impl FromStr for Topology {
    type Err = UrlError;

    /// Parses a URL, and reads the files that it names.
    ///
    /// # Errors
    /// Says which part can't be used and what would do, without repeating a secret.
    fn from_str(url: &str) -> Result<Self, UrlError> {
        url::parse(url).map(Self::new)
    }
}

/// What would mean something else in a URL.
const RESERVED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'/').add(b'?').add(b'#').add(b'@').add(b',');

/// As in the URL, without user, password and options.
impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = match (&self.0.kind, self.0.access.tls.is_some()) {
            (Kind::Single(Address::Unix(_)), _) => ("unix", String::new()),
            (Kind::Single(_), tls) => (if tls { "rediss" } else { "redis" }, db_path(self.0.db)),
            (Kind::Cluster { .. }, tls) => (if tls { "rediss+cluster" } else { "redis+cluster" }, String::new()),
            (Kind::Sentinel { master, .. }, tls) => {
                let path = format!("/{}{}", utf8_percent_encode(master, RESERVED), db_path(self.0.db));
                (if tls { "rediss+sentinel" } else { "redis+sentinel" }, path)
            }
        };
        write!(f, "{scheme}://")?;
        for (position, address) in self.addresses().iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(f, "{comma}{address}")?;
        }
        f.write_str(&rest)
    }
}

fn db_path(db: i64) -> String {
    if db == 0 { String::new() } else { format!("/{db}") }
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topology({self})")
    }
}

impl Address {
    /// A host, with or without the brackets of an IPv6 address, and a port.
    pub fn tcp(host: &str, port: u16) -> Self {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Self::Tcp { host: host.into(), port }
    }

    /// From `host:port` as Redis writes it in redirections: an IPv6 address has no brackets there.
    pub(crate) fn of_redirect(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Self::tcp(host, port.parse().ok()?))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => {
                f.write_str(&path.to_string_lossy().replace('%', "%25").replace('?', "%3F").replace('@', "%40"))
            }
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
