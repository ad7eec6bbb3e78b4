//! Any load balancer will do: a request that belongs to a session on another node is answered by that node, through this one.
//!
//! In reading order:
//! - `session_id`: what clients get as their session id says which node has the session, and can't be made up
//! - [`Routing::call`]: here, or elsewhere; `peers`: where that is; `forward`, `tunnels`: the way there
//! - `inside`: what arrives from other nodes; `pass`, `keys`: why it is believed
//! - `outcome`: what clients hear, and what is counted

mod forward;
mod inside;
mod keys;
mod opening;
mod outcome;
mod pass;
mod peers;
mod query;
mod session_id;
mod tunnels;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ::metrics::counter;
use ahash::AHashMap;
use axum::{body::Body, response::Response};
use http::{Method, Request, StatusCode, header};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use trunkline_hub::{Hub, PeerAddress, Socket, lanes::websocket::WebSocketLane};
use trunkline_store::{NodeInfo, Nodes};

pub(crate) use inside::{closed_door, door};
pub use session_id::Tag;

use forward::Forwarder;
use keys::KeyRing;
use outcome::{Inside, Outcome};
use peers::{Peer, Peers};
use query::Named;
use session_id::SessionId;
use tunnels::{Tunnel, Tunnels};

use crate::{
    app::Lanes,
    config::Secret,
    domain::Chain,
    metrics::{INTERNAL_REQUESTS, SESSION_REQUESTS},
};

/// Added to the time that a poll may wait, before its node counts as stuck.
const SLACK: Duration = Duration::from_secs(5);

/// How long a leaving node waits for another one to do what it was asked.
const FAREWELL: Duration = Duration::from_secs(2);

/// Brings requests to the node that has their session. Cheap to clone.
#[derive(Clone)]
pub struct Routing(Arc<Inner>);

struct Inner {
    own: Tag,
    keys: KeyRing,
    /// The secret was configured: that of the store is not asked for.
    configured: bool,
    hub: Hub,
    lanes: Lanes,
    nodes: Arc<dyn Nodes>,
    peers: Peers,
    forwarder: Forwarder,
    tunnels: Tunnels,
    /// Polls for other nodes that wait here, by the engine's session id.
    waiting: Mutex<AHashMap<String, (u64, CancellationToken)>>,
    /// Set at the end of a drain: polls that wait on other nodes are to come back.
    winding_down: CancellationToken,
    /// No new session, and no WebSocket that would have to go through here.
    leaving: CancellationToken,
    /// Somebody asked for this node to be drained.
    drain_asked: CancellationToken,
}

/// Shows every metric of this module from the start, with 0.
pub(crate) fn count_from_zero() {
    Outcome::ALL.iter().for_each(|outcome| counter!(SESSION_REQUESTS, "outcome" => outcome.label()).absolute(0));
    Inside::ALL.iter().for_each(|outcome| counter!(INTERNAL_REQUESTS, "outcome" => outcome.label()).absolute(0));
}

/// The parts of [`Routing`] that somebody else makes.
pub struct Parts {
    /// This boot of this node.
    pub own: Tag,
    /// The secret of the cluster, when it was configured.
    pub secret: Option<Secret>,
    /// The node's sockets.
    pub hub: Hub,
    /// What serves Socket.IO here.
    pub lanes: Lanes,
    /// The other nodes.
    pub nodes: Arc<dyn Nodes>,
    /// Bytes of a body.
    pub max_payload: usize,
    /// How long a poll may wait: ping interval and timeout.
    pub longest_poll: Duration,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("own", &self.own).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Routing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routing").field("own", &self.0.own).finish_non_exhaustive()
    }
}

impl Routing {
    /// Puts the parts together. Until `Routing::agree` has reached the store, the node's own sessions are all it knows.
    pub fn new(parts: Parts) -> Self {
        let Parts { own, secret, hub, lanes, nodes, max_payload, longest_poll } = parts;
        let configured = secret.is_some();
        let keys = secret.map_or_else(KeyRing::random, |secret| KeyRing::new(secret.expose()));
        Self(Arc::new(Inner {
            own,
            configured,
            hub,
            lanes,
            peers: Peers::new(Arc::clone(&nodes)),
            nodes,
            forwarder: Forwarder::new(keys.clone(), max_payload, longest_poll + SLACK),
            keys,
            tunnels: Tunnels::default(),
            waiting: Mutex::default(),
            winding_down: CancellationToken::new(),
            leaving: CancellationToken::new(),
            drain_asked: CancellationToken::new(),
        }))
    }

