//! A socket as cluster members describe it to each other.

use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use trunkline_hub::{Handshake, Socket};

use crate::transcode::date;

/// Headers that prove who the client is. They don't leave the node, whatever a Node server would send.
const SECRET_HEADERS: [&str; 5] = ["authorization", "proxy-authorization", "cookie", "x-api-key", "x-auth-token"];

/// Fields of `auth` and parameters of the query that do the same.
const SECRET_FIELDS: [&str; 6] = ["token", "access_token", "accessToken", "jwt", "password", "apiKey"];

/// A socket on any node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteSocket {
    /// Its public id.
    pub id: String,
    /// What it brought along when it connected, with the keys that a Node server uses: `headers`, `time`, `address`,
    /// `xdomain`, `secure`, `issued`, `url`, `query`, `auth`. Credentials of this project's own nodes are left out.
    #[serde(default)]
    pub handshake: Value,
    /// The rooms it is in, its own id's among them.
    #[serde(default)]
    pub rooms: Vec<String>,
    /// What its server keeps about it. For sockets of this project `userId`, when there is a user.
    #[serde(default)]
    pub data: Value,
}

impl RemoteSocket {
    pub(crate) fn of(socket: &Socket) -> Self {
        Self {
            id: socket.id().to_string(),
            handshake: handshake(socket.handshake()),
            rooms: socket.rooms().iter().map(ToString::to_string).collect(),
            data: socket.user().map_or_else(|| json!({}), |user| json!({ "userId": &**user })),
        }
    }
}

/// All nine keys, always: code on Node servers reads them without asking.
fn handshake(handshake: &Handshake) -> Value {
    let issued = handshake.time().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let issued = i64::try_from(issued).unwrap_or(i64::MAX);
    json!({
        "headers": headers(handshake),
        "time": date::text(issued).unwrap_or_default(),
        "address": handshake.address().map(|address| address.ip()).map_or_else(String::new, |ip| ip.to_string()),
        "xdomain": handshake.header("origin").is_some(),
        "secure": false,
        "issued": issued,
        "url": url(handshake),
        "query": query(handshake),
        "auth": auth(&handshake.auth()),
    })
}

fn headers(handshake: &Handshake) -> Map<String, Value> {
    let mut headers = Map::new();
    for (name, value) in handshake.headers().filter(|(name, _)| !SECRET_HEADERS.contains(name)) {
        // Several of one name are one list, as in Node.
        match headers.get_mut(name) {
            Some(Value::String(values)) => {
                values.push_str(", ");
                values.push_str(value);
            }
            _ => drop(headers.insert(name.to_owned(), value.into())),
        }
    }
    headers
}

fn url(handshake: &Handshake) -> String {
    let path = handshake.url().split('?').next().unwrap_or_default();
    let query: Vec<_> = parameters(handshake).map(|(raw, ..)| raw).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

fn query(handshake: &Handshake) -> Map<String, Value> {
    parameters(handshake).map(|(_, name, value)| (name, value.into())).collect()
}

/// The parameters that may be shown: as they stand, and decoded.
fn parameters(handshake: &Handshake) -> impl Iterator<Item = (&str, String, String)> {
    handshake.query().split('&').filter(|raw| !raw.is_empty()).filter_map(|raw| {
        let (name, value) = raw.split_once('=').unwrap_or((raw, ""));
        let name = percent_decoded(name);
        (!SECRET_FIELDS.contains(&&*name)).then(|| (raw, name, percent_decoded(value)))
    })
}

fn auth(auth: &Value) -> Value {
    let Value::Object(fields) = auth else { return json!({}) };
    let shown = fields.iter().filter(|(name, _)| !SECRET_FIELDS.contains(&name.as_str()));
    Value::Object(shown.map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let hex = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match (first, hex.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
