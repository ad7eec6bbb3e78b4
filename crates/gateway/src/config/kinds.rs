//! What settings can say: the kinds of value that [`Config`](super::Config) is made of.

use std::{fmt, num::NonZeroU32, time::Duration};

use http::Uri;
use jsonwebtoken::DecodingKey;
use trunkline_redis::Topology;

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
        /// Beyond it those who watch are told.
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

impl DialectName {
    /// All of them, with the names that `--namespaces` takes.
    pub const ALL: [(&'static str, Self); 5] = [
        ("native", Self::Native),
        ("online-users", Self::OnlineUsers),
        ("rooms", Self::Rooms),
        ("conversations", Self::Conversations),
        ("showcase", Self::Showcase),
    ];
}
