//! The HTTP side: which path is served by what, on the public and on the internal listener.

mod back_ends;
mod demo;
mod health;
mod key;
mod nodes;
mod openapi;
mod origin;
mod pages;
mod reply;
mod users;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Request, State},
    http::StatusCode,
    middleware,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use metrics_exporter_prometheus::PrometheusHandle;
use trunkline_adapter::Cluster;
use trunkline_hub::{
    Hub,
    lanes::{
        PATH,
        websocket::{Opening, WebSocketLane},
    },
};
use trunkline_protocol::{Code, http::HttpError};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use origin::OriginPolicy;
pub use pages::are_built;

use crate::{
    config::Secret,
    domain::Domain,
    realms::Realms,
    routing::{self, Routing},
};

/// Bytes of a request's body.
const MAX_BODY: usize = 1_000_000;

/// What the handlers look at. Cheap to clone.
#[derive(Clone)]
pub struct Shared(Arc<Inner>);

struct Inner {
    node_id: String,
    auth_mode: &'static str,
    demo_secret: Option<Secret>,
    api_key: Option<Secret>,
    hub: Hub,
    cluster: Cluster,
    domain: Arc<Domain>,
    realms: Arc<Realms>,
    routing: Routing,
    metrics: PrometheusHandle,
    store_up: AtomicBool,
}

/// The parts of [`Shared`] that somebody else makes.
#[derive(Debug)]
pub struct Parts {
    /// This node's name.
    pub node_id: String,
    /// How clients say who they are.
    pub auth_mode: &'static str,
    /// The key with which the demo page's tokens are minted, when it may have some.
    pub demo_secret: Option<Secret>,
    /// What back ends show.
    pub api_key: Option<Secret>,
    /// The node's sockets.
    pub hub: Hub,
    /// The node's link to the others.
    pub cluster: Cluster,
    /// What users and back ends command.
    pub domain: Arc<Domain>,
    /// Which namespaces there are.
    pub realms: Arc<Realms>,
    /// What serves Socket.IO.
    pub routing: Routing,
    /// What renders `/metrics`.
    pub metrics: PrometheusHandle,
}

impl Shared {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let Parts { node_id, auth_mode, demo_secret, api_key, hub, cluster, domain, realms, routing, metrics } = parts;
        Self(Arc::new(Inner {
            node_id,
            auth_mode,
            demo_secret,
            api_key,
            hub,
            cluster,
            domain,
            realms,
            routing,
            metrics,
            store_up: AtomicBool::new(true),
        }))
    }

    /// Whether the last heartbeat reached the store.
    pub fn set_store_up(&self, up: bool) {
        self.0.store_up.store(up, Ordering::Release);
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("node_id", &self.0.node_id).finish_non_exhaustive()
    }
}

/// What clients and load balancers reach; with `internal_too` also what is for operators.
pub fn public(shared: Shared, origins: OriginPolicy, internal_too: bool) -> Router {
    let mut router = described(shared.clone())
        .route(PATH, any(socketio))
        .route(&format!("{PATH}/"), any(socketio))
        .route(&format!("{PATH}/{{file}}"), get(pages::client_bundle))
        .route("/", get(pages::index))
        .route("/{*path}", get(pages::file));
    router = if internal_too {
        router.route("/metrics", get(metrics)).merge(routing::door(shared.0.routing.clone()))
    } else {
        router.merge(routing::closed_door())
    };
    router.fallback(not_found).layer(middleware::from_fn_with_state(origins, origin::check)).with_state(shared)
}

/// The way around the router for what it would hand to the WebSocket lane anyway. Answers nothing itself: what it does not
/// let through goes to the router, which says why.
#[derive(Clone, Debug)]
pub struct Shortcut {
    shared: Shared,
    origins: OriginPolicy,
}

impl Shortcut {
    /// Around [`public`] with the same arguments; `None` when there is no such lane.
    pub fn new(shared: Shared, origins: OriginPolicy) -> Option<Self> {
        let open = shared.0.routing.websocket_lane().is_some_and(WebSocketLane::is_open);
        open.then_some(Self { shared, origins })
    }

    /// The lane, when `opening` may go there.
    pub fn lane_for(&self, opening: &Opening<'_>) -> Option<&WebSocketLane> {
        let allowed = match opening.header("origin") {
            None => !opening.has("origin"),
            Some(origin) => self.origins.allows(origin, opening.header("host")),
        };
        let routing = &self.shared.0.routing;
        routing.websocket_lane().filter(|_| allowed && !routing.is_leaving())
    }
}

/// What operators and other nodes reach.
pub fn internal(shared: Shared) -> Router {
    Router::from(checks().merge(for_back_ends(shared.clone())))
        .merge(routing::door(shared.0.routing.clone()))
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .with_state(shared)
}

/// The HTTP interface, and its description. A route that is not in it is none of the interface's.
fn described(shared: Shared) -> Router<Shared> {
    let interface = OpenApiRouter::with_openapi(openapi::Description::openapi())
        .merge(for_users())
        .merge(for_back_ends(shared))
        .merge(checks())
        .routes(routes!(health::socket))
        .routes(routes!(demo::describe))
        .routes(routes!(demo::token));
    let (router, description) = interface.split_for_parts();
    let description = Arc::new(description);
    router.route(openapi::PATH, get(async move || Json(description)))
}

/// What needs the API key.
fn for_back_ends(shared: Shared) -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(back_ends::emit))
        .routes(routes!(back_ends::message))
        .routes(routes!(back_ends::notify))
        .routes(routes!(nodes::drain))
        .route_layer(middleware::from_fn_with_state(shared.clone(), back_ends::once))
        .route_layer(middleware::from_fn_with_state(shared, key::require))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// What needs a user's token.
fn for_users() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(users::send))
        .routes(routes!(users::missed))
        .routes(routes!(users::conversations))
        .routes(routes!(users::history))
        .routes(routes!(users::online))
        .routes(routes!(users::presence))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

fn checks() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(health::live)).routes(routes!(health::ready))
}

async fn socketio(State(shared): State<Shared>, request: Request<Body>) -> Response {
    if shared.0.routing.is_leaving() && !has_session(&request) {
        // A stock client tries again, and a load balancer that has looked at /health/ready sends it elsewhere.
        return failure(Code::Unavailable, "the server is shutting down");
    }
    shared.0.routing.call(request).await
}

fn has_session<B>(request: &Request<B>) -> bool {
    request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("sid=")))
}

async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    shared.0.metrics.run_upkeep();
    ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], shared.0.metrics.render())
}

async fn not_found() -> Response {
    failure(Code::NotFound, "there is nothing here")
}

/// An error as the HTTP interface words it.
fn failure(code: Code, message: &str) -> Response {
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let error = HttpError { success: false, error: code.as_str().to_owned(), message: message.to_owned() };
    (status, Json(error)).into_response()
}
