//! What is read from HTTP requests, and kept of them.

use std::{
    convert::Infallible,
    str::FromStr,
    task::{Context, Poll},
};

use axum::body::Body;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, request::Parts};
use socketioxide::socket::Sid;
use tower::Service;

use crate::{Handshake, PeerAddress};

/// The two query parameters that matter here.
pub(super) struct Query {
    pub(super) sid: Option<Sid>,
    pub(super) websocket: bool,
}

impl Query {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let pairs = request.uri().query().unwrap_or_default().split('&');
        let mut found = Self { sid: None, websocket: false };
        for (key, value) in pairs.filter_map(|pair| pair.split_once('=')) {
            match key {
                "sid" => found.sid = Sid::from_str(value).ok(),
                "transport" => found.websocket = value == "websocket",
                _ => {}
            }
        }
        found
    }
}

/// The same request with headers and URI that no longer point into hyper's read buffer, which then can be freed:
/// 16 KiB less for each connection that stays.
pub(super) fn copied(mut request: Request<Body>) -> Request<Body> {
    let headers = std::mem::take(request.headers_mut());
    let mut current = None;
    for (name, value) in headers {
        let name = name.or(current);
        if let Some(name) = &name
            && let Ok(copied_name) = HeaderName::from_bytes(name.as_str().as_bytes())
            && let Ok(mut copied_value) = HeaderValue::from_bytes(value.as_bytes())
        {
            copied_value.set_sensitive(value.is_sensitive());
            request.headers_mut().append(copied_name, copied_value);
        }
        current = name;
    }
    if let Ok(uri) = request.uri().to_string().parse() {
        *request.uri_mut() = uri;
    }
    request
}

pub(super) fn handshake(parts: &Parts, auth: &str) -> Handshake {
    let address = parts.extensions.get::<PeerAddress>().map(|peer| peer.0);
    Handshake::new(&parts.headers, &parts.uri.to_string(), address).with_auth(auth)
}

/// What the library calls for paths that aren't its own; none get here.
#[derive(Clone)]
pub(super) struct NotFound;

impl Service<Request<Body>> for NotFound {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_FOUND;
        std::future::ready(Ok(response))
    }
}
