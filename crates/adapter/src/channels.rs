//! Every channel name of the classic adapter, and the way back from a name to what it is for.
//!
//! `P` is the prefix, `N` a namespace with its leading slash, `R` a room, `U` the uid of one cluster member:
//!
//! | channel | carries |
//! |---|---|
//! | `P#N#` | broadcasts to everyone, or to several rooms |
//! | `P#N#R#` | broadcasts to one room |
//! | `P-request#N#` | requests; who subscribes to it is counted as a member and must answer |
//! | `P-response#N#` | answers, for all to see |
//! | `P-response#N#U#` | answers, for one member |
//! | `P#N`, `P-request#N` | the same, from emitters that forget the last `#` |
//! | `P-probe#U#` | messages of a member of ours to itself |

/// Builds and reads channel names for one prefix and one member.
#[derive(Debug)]
pub(crate) struct Channels {
    uid: String,
    broadcast: String,
    request: String,
    response: String,
    probe: String,
}

/// What a channel is for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Purpose<'a> {
    /// `room` is what a one-room channel says about its targets, `None` on the channel for everyone. It is a
    /// filter only: whom a broadcast is for stands in the message.
    Broadcast {
        namespace: &'a str,
        room: Option<&'a str>,
    },
    Request {
        namespace: &'a str,
    },
    Response {
        namespace: &'a str,
    },
}

impl Channels {
    pub(crate) fn new(prefix: &str, uid: &str) -> Self {
        Self {
            uid: uid.to_owned(),
            broadcast: format!("{prefix}#"),
            request: format!("{prefix}-request#"),
            response: format!("{prefix}-response#"),
            probe: format!("{prefix}-probe#"),
        }
    }

    /// Where a broadcast to `rooms` goes: a single room has a channel of its own.
    pub(crate) fn broadcast(&self, namespace: &str, rooms: &[impl AsRef<str>]) -> String {
        match rooms {
            [room] => self.room(namespace, room.as_ref()),
            _ => self.everyone(namespace),
        }
    }

    /// Where a broadcast to one room goes.
    pub(crate) fn room(&self, namespace: &str, room: &str) -> String {
        [&self.broadcast, namespace, "#", room, "#"].concat()
    }

    /// Where all other broadcasts go.
    pub(crate) fn everyone(&self, namespace: &str) -> String {
        [&self.broadcast, namespace, "#"].concat()
    }

    /// The pattern that matches all broadcast channels of a namespace.
    ///
    /// Glob characters of the prefix and the namespace are escaped, which Node does not do: with a `*` in its prefix
    /// a Node server also hears other clusters.
    pub(crate) fn pattern(&self, namespace: &str) -> String {
        let mut pattern = escape_glob(&self.broadcast);
        pattern.push_str(&escape_glob(namespace));
        pattern.push_str("#*");
        pattern
    }

    /// The pattern that matches the channels of all rooms that begin with `prefix`.
    pub(crate) fn family(&self, namespace: &str, prefix: &str) -> String {
        let channel = escape_glob(&format!("{}{namespace}#{prefix}", self.broadcast));
        format!("{channel}*")
    }

    pub(crate) fn request(&self, namespace: &str) -> String {
        format!("{}{namespace}#", self.request)
    }

    pub(crate) fn response(&self, namespace: &str) -> String {
        format!("{}{namespace}#", self.response)
    }

    pub(crate) fn response_to(&self, namespace: &str, uid: &str) -> String {
        format!("{}{namespace}#{uid}#", self.response)
    }

    /// The channels that a member subscribes to by name, whatever rooms it has.
    pub(crate) fn exact(&self, namespace: &str) -> [String; 5] {
        let [broadcast, request] = [&self.broadcast, &self.request].map(|prefix| format!("{prefix}{namespace}"));
        let own = self.response_to(namespace, &self.uid);
        [self.request(namespace), self.response(namespace), own, broadcast, request]
    }

    /// Where this member publishes to itself. Node has no such channel.
    pub(crate) fn probe(&self) -> String {
        format!("{}{}#", self.probe, self.uid)
    }

    /// What `channel` is for, `None` when it is none of ours.
    ///
    /// A namespace ends at the first `#` after its start, so it can't hold one; a room can.
    pub(crate) fn purpose<'a>(&self, channel: &'a str) -> Option<Purpose<'a>> {
        if let Some(rest) = channel.strip_prefix(&self.broadcast) {
            let (namespace, suffix) = rest.split_once('#').unwrap_or((rest, ""));
            // Some emitters forget the last `#`. Node then cuts a letter off the room and drops the message; without
            // the filter it arrives.
            let room = suffix.strip_suffix('#').filter(|room| !room.is_empty());
            return Some(Purpose::Broadcast { namespace, room });
        }
        if let Some(rest) = channel.strip_prefix(&self.request) {
            return Some(Purpose::Request { namespace: rest.strip_suffix('#').unwrap_or(rest) });
        }
        let rest = channel.strip_prefix(&self.response)?.strip_suffix('#')?;
        match rest.split_once('#') {
            None => Some(Purpose::Response { namespace: rest }),
            Some((namespace, uid)) => (uid == self.uid).then_some(Purpose::Response { namespace }),
        }
    }
}

fn escape_glob(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels() -> Channels {
        Channels::new("socket.io", "me")
    }

    #[test]
    fn names_are_those_of_node() {
        let channels = channels();
        assert_eq!(channels.broadcast("/", &[] as &[&str]), "socket.io#/#");
        assert_eq!(channels.broadcast("/", &["r1"]), "socket.io#/#r1#");
        assert_eq!(channels.broadcast("/admin", &["r1", "r2"]), "socket.io#/admin#");
        assert_eq!(
            channels.exact("/")[..3],
            ["socket.io-request#/#", "socket.io-response#/#", "socket.io-response#/#me#"]
        );
    }

    #[test]
    fn glob_characters_are_no_wildcards() {
        assert_eq!(Channels::new("a*b", "me").pattern("/x[1]?"), r"a\*b#/x\[1\]\?#*");
    }

    #[test]
    fn a_name_is_read_back() {
        let channels = channels();
        let broadcast = |room| Some(Purpose::Broadcast { namespace: "/", room });
        assert_eq!(channels.purpose("socket.io#/#"), broadcast(None));
        assert_eq!(channels.purpose("socket.io#/#r1#"), broadcast(Some("r1")));
        assert_eq!(channels.purpose("socket.io#/#a#b#"), broadcast(Some("a#b")));
        assert_eq!(channels.purpose("socket.io#/#r1"), broadcast(None));
        assert_eq!(channels.purpose("socket.io#/"), broadcast(None));
        assert_eq!(channels.purpose("socket.io-request#/"), Some(Purpose::Request { namespace: "/" }));
        assert_eq!(channels.purpose("socket.io-request#/admin#"), Some(Purpose::Request { namespace: "/admin" }));
        assert_eq!(channels.purpose("socket.io-response#/#"), Some(Purpose::Response { namespace: "/" }));
        assert_eq!(channels.purpose("socket.io-response#/#me#"), Some(Purpose::Response { namespace: "/" }));
    }

    #[test]
    fn what_is_for_others_is_not_ours() {
        for channel in ["", "socket.io", "other#/#", "socket.io-response#/#you#"] {
            assert_eq!(channels().purpose(channel), None, "{channel}");
        }
    }
}