    /// Agrees with the others on the secret, unless it is configured. With each heartbeat, because Redis may have lost it.
    pub(crate) async fn agree(&self) {
        if self.0.configured {
            return;
        }
        let (own, in_use) = self.0.keys.secrets();
        match self.0.nodes.shared_secrets(&own, in_use).await {
            Ok(secrets) => self.0.keys.adopt(&secrets),
            Err(error) => tracing::debug!(error = %Chain(&error), "could not agree on the secret of the cluster"),
        }
    }

    /// Takes the table of nodes that are alive.
    pub(crate) fn nodes_are(&self, alive: &[NodeInfo]) {
        self.0.peers.replace(alive);
    }

    /// What serves WebSockets that begin here and stay here, unless it is switched off.
    pub(crate) fn websocket_lane(&self) -> Option<&WebSocketLane> {
        self.0.lanes.websocket.as_ref()
    }

    /// Answers a request to the Engine.IO path, on whichever node its session is.
    pub async fn call(&self, request: Request<Body>) -> Response {
        if request.headers().contains_key(pass::PASS) {
            return Outcome::Loop.refusal();
        }
        let session = match query::session(&request) {
            Named::Nothing => return self.open(request).await,
            Named::Several => return Outcome::Malformed.refusal(),
            Named::One(text) => SessionId::open(text, &self.0.keys),
        };
        match session {
            Ok(session) if session.owner == self.0.own => {
                Outcome::Local.count();
                self.serve_here(&session, request).await
            }
            Ok(session) => self.elsewhere(session, request).await,
            Err(unreadable) => Outcome::from(unreadable).refusal(),
        }
    }

    /// A new session, here.
    async fn open(&self, request: Request<Body>) -> Response {
        if let Some(lane) = self.websocket_lane().filter(|lane| lane.takes(&request)) {
            return lane.call(request);
        }
        let response = self.0.lanes.socketioxide.call(request).await;
        // What was opened over a WebSocket stays on it, so its id is of no use to anybody.
        if response.status() != StatusCode::OK {
            return response;
        }
        let seal = |engine: &str| SessionId { engine: engine.to_owned(), owner: self.0.own }.seal(&self.0.keys);
        opening::reseal(response, seal).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a session was not opened");
            outcome::empty(StatusCode::INTERNAL_SERVER_ERROR)
        })
    }

    /// A request to a session of this node.
    async fn serve_here(&self, session: &SessionId, mut request: Request<Body>) -> Response {
        let Some(uri) = query::with_session(request.uri(), &session.engine) else {
            return Outcome::Malformed.refusal();
        };
        *request.uri_mut() = uri;
        self.0.lanes.socketioxide.call(request).await
    }

    /// A request to a session of another node.
    async fn elsewhere(&self, session: SessionId, request: Request<Body>) -> Response {
        let Some(peer) = self.0.peers.find(session.owner).await else { return Outcome::Departed.refusal() };
        let answered = if query::is_upgrade(&request) {
            if self.0.leaving.is_cancelled() {
                return Outcome::Leaving.refusal();
            }
            self.tunnel(peer, request).await
        } else {
            self.forward(peer, request).await
        };
        answered.unwrap_or_else(|error| {
            tracing::debug!(error = %Chain(&error), retryable = error.retryable(), "a request was not forwarded");
            error.outcome().refusal()
        })
    }

    async fn forward(&self, peer: Peer, mut request: Request<Body>) -> Result<Response, forward::ForwardError> {
        forward::strip(request.headers_mut());
        let poll = (request.method() == Method::GET).then(|| request.uri().clone());
        let client = client(&request);
        let mut sent = std::pin::pin!(self.0.forwarder.send(&peer, inside::SESSION, request, client));
        let response = tokio::select! {
            response = &mut sent => response?,
            () = self.0.winding_down.cancelled(), if poll.is_some() => {
                if let Some(uri) = poll {
                    self.ask(&peer, inside::ANSWER, uri).await;
                }
                sent.await?
            }
        };
        Outcome::Forwarded.count();
        Ok(inside::relayed(response))
    }

    async fn tunnel(&self, peer: Peer, mut request: Request<Body>) -> Result<Response, forward::ForwardError> {
        let Named::One(session) = query::session(&request) else { return Ok(Outcome::Malformed.refusal()) };
        let tunnel = Tunnel { session: session.to_owned(), peer };
        let (upgrade, client) = (request.headers().get(header::UPGRADE).cloned(), client(&request));
        let here = hyper::upgrade::on(&mut request);
        forward::strip(request.headers_mut());
        if let Some(upgrade) = upgrade {
            request.headers_mut().insert(header::UPGRADE, upgrade);
            request.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
        }
        let mut response = self.0.forwarder.send(&tunnel.peer, inside::SESSION, request, client).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            Outcome::Forwarded.count();
            return Ok(inside::relayed(response));
        }
        self.0.tunnels.dig(tunnel, here, hyper::upgrade::on(&mut response));
        Outcome::Tunnelled.count();
        Ok(response.map(Body::new))
    }

    /// Asks another node for something, without much patience. It is a courtesy: what it does not do ends by itself.
    async fn ask(&self, peer: &Peer, path: &str, uri: http::Uri) -> Option<StatusCode> {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let asked = tokio::time::timeout(FAREWELL, self.0.forwarder.send(peer, path, request, None)).await;
        match asked {
            Ok(Ok(response)) => Some(response.status()),
            Ok(Err(error)) => {
                tracing::debug!(node = peer.id, path, error = %Chain(&error), "a node did not do what it was asked");
                None
            }
            Err(_) => None,
        }
    }

    /// The sockets of a session, one for each of its namespaces.
    fn sockets(&self, session: &SessionId) -> Vec<Socket> {
        self.0.hub.namespaces().iter().filter_map(|namespace| namespace.socket(&session.engine)).collect()
    }
}

