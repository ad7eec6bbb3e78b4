//! Which web pages may talk to us: checked on every request that a browser says the origin of, polling and
//! WebSocket upgrades alike, because browsers themselves check only the former.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use trunkline_protocol::Code;

use super::failure;
use crate::{config::Origins, metrics};

/// How long a browser may remember the answer to a preflight request, in seconds.
const PREFLIGHT_SECONDS: &str = "600";

/// The rule. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OriginPolicy(std::sync::Arc<Origins>);

impl OriginPolicy {
    /// By the configuration.
    pub fn new(origins: Origins) -> Self {
        Self(origins.into())
    }

    pub(super) fn allows(&self, origin: &str, host: Option<&str>) -> bool {
        let same = || {
            let from = origin.split_once("://").map(|(_, host)| host);
            from.zip(host).is_some_and(|(from, host)| from.eq_ignore_ascii_case(host))
        };
        match &*self.0 {
            Origins::Any => true,
            Origins::Same => same(),
            Origins::List(list) => list.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)) || same(),
        }
    }

    /// With `*` cookies stay at home: otherwise any page could act as whoever is logged in.
    fn headers(&self, origin: &HeaderValue, answer: &mut HeaderMap) {
        if *self.0 == Origins::Any {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            return;
        }
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        answer.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

/// Refuses requests from foreign pages, and tells browsers what the others may do.
pub(super) async fn check(State(policy): State<OriginPolicy>, request: Request, next: Next) -> Response {
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else { return next.run(request).await };
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if !origin.to_str().is_ok_and(|origin| policy.allows(origin, host)) {
        metrics::foreign_origin();
        return failure(Code::Forbidden, "this origin may not connect");
    }
    let preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if preflight { preflight_answer(request.headers()) } else { next.run(request).await };
    policy.headers(&origin, response.headers_mut());
    response
}

fn preflight_answer(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECONDS));
    if let Some(names) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_host_is_always_welcome() {
        for origins in [Origins::Same, Origins::List(vec!["https://a.example".into()])] {
            let policy = OriginPolicy::new(origins);
            assert!(policy.allows("http://chat.example:8080", Some("chat.example:8080")));
            assert!(!policy.allows("http://evil.example", Some("chat.example:8080")));
            assert!(!policy.allows("null", Some("chat.example:8080")));
            assert!(!policy.allows("http://chat.example", None));
        }
    }

    #[test]
    fn listed_origins_must_match_whole() {
        let policy = OriginPolicy::new(Origins::List(vec!["https://a.example".into()]));
        assert!(policy.allows("https://A.example", Some("x")));
        for foreign in ["http://a.example", "https://a.example.evil", "https://a.example:444", "https://b.example"] {
            assert!(!policy.allows(foreign, Some("x")), "{foreign}");
        }
    }
}
