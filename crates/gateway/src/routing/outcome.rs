//! What became of a request: what the client hears, and what is counted.

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use metrics::counter;

use super::{pass, session_id::Unreadable};
use crate::metrics::{INTERNAL_REQUESTS, SESSION_REQUESTS};

/// As Node words it, code and all. A stock client that hears it opens a new session at once.
const UNKNOWN_SESSION: &str = r#"{"code":1,"message":"Session ID unknown"}"#;

/// What became of a client's request to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The session is here.
    Local,
    /// Another node has answered.
    Forwarded,
    /// Another node has taken the WebSocket.
    Tunnelled,
    /// This is no session id.
    Malformed,
    /// No node of this cluster made this session id.
    Forged,
    /// The node that had the session is gone.
    Departed,
    /// The node that has the session can't be reached.
    Unreachable,
    /// The node that has the session took too long.
    TimedOut,
    /// The body is larger than messages may be.
    TooLarge,
    /// Too many requests are being forwarded.
    Busy,
    /// This node is leaving and takes no WebSocket for another one any more.
    Leaving,
    /// A client pretended to be a node, or a request went round in a circle.
    Loop,
}

impl Outcome {
    /// All of them, for the metrics to begin with 0.
    pub(super) const ALL: [Self; 12] = [
        Self::Local,
        Self::Forwarded,
        Self::Tunnelled,
        Self::Malformed,
        Self::Forged,
        Self::Departed,
        Self::Unreachable,
        Self::TimedOut,
        Self::TooLarge,
        Self::Busy,
        Self::Leaving,
        Self::Loop,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Forwarded => "forwarded",
            Self::Tunnelled => "tunnelled",
            Self::Malformed => "malformed",
            Self::Forged => "forged",
            Self::Departed => "departed",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
            Self::Leaving => "leaving",
            Self::Loop => "loop",
        }
    }

    pub(super) fn count(self) {
        counter!(SESSION_REQUESTS, "outcome" => self.label()).increment(1);
    }

    /// The answer of a request that nobody else has answered.
    pub(super) fn refusal(self) -> Response {
        self.count();
        match self {
            Self::TooLarge => empty(StatusCode::PAYLOAD_TOO_LARGE),
            // A balancer may try another node.
            Self::Busy | Self::Leaving => empty(StatusCode::SERVICE_UNAVAILABLE),
            // The session may live, but a stock client gives it up after any error: then rather at once, with a new one.
            _ => unknown_session(),
        }
    }
}

impl From<Unreadable> for Outcome {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Malformed => Self::Malformed,
            Unreadable::Forged => Self::Forged,
        }
    }
}

/// What became of a request at the door for other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    /// It was served.
    Served,
    /// It came to the public listener.
    Outside,
    /// It had no pass.
    Unsigned,
    /// Its pass was for something else.
    Forged,
    /// Its pass was too old.
    Stale,
    /// The session it is for is not this node's: it goes no further.
    Misdirected,
}

impl Inside {
    /// All of them, for the metrics to begin with 0.
    pub(super) const ALL: [Self; 6] =
        [Self::Served, Self::Outside, Self::Unsigned, Self::Forged, Self::Stale, Self::Misdirected];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Outside => "outside",
            Self::Unsigned => "unsigned",
            Self::Forged => "forged",
            Self::Stale => "stale",
            Self::Misdirected => "misdirected",
        }
    }

    pub(super) fn count(self) {
        counter!(INTERNAL_REQUESTS, "outcome" => self.label()).increment(1);
    }

    /// The answer of a request that is not served.
    pub(super) fn refusal(self) -> Response {
        self.count();
        match self {
            Self::Misdirected => unknown_session(),
            Self::Outside => empty(StatusCode::NOT_FOUND),
            _ => empty(StatusCode::FORBIDDEN),
        }
    }
}

impl From<pass::Refused> for Inside {
    fn from(refused: pass::Refused) -> Self {
        match refused {
            pass::Refused::Missing => Self::Unsigned,
            pass::Refused::Forged => Self::Forged,
            pass::Refused::Stale => Self::Stale,
        }
    }
}

fn unknown_session() -> Response {
    let mut response = Response::new(Body::from(UNKNOWN_SESSION));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer that is a status and nothing else.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
