//! The way to another node: one pooled HTTP client. Bodies are streamed, within the limit that holds for clients.

use std::{error::Error as _, net::SocketAddr, time::Duration};

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderName, Request, Uri, Version, header};
use http_body_util::{LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{sync::Semaphore, time::timeout};

use super::{keys::KeyRing, outcome::Outcome, pass, peers::Peer};

/// Nodes of a cluster are near each other.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Less than a node waits for the next request on a connection ([`crate::accept::HEADER_TIMEOUT`]), so that a connection
/// from the pool is never one that the other side is about to close: a POST that meets such an end can't be repeated.
const IDLE: Duration = Duration::from_secs(4);

/// Connections per node that wait for the next request.
const IDLE_CONNECTIONS: usize = 512;

/// Requests under way to other nodes: a poll is under way most of the time. More are refused, a balancer tries another node.
const REQUESTS: usize = 20_000;

/// Say something about one connection, not about the request.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Why another node has not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForwardError {
    /// There is no connection to it, or the connection broke.
    #[error("the node can't be reached")]
    Unreachable(#[source] hyper_util::client::legacy::Error),
    /// There is no answer in time.
    #[error("the node takes too long")]
    TimedOut,
    /// The body is larger than messages may be.
    #[error("the body is too large")]
    TooLarge,
    /// Too many requests are under way.
    #[error("too many requests are being forwarded")]
    Busy,
    /// The request can't be put into words: a bug.
    #[error("the request has no address")]
    Unaddressable,
}

impl ForwardError {
    /// Whether the same request may succeed a little later.
    pub(super) fn retryable(&self) -> bool {
        matches!(self, Self::TimedOut | Self::Busy)
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Unreachable(_) | Self::Unaddressable => Outcome::Unreachable,
            Self::TimedOut => Outcome::TimedOut,
            Self::TooLarge => Outcome::TooLarge,
            Self::Busy => Outcome::Busy,
        }
    }
}

/// Sends requests to other nodes.
pub(super) struct Forwarder {
    client: Client<HttpConnector, Body>,
    keys: KeyRing,
    slots: Semaphore,
    /// Bytes of a body.
    max_body: usize,
    /// Until the head of the answer is there: a poll waits for as long as there is nothing to say.
    patience: Duration,
}

impl Forwarder {
    pub(super) fn new(keys: KeyRing, max_body: usize, patience: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        // A node that is gone without a word is noticed when its clients would be.
        connector.set_keepalive(Some(patience));
        connector.set_tcp_user_timeout(Some(patience));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector);
        Self { client, keys, slots: Semaphore::new(REQUESTS), max_body, patience }
    }

    /// Sends `request`, which a client at `client` made, to `path` of another node, with the same query, and answers what
    /// that node answers.
    pub(super) async fn send(
        &self,
        peer: &Peer,
        path: &str,
        mut request: Request<Body>,
        client: Option<SocketAddr>,
    ) -> Result<Response<Incoming>, ForwardError> {
        let _slot = self.slots.try_acquire().map_err(|_| ForwardError::Busy)?;
        let length =
            request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: usize| length > self.max_body) {
            return Err(ForwardError::TooLarge);
        }
        *request.uri_mut() = address(peer, path, request.uri()).ok_or(ForwardError::Unaddressable)?;
        *request.version_mut() = Version::HTTP_11;
        request.extensions_mut().clear();
        request.headers_mut().remove(header::EXPECT);
        let pass = pass::issue(&request, peer.tag, client, &self.keys);
        request.headers_mut().insert(pass::PASS, pass);
        let request = request.map(|body| Body::new(Limited::new(body, self.max_body)));
        match timeout(self.patience, self.client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if is_too_large(&error) => Err(ForwardError::TooLarge),
            Ok(Err(error)) => Err(ForwardError::Unreachable(error)),
            Err(_) => Err(ForwardError::TimedOut),
        }
    }
}

/// Takes out what concerns the connection that the message came by.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

fn address(peer: &Peer, path: &str, uri: &Uri) -> Option<Uri> {
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}?{query}").parse().ok()?,
        None => path.parse().ok()?,
    };
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(http::uri::Scheme::HTTP);
    parts.authority = Some(peer.address.clone());
    parts.path_and_query = Some(path_and_query);
    Uri::from_parts(parts).ok()
}

fn is_too_large(error: &hyper_util::client::legacy::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_one_connection_stays_behind() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-Private"),
            ("keep-alive", "1"),
            ("x-private", "1"),
            ("transfer-encoding", "chunked"),
            ("x-forwarded-for", "10.0.0.7"),
            ("cookie", "a=b"),
        ] {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        strip(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["cookie", "x-forwarded-for"]);
    }
}