/// A node is to be taken down, and is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DrainError {
    /// No node of that name is alive.
    #[error("there is no such node")]
    Unknown,
    /// It does not answer.
    #[error("the node does not answer")]
    Unreachable,
}

/// What the drain needs.
impl Routing {
    /// From now on no session begins here, and no WebSocket is taken for another node.
    pub(crate) fn leave(&self) {
        self.0.leaving.cancel();
    }

    /// Whether this node is leaving.
    pub(crate) fn is_leaving(&self) -> bool {
        self.0.leaving.is_cancelled()
    }

    /// Has the node with this name drained, this one or another.
    pub(crate) async fn drain(&self, node: &str) -> Result<(), DrainError> {
        let peer = self.0.peers.named(node).await.ok_or(DrainError::Unknown)?;
        if peer.tag == self.0.own {
            self.0.drain_asked.cancel();
            return Ok(());
        }
        match self.ask(&peer, inside::DRAIN, http::Uri::from_static("/")).await {
            Some(StatusCode::ACCEPTED) => Ok(()),
            _ => Err(DrainError::Unreachable),
        }
    }

    /// Returns when somebody has asked for this node to be drained.
    pub(crate) async fn drain_asked(&self) {
        self.0.drain_asked.cancelled().await;
    }

    /// WebSockets that end on other nodes and go through here.
    pub(crate) fn passing(&self) -> Vec<Passing> {
        self.0.tunnels.open().into_iter().map(Passing).collect()
    }

    /// Sends the client of one of them away, through the node that has its session.
    pub(crate) async fn release(&self, Passing(tunnel): &Passing) {
        if let Ok(uri) = format!("/?sid={}", tunnel.session).parse() {
            self.ask(&tunnel.peer, inside::RELEASE, uri).await;
        }
    }

    /// Has all polls that wait on other nodes answered, so that they come back by another way. The end of a drain.
    pub(crate) fn wind_down(&self) {
        self.0.winding_down.cancel();
    }

    /// Returns once no WebSocket goes through here any more. Those that do not end within [`FAREWELL`] are cut.
    pub(crate) async fn passed(&self) {
        if tokio::time::timeout(FAREWELL, self.0.tunnels.closed()).await.is_err() {
            self.0.tunnels.cut();
            self.0.tunnels.closed().await;
        }
    }
}

/// A WebSocket that ends on another node.
#[derive(Debug)]
pub(crate) struct Passing(Tunnel);

/// The client's side of the connection that a request came by.
fn client<B>(request: &Request<B>) -> Option<SocketAddr> {
    request.extensions().get::<PeerAddress>().map(|peer| peer.0)
}
