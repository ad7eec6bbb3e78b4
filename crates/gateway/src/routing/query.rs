//! The session id in a request's query, read and replaced exactly as the engine reads it: by the raw text of the pairs.

use http::{Request, Uri};
use trunkline_hub::lanes::PATH;

/// What a query says about the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named<'a> {
    /// Nothing: a new one is wanted.
    Nothing,
    /// This one.
    One(&'a str),
    /// More than one, which no client does: who reads the first and who the last would disagree.
    Several,
}

/// Which session `request` is for.
pub(super) fn session<B>(request: &Request<B>) -> Named<'_> {
    let mut ids = pairs(request.uri()).filter_map(|pair| pair.strip_prefix("sid="));
    match (ids.next(), ids.next()) {
        (None, _) => Named::Nothing,
        (Some(id), None) => Named::One(id),
        (Some(_), Some(_)) => Named::Several,
    }
}

/// Whether `request` wants to become a WebSocket.
pub(super) fn is_upgrade<B>(request: &Request<B>) -> bool {
    pairs(request.uri()).any(|pair| pair == "transport=websocket")
}

/// The engine's path with the query of `uri` and with `id` as its session id.
pub(super) fn with_session(uri: &Uri, id: &str) -> Option<Uri> {
    let query: String = pairs(uri).filter(|pair| !pair.starts_with("sid=")).flat_map(|pair| [pair, "&"]).collect();
    format!("{PATH}/?{query}sid={id}").parse().ok()
}

fn pairs(uri: &Uri) -> impl Iterator<Item = &str> {
    uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(uri: &str) -> Request<()> {
        Request::get(uri).body(()).unwrap()
    }

    #[test]
    fn the_session_is_found_wherever_it_stands() {
        assert_eq!(session(&get("/s/?EIO=4")), Named::Nothing);
        assert_eq!(session(&get("/s/")), Named::Nothing);
        assert_eq!(session(&get("/s/?EIO=4&sid=a&t=1")), Named::One("a"));
        assert_eq!(session(&get("/s/?sid=")), Named::One(""));
        assert_eq!(session(&get("/s/?sid=a&sid=b")), Named::Several);
        assert_eq!(session(&get("/s/?asid=a")), Named::Nothing);
    }

    #[test]
    fn the_session_is_replaced_and_the_rest_kept() {
        let uri = with_session(get("/s/?EIO=4&sid=a&t=1&x=%20").uri(), "b").unwrap();
        assert_eq!(uri, "/socket.io/?EIO=4&t=1&x=%20&sid=b");
    }
}
