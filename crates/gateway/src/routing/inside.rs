//! The door for other nodes: requests for sessions that this node has, and what nodes ask of each other.
//!
//! Every request must carry a pass that is signed with the cluster's secret and made out to this boot of this node.
//! Nothing is forwarded from here, so a request takes one hop at the most.

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::{any, post},
};
use http::{HeaderValue, StatusCode, header};
use tokio_util::sync::CancellationToken;
use trunkline_hub::{CloseReason, PeerAddress};

use super::{
    Routing, forward,
    outcome::{Inside, empty},
    pass,
    query::{self, Named},
    session_id::SessionId,
};

/// A client's request, on behalf of another node.
pub(super) const SESSION: &str = "/_trunkline/session";
/// The other node is leaving: sends the client of a tunnel away.
pub(super) const RELEASE: &str = "/_trunkline/release";
/// The other node is leaving: answers the poll that waits, with nothing.
pub(super) const ANSWER: &str = "/_trunkline/answer";
/// Takes this node down.
pub(super) const DRAIN: &str = "/_trunkline/drain";
/// All of them, on a listener where they are not served.
const ANY: &str = "/_trunkline/{*path}";

/// What other nodes reach.
pub(crate) fn door<S: Clone + Send + Sync + 'static>(routing: Routing) -> Router<S> {
    Router::new()
        .route(SESSION, any(session))
        .route(RELEASE, post(release))
        .route(ANSWER, post(answer))
        .route(DRAIN, post(drain))
        .with_state(routing)
}

/// What there is in its place where clients come in.
pub(crate) fn closed_door<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route(ANY, any(async || Inside::Outside.refusal()))
}

async fn session(State(routing): State<Routing>, mut request: Request) -> Response {
    let session = match admit(&routing, &mut request) {
        Ok(session) => session,
        Err(refused) => return refused.refusal(),
    };
    Inside::Served.count();
    if query::is_upgrade(&request) || request.method() != http::Method::GET {
        return routing.serve_here(&session, request).await;
    }
    let waiting = Waiting::new(&routing, &session);
    let v3 = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "EIO=3"));
    tokio::select! {
        biased;
        response = routing.serve_here(&session, request) => response,
        // A poll that waits has taken nothing yet: dropping it loses nothing.
        () = waiting.answer.cancelled() => nothing_to_say(v3),
    }
}

async fn release(State(routing): State<Routing>, mut request: Request) -> Response {
    let session = match admit(&routing, &mut request) {
        Ok(session) => session,
        Err(refused) => return refused.refusal(),
    };
    Inside::Served.count();
    for socket in routing.sockets(&session) {
        crate::domain::announce_shutdown(&socket, std::time::Duration::ZERO);
        socket.finish(CloseReason::Shutdown);
    }
    empty(StatusCode::NO_CONTENT)
}

async fn answer(State(routing): State<Routing>, mut request: Request) -> Response {
    let session = match admit(&routing, &mut request) {
        Ok(session) => session,
        Err(refused) => return refused.refusal(),
    };
    Inside::Served.count();
    if let Some((_, waiting)) = routing.0.waiting.lock().get(&session.engine) {
        waiting.cancel();
    }
    empty(StatusCode::NO_CONTENT)
}

async fn drain(State(routing): State<Routing>, request: Request) -> Response {
    match pass::check(&request, routing.0.own, &routing.0.keys) {
        Ok(_) => Inside::Served.count(),
        Err(refused) => return Inside::from(refused).refusal(),
    }
    tracing::info!("another node was asked to drain this one");
    routing.0.drain_asked.cancel();
    empty(StatusCode::ACCEPTED)
}

/// Checks the pass, and puts the client's address where it would be had the client come here itself.
fn admit(routing: &Routing, request: &mut Request) -> Result<SessionId, Inside> {
    let client = pass::check(request, routing.0.own, &routing.0.keys)?;
    request.headers_mut().remove(pass::PASS);
    if let Some(client) = client {
        request.extensions_mut().insert(PeerAddress(client));
    }
    let Named::One(text) = query::session(request) else { return Err(Inside::Misdirected) };
    let session = SessionId::open(text, &routing.0.keys).map_err(|_| Inside::Misdirected)?;
    if session.owner == routing.0.own { Ok(session) } else { Err(Inside::Misdirected) }
}

/// A poll for another node that waits for something to say. In the table exactly as long as this lives.
struct Waiting<'a> {
    routing: &'a Routing,
    session: &'a SessionId,
    number: u64,
    answer: CancellationToken,
}

impl<'a> Waiting<'a> {
    fn new(routing: &'a Routing, session: &'a SessionId) -> Self {
        let (number, answer) = (rand::random(), CancellationToken::new());
        routing.0.waiting.lock().insert(session.engine.clone(), (number, answer.clone()));
        Self { routing, session, number, answer }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waiting = self.routing.0.waiting.lock();
        // A second poll of the same session, which the engine refuses, has its own entry.
        if waiting.get(&self.session.engine).is_some_and(|(number, _)| *number == self.number) {
            waiting.remove(&self.session.engine);
        }
    }
}

/// The engine's packet that says nothing: the client polls again.
fn nothing_to_say(v3: bool) -> Response {
    let mut response = Response::new(Body::from(if v3 { "1:6" } else { "6" }));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=UTF-8"));
    response
}

/// An answer of another node, for the client that asked here.
pub(super) fn relayed(response: Response<hyper::body::Incoming>) -> Response {
    let mut response = response.map(Body::new);
    forward::strip(response.headers_mut());
    response
}
