//! What a node shows another so that its request is believed: one header, signed with the cluster's secret.
//!
//! The signature covers everything that decides what the request does, but not its body, which is streamed: method, path
//! and query, the node it is meant for, the client's address, and the time. A copy of a request is therefore good for that
//! very request again, for a few minutes; whoever can copy one has seen the session id, too.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderName, HeaderValue, Request};

use super::{
    keys::{KeyRing, Purpose},
    session_id::Tag,
};

/// The header: `<milliseconds since 1970>;<address of the client, or ->;<signature>`.
pub(super) const PASS: HeaderName = HeaderName::from_static("x-trunkline-pass");

/// How far the clocks of two nodes may be apart.
const SKEW: Duration = Duration::from_secs(300);

/// Why a request between nodes is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// It does not say that it comes from a node.
    #[error("the request has no pass")]
    Missing,
    /// It says so, wrongly, or it was meant for another node.
    #[error("the pass is not for this request")]
    Forged,
    /// It is too old, or the clocks of the two nodes are too far apart.
    #[error("the pass is from another time")]
    Stale,
}

/// Signs `request`, made for a client at `peer`, for the node `to`.
pub(super) fn issue<B>(request: &Request<B>, to: Tag, peer: Option<SocketAddr>, keys: &KeyRing) -> HeaderValue {
    let (time, peer) = (now().to_string(), peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string()));
    let signature = keys.sign(Purpose::Pass, &parts(request, &to, &time, &peer));
    let text = format!("{time};{peer};{}", URL_SAFE_NO_PAD.encode(signature));
    // Digits, an address and base64: always a header's value.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// Whether a node of this cluster made `request` for this node, `own`. The client's address, if it is for one.
pub(super) fn check<B>(request: &Request<B>, own: Tag, keys: &KeyRing) -> Result<Option<SocketAddr>, Refused> {
    let pass = request.headers().get(PASS).ok_or(Refused::Missing)?.to_str().map_err(|_| Refused::Forged)?;
    let mut fields = pass.splitn(3, ';');
    let (Some(time), Some(peer), Some(signature)) = (fields.next(), fields.next(), fields.next()) else {
        return Err(Refused::Forged);
    };
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refused::Forged)?;
    if !keys.verify(Purpose::Pass, &parts(request, &own, time, peer), &signature) {
        return Err(Refused::Forged);
    }
    let sent: u64 = time.parse().map_err(|_| Refused::Forged)?;
    if u128::from(now().abs_diff(sent)) > SKEW.as_millis() {
        return Err(Refused::Stale);
    }
    Ok(peer.parse().ok())
}

fn parts<'a, B>(request: &'a Request<B>, to: &'a Tag, time: &'a str, peer: &'a str) -> [&'a [u8]; 6] {
    [
        request.method().as_str().as_bytes(),
        request.uri().path().as_bytes(),
        request.uri().query().unwrap_or_default().as_bytes(),
        to.as_bytes(),
        time.as_bytes(),
        peer.as_bytes(),
    ]
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "10.0.0.7:1234";

    fn setting() -> (KeyRing, Tag, Request<()>) {
        (KeyRing::new("secret"), Tag::of("node-1", "e1"), Request::post("http://node/path?sid=a").body(()).unwrap())
    }

    #[test]
    fn a_pass_is_good_for_its_own_request_at_its_own_node() {
        let (keys, to, mut request) = setting();
        let pass = issue(&request, to, CLIENT.parse().ok(), &keys);
        assert_eq!(check(&request, to, &keys), Err(Refused::Missing));
        request.headers_mut().insert(PASS, pass);
        assert_eq!(check(&request, to, &keys), Ok(CLIENT.parse().ok()));
        assert_eq!(check(&request, Tag::of("node-2", "e1"), &keys), Err(Refused::Forged));
        assert_eq!(check(&request, to, &KeyRing::new("another")), Err(Refused::Forged));
        *request.uri_mut() = "/path?sid=b".parse().unwrap();
        assert_eq!(check(&request, to, &keys), Err(Refused::Forged));
    }

    #[test]
    fn an_old_pass_is_stale_and_a_changed_time_is_forged() {
        let (keys, to, mut request) = setting();
        let signature = URL_SAFE_NO_PAD.encode(keys.sign(Purpose::Pass, &parts(&request, &to, "1000", "-")));
        for (time, refused) in [("1000", Refused::Stale), ("9999999999999", Refused::Forged)] {
            request.headers_mut().insert(PASS, format!("{time};-;{signature}").parse().unwrap());
            assert_eq!(check(&request, to, &keys), Err(refused));
        }
    }

    #[test]
    fn nonsense_is_forged() {
        let (keys, to, mut request) = setting();
        for text in ["", ";", ";;", "1;-;!", "1;-;AAAA", "1;-;AAAAAAAAAAAAAAAAAAAAAA", "x;y;z;w"] {
            request.headers_mut().insert(PASS, text.parse().unwrap());
            assert_eq!(check(&request, to, &keys), Err(Refused::Forged), "{text}");
        }
    }
}
