//! The lane for everything that starts with HTTP long-polling, for upgrades, for Engine.IO v3, and for now for
//! plain WebSocket connections too: the socketioxide library does the protocols.
//!
//! What it does differently from what the hub promises is made up for here and nowhere else:
//! - Each event handler is a task of its own, so order is lost. The part that runs in order is the extractor:
//!   `Inbound` puts the event into the socket's inbox there and starts no task.
//! - The connect handler runs after CONNECT went out, when events may already arrive. The connect *middleware*
//!   runs before: sockets are made there, and what is sent to them waits until CONNECT is out (`Way::Waiting`).
//! - A connection that dies between the two calls no handler at all. The last clone of `Registered` being
//!   dropped does.
//! - A full buffer names no socket, and drops the newest packet. Each socket is addressed alone, so that it can be closed.
//! - Nothing closes a connection that has a full buffer or a peer that doesn't read. WebSocket connections are closed
//!   through their byte stream, polling sessions by posting the Engine.IO close packet to ourselves.
//! - Headers of the first request keep hyper's read buffer alive for as long as the session: they are copied.

use std::{
    borrow::Cow,
    collections::VecDeque,
    convert::Infallible,
    str::FromStr,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use ahash::AHashMap;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::StreamExt;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, request::Parts};
use parking_lot::{Mutex, RwLock};
use socketioxide::{
    ParserConfig, SocketError, SocketIo, TransportType,
    adapter::Emitter,
    extract::SocketRef,
    handler::{ConnectHandler, FromConnectParts, FromDisconnectParts, FromMessage},
    service::SocketIoService,
    socket::{DisconnectReason, Sid},
};
use socketioxide_core::{
    Str, Value,
    adapter::{BroadcastFlags, BroadcastOptions, CoreAdapter, CoreLocalAdapter, DefinedAdapter, SocketEmitter},
    packet::Packet as WirePacket,
};
use tokio_util::task::TaskTracker;
use tower::{Service, util::ServiceExt};

use super::{CloseHandle, Options, Outbox, PATH, SendError, backlog::Backlog};
use crate::{
    Flush, Handshake, Hub, Namespace, PeerAddress, Refusal,
    packet::{Encoded, Packet},
    reason::{Close, CloseReason},
    socket::{AckReply, Event, Socket, SocketId},
};

type WireSocket = socketioxide::socket::Socket<Link>;

/// Packets that one connection may have waiting. The library keeps no room for them until they come.
/// As many as an inbox, so that a burst which one socket may send is also one that another can receive.
const OUTBOX_PACKETS: usize = 4096;

/// How long a connection that was asked to end may take to write what is queued, before it is cut.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// How long a polling session that is to end is kept for one more poll.
const LAST_POLL: Duration = Duration::from_millis(500);

/// How long a client may take from its connection to its first CONNECT, and for an upgrade.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the library waits for an answer. Whoever wants one sooner gives up sooner.
const ACK_TIMEOUT: Duration = Duration::from_secs(60);

/// Attachments of one packet, as in Node's parser since 4.2.6.
const MAX_ATTACHMENTS: usize = 10;

/// The lane. Cheap to clone.
#[derive(Clone)]
pub struct SocketioxideLane(Arc<Lane>);

struct Lane {
    io: SocketIo<Link>,
    service: SocketIoService<NotFound, Link>,
    links: Links,
    /// The connections that upgrade requests came in on, by the session they are for.
    upgrades: Mutex<Upgrades>,
    /// The tasks that see a closing through.
    closings: TaskTracker,
    /// What waits, by session.
    backlogs: Mutex<Backlogs>,
    /// Bytes that may wait for one session.
    outbox_bytes: usize,
}

impl std::fmt::Debug for SocketioxideLane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SocketioxideLane").finish_non_exhaustive()
    }
}

impl SocketioxideLane {
    /// Serves the namespaces that `hub` has now; add them first. [`serve_dynamic`](Self::serve_dynamic) adds others.
    pub fn new(hub: &Hub, options: &Options) -> Self {
        let links = Links::default();
        let transports = [TransportType::Polling, TransportType::Websocket];
        let builder = SocketIo::builder()
            .req_path(PATH)
            .ping_interval(options.ping_interval)
            .ping_timeout(options.ping_timeout)
            .max_payload(options.max_payload as u64)
            .ws_max_message_size(options.max_payload)
            .ws_max_frame_size(options.max_payload)
            .max_buffer_size(OUTBOX_PACKETS)
            .connect_timeout(HANDSHAKE_TIMEOUT)
            .upgrade_timeout(HANDSHAKE_TIMEOUT)
            .with_parser(
                ParserConfig::common()
                    .max_incoming_binaries(MAX_ATTACHMENTS)
                    .max_incoming_binary_buf_size(options.max_payload),
            )
            .with_adapter::<Link>(links.clone());
        let builder = match (options.polling, options.websocket) {
            (true, false) => builder.transports([TransportType::Polling]),
            (false, true) => builder.transports([TransportType::Websocket]),
            _ => builder.transports(transports),
        };
        let (service, io) = builder.build_with_inner_svc(NotFound);
        let lane = Self(Arc::new(Lane {
            io,
            service,
            links,
            upgrades: Mutex::default(),
            closings: TaskTracker::new(),
            backlogs: Mutex::default(),
            outbox_bytes: options.outbox_bytes,
        }));
        for namespace in hub.namespaces() {
            lane.serve(&namespace);
        }
        lane
    }

    fn serve(&self, namespace: &Namespace) {
        let (lane, hub_namespace) = (Arc::downgrade(&self.0), namespace.clone());
        let admit = async move |socket: SocketRef<Link>, auth: Auth| {
            let Some(lane) = lane.upgrade() else { return Err(going_away()) };
            lane.admit(&socket, &auth.0, &hub_namespace).await
        };
        let opened = async |_: Opened| {};
        self.0.io.ns(namespace.name().to_owned(), opened.with(admit));
    }

    /// Serves namespaces that `hub` makes when somebody connects to them: those that fit `pattern`, such as
    /// `/dynamic-{name}`. Whether one is made is for the hub to say.
    pub fn serve_dynamic(&self, hub: &Hub, pattern: &str) -> Result<(), String> {
        let (lane, hub) = (Arc::downgrade(&self.0), hub.clone());
        let admit = async move |socket: SocketRef<Link>, auth: Auth| {
            let Some(lane) = lane.upgrade() else { return Err(going_away()) };
            let namespace = hub.open_namespace(socket.ns()).ok_or_else(no_namespace)?;
            lane.admit(&socket, &auth.0, &namespace).await
        };
        let opened = async |_: Opened| {};
        self.0.io.dyn_ns(pattern.to_owned(), opened.with(admit)).map_err(|error| error.to_string())
    }

    /// Forgets a dynamic namespace that the hub has removed.
    pub fn forget(&self, namespace: &str) {
        self.0.io.delete_ns(namespace);
        self.0.links.0.write().remove(namespace);
    }

    /// Answers an HTTP request to [`PATH`]. The connection's [`CloseHandle`] and [`PeerAddress`] are expected in
    /// the request's extensions.
    pub async fn call(&self, mut request: Request<Body>) -> Response<Body> {
        let query = Query::of(&request);
        match query.sid {
            None => request = copied(request),
            Some(sid) if query.websocket => {
                if let Some(connection) = request.extensions().get::<CloseHandle>() {
                    self.0.upgrades.lock().insert(sid, connection.clone());
                }
            }
            Some(_) => {}
        }
        let Ok(response) = self.0.service.clone().oneshot(request).await;
        let response = response.map(Body::new);
        if let (Some(sid), Some(bytes)) = (query.sid.filter(|_| !query.websocket), response.body().size_hint().exact())
            && let Some(backlog) = self.0.backlogs.lock().get(sid)
        {
            backlog.polled(bytes);
        }
        response
    }

    /// Waits until every closing that is under way has come to its end.
    pub async fn closed(&self) {
        self.0.closings.close();
        self.0.closings.wait().await;
    }
}

impl Lane {
    /// The connect middleware: lets a client in before CONNECT is answered.
    async fn admit(
        self: &Arc<Self>,
        socket: &SocketRef<Link>,
        auth: &str,
        namespace: &Namespace,
    ) -> Result<(), Refusal> {
        let Some(link) = self.links.get(namespace.name()) else { return Err(going_away()) };
        let wire = socket.extensions.get::<WireHandle>().map(|handle| handle.0).unwrap_or_default();
        let way_out = Arc::new(WayOut {
            lane: Arc::downgrade(self),
            link,
            sid: socket.id,
            wire,
            connection: socket.req_parts().extensions.get::<CloseHandle>().cloned(),
            way: Mutex::new(Way::Waiting(VecDeque::new())),
            backlog: self.backlogs.lock().of(socket.id),
            limit: self.outbox_bytes,
        });
        // Before the handler decides: an early event of a hasty client finds its way into the inbox.
        socket.on_fallback(async |_: Inbound| {});
        socket.on_disconnect(async |_: Closed| {});
        let id = SocketId::new(socket.id.as_str());
        let admitted =
            namespace.connect(id, handshake(socket.req_parts(), auth), Arc::clone(&way_out) as Arc<dyn Outbox>).await?;
        socket.extensions.insert(Registered(Arc::new(Registration { socket: admitted, way_out })));
        Ok(())
    }

    /// Ends the connection of a session: after what is queued, and within [`CLOSE_GRACE`] in any case.
    fn end(self: &Arc<Self>, way_out: &WayOut) {
        if way_out.is_websocket() {
            let upgraded = self.upgrades.lock().get(way_out.sid);
            let Some(connection) = upgraded.or_else(|| way_out.connection.clone()) else { return };
            connection.end_input();
            self.closings.spawn(async move {
                tokio::time::sleep(CLOSE_GRACE).await;
                connection.kill();
            });
        } else {
            let close = Request::builder()
                .method(Method::POST)
                .uri(format!("{PATH}/?EIO=4&transport=polling&sid={}", way_out.sid))
                .body(Body::from("1"));
            let (Ok(close), service) = (close, self.service.clone()) else { return };
            self.closings.spawn(async move {
                // What is queued is lost once the session is closed: a client that is between two polls fetches it first.
                tokio::time::sleep(LAST_POLL).await;
                let _ = service.oneshot(close).await;
            });
        }
    }
}

fn no_namespace() -> Refusal {
    Refusal { message: "Invalid namespace".to_owned(), code: "not_found" }
}

fn going_away() -> Refusal {
    Refusal { message: "Server is shutting down".to_owned(), code: "unavailable" }
}

/// One socket's outbox.
struct WayOut {
    lane: Weak<Lane>,
    link: Arc<Link>,
    sid: Sid,
    wire: Weak<WireSocket>,
    /// The connection of the first request; the one in use, unless the session was upgraded.
    connection: Option<CloseHandle>,
    way: Mutex<Way>,
    /// Shared by the sockets of the session.
    backlog: Arc<Backlog>,
    limit: usize,
}

enum Way {
    /// CONNECT is not out yet: packets wait, at most [`OUTBOX_PACKETS`] of them.
    Waiting(VecDeque<WirePacket>),
    Open,
}

impl WayOut {
    /// CONNECT is out.
    fn open(&self) {
        let mut way = self.way.lock();
        if let Way::Waiting(waiting) = std::mem::replace(&mut *way, Way::Open) {
            // A failure shows again at the next packet, and closes the socket then.
            for packet in waiting {
                let _ = self.link.send(self.sid, packet);
            }
        }
    }

    /// Counts a packet of so many bytes, if there is room for it.
    fn admit(&self, bytes: usize, volatile: bool) -> Result<(), SendError> {
        let fits = self.backlog.admit(self.written(), bytes, volatile, self.limit);
        if fits { Ok(()) } else { Err(SendError::Full) }
    }

    /// Bytes that its WebSocket connection has taken; for polls the session counts by itself.
    fn written(&self) -> u64 {
        if !self.is_websocket() {
            return 0;
        }
        let upgraded = self.lane.upgrade().and_then(|lane| lane.upgrades.lock().get(self.sid));
        upgraded.or_else(|| self.connection.clone()).map_or(0, |connection| connection.written())
    }

    fn push(&self, packet: WirePacket) -> Result<(), SendError> {
        match &mut *self.way.lock() {
            Way::Open => self.link.send(self.sid, packet),
            Way::Waiting(waiting) if waiting.len() < OUTBOX_PACKETS => {
                waiting.push_back(packet);
                Ok(())
            }
            Way::Waiting(_) => Err(SendError::Full),
        }
    }

    fn is_websocket(&self) -> bool {
        self.wire.upgrade().is_some_and(|socket| socket.transport_type() == TransportType::Websocket)
    }
}

impl Outbox for WayOut {
    // The library's own volatile slot keeps only the latest packet and lets it overtake: not used.
    fn send(&self, packet: &Packet, volatile: bool, _: Flush) -> Result<(), SendError> {
        self.admit(packet.event.len(), volatile)?;
        let value = &packet.socketioxide.get_or_init(|| Prepared(value_of(&packet.event))).0;
        self.push(WirePacket::event(self.link.path(), value.clone()))
    }

    fn send_with_id(&self, socket: &Socket, packet: &Packet, id: i64) -> Result<(), SendError> {
        let lane = self.lane.upgrade().ok_or(SendError::Closed)?;
        self.admit(packet.event.len(), false)?;
        // The library counts by itself and hands the answer to a stream of its own.
        let answers = self.link.send_with_ack(self.sid, WirePacket::event(self.link.path(), value_of(&packet.event)));
        let socket = socket.clone();
        lane.closings.spawn(async move {
            if let Some(Value::Str(text, attachments)) = answers.await
                && let Ok(text) = ByteString::try_from(Bytes::from(text))
            {
                socket.acked(id, Encoded::new(text, attachments.map(Vec::from).unwrap_or_default()));
            }
        });
        Ok(())
    }

    fn send_ack(&self, id: i64, args: &Encoded) -> Result<(), SendError> {
        self.admit(args.len(), false)?;
        self.push(WirePacket::ack(self.link.path(), value_of(args), id))
    }

    fn close(&self, how: Close, last: Option<&Packet>) {
        if let Some(last) = last
            && self.send(last, false, Flush::Now) == Err(SendError::Full)
        {
            // The one place where the slot beside the full queue helps.
            self.link.send_beside_the_queue(self.sid, WirePacket::event(self.link.path(), value_of(&last.event)));
        }
        if how == Close::Namespace && self.link.disconnect(self.sid).is_ok() {
            return;
        }
        if let Some(lane) = self.lane.upgrade() {
            lane.end(self);
        }
    }

    fn backlog(&self) -> usize {
        usize::try_from(self.backlog.waiting(self.written())).unwrap_or(usize::MAX)
    }

    fn transport(&self) -> &'static str {
        if self.is_websocket() { "websocket" } else { "polling" }
    }
}

/// An event's arguments as the library's parser takes them: made once per packet.
#[derive(Debug)]
pub(crate) struct Prepared(Value);

fn value_of(args: &Encoded) -> Value {
    let attachments = (!args.attachments.is_empty()).then(|| args.attachments.iter().cloned().collect());
    Value::Str(Str::copy_from_slice(&args.text), attachments)
}

/// Ties a hub socket to the library's socket: when that one goes, however silently, the hub hears of it.
#[derive(Clone)]
struct Registered(Arc<Registration>);

struct Registration {
    socket: Socket,
    way_out: Arc<WayOut>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        // Does nothing when the disconnect handler ran.
        self.socket.closed(CloseReason::TransportClose);
    }
}

/// A weak reference from a socket to itself, which only an extractor can get at.
#[derive(Clone)]
struct WireHandle(Weak<WireSocket>);

/// Extracts the `auth` payload, JSON text or empty; and, being the first extractor to run, notes the socket's [`WireHandle`].
struct Auth(String);

impl FromConnectParts<Link> for Auth {
    type Error = Infallible;
    fn from_connect_parts(socket: &Arc<WireSocket>, auth: &Option<Value>) -> Result<Self, Infallible> {
        socket.extensions.insert(WireHandle(Arc::downgrade(socket)));
        Ok(Self(auth.as_ref().and_then(Value::as_str).map(|text| text.as_str().to_owned()).unwrap_or_default()))
    }
}

/// What was to be done is done in the extractor, in order; there is nothing left to start a task for.
#[derive(Debug, thiserror::Error)]
#[error("handled in order")]
struct Handled;

/// "Extracted" once CONNECT is out: from here on the socket hears us.
struct Opened;

impl FromConnectParts<Link> for Opened {
    type Error = Handled;
    fn from_connect_parts(socket: &Arc<WireSocket>, _: &Option<Value>) -> Result<Self, Handled> {
        if let Some(Registered(registration)) = socket.extensions.get() {
            registration.way_out.open();
            registration.socket.opened();
        }
        Err(Handled)
    }
}

/// "Extracted" for each event, in the order of arrival.
struct Inbound;

impl FromMessage<Link> for Inbound {
    type Error = Handled;
    fn from_message(socket: Arc<WireSocket>, value: Value, ack: Option<i64>) -> Result<Self, Handled> {
        let Some(Registered(registration)) = socket.extensions.get() else { return Err(Handled) };
        let Value::Str(text, attachments) = value else { return Err(Handled) };
        // The library has read the name already and closed the connection if there was none.
        let Ok(text) = ByteString::try_from(Bytes::from(text)) else { return Err(Handled) };
        let args = Encoded::new(text, attachments.map(Vec::from).unwrap_or_default());
        let Some(name) = args.event_name().map(Cow::into_owned) else { return Err(Handled) };
        registration.socket.receive(Event { name, args, ack: ack.map(|id| AckReply { id }) });
        Err(Handled)
    }
}

/// Extracted when the socket is gone. Must succeed: the library cleans up after the handler only if it was started.
struct Closed;

impl FromDisconnectParts<Link> for Closed {
    type Error = Infallible;
    fn from_disconnect_parts(socket: &Arc<WireSocket>, reason: DisconnectReason) -> Result<Self, Infallible> {
        if let Some(Registered(registration)) = socket.extensions.get() {
            registration.socket.closed(match reason {
                DisconnectReason::TransportClose => CloseReason::TransportClose,
                DisconnectReason::MultipleHttpPollingError | DisconnectReason::PacketParsingError => {
                    CloseReason::ParseError
                }
                DisconnectReason::TransportError => CloseReason::TransportError,
                DisconnectReason::HeartbeatTimeout => CloseReason::PingTimeout,
                DisconnectReason::ClientNSDisconnect => CloseReason::ClientDisconnect,
                DisconnectReason::ServerNSDisconnect => CloseReason::ServerDisconnect,
                DisconnectReason::ClosingServer => CloseReason::Shutdown,
            });
        }
        Ok(Self)
    }
}

/// The library's adapter, one per namespace: for us it is only the door by which an encoded packet reaches one socket.
/// Rooms are the hub's.
struct Link {
    local: CoreLocalAdapter<Emitter>,
    links: Links,
}

/// The adapters by namespace, filled as the library makes them.
#[derive(Clone, Default)]
struct Links(Arc<RwLock<AHashMap<String, Weak<Link>>>>);

impl Links {
    fn get(&self, namespace: &str) -> Option<Arc<Link>> {
        self.0.read().get(namespace)?.upgrade()
    }
}

impl Link {
    fn path(&self) -> Str {
        self.local.path().clone()
    }

    fn send(&self, sid: Sid, packet: WirePacket) -> Result<(), SendError> {
        let failed = self.local.broadcast(packet, BroadcastOptions::new(sid)).err();
        match failed.as_deref() {
            None => Ok(()),
            Some([SocketError::Closed, ..]) => Err(SendError::Closed),
            Some(_) => Err(SendError::Full),
        }
    }

    /// Resolves to the answer, or to `None` when there is none in time, or the packet was not taken.
    fn send_with_ack(&self, sid: Sid, packet: WirePacket) -> impl Future<Output = Option<Value>> + Send + use<> {
        let (answers, _) = self.local.broadcast_with_ack(packet, BroadcastOptions::new(sid), Some(ACK_TIMEOUT));
        async move {
            let (_, answer) = std::pin::pin!(answers).next().await?;
            answer.ok()
        }
    }

    fn send_beside_the_queue(&self, sid: Sid, packet: WirePacket) {
        let mut options = BroadcastOptions::new(sid);
        options.add_flag(BroadcastFlags::Volatile);
        let _ = self.local.broadcast(packet, options);
    }

    /// Fails when the buffer is full; the socket then is as connected as before.
    fn disconnect(&self, sid: Sid) -> Result<(), Vec<SocketError>> {
        self.local.disconnect_socket(BroadcastOptions::new(sid))
    }
}

impl CoreAdapter<Emitter> for Link {
    type Error = Infallible;
    type State = Links;
    type AckStream = <Emitter as SocketEmitter>::AckStream;
    type InitRes = ();

    fn new(links: &Links, local: CoreLocalAdapter<Emitter>) -> Self {
        Self { local, links: links.clone() }
    }

    fn init(self: Arc<Self>, on_success: impl FnOnce() + Send + 'static) {
        self.links.0.write().insert(self.local.path().as_str().to_owned(), Arc::downgrade(&self));
        on_success();
    }

    async fn broadcast_with_ack(
        &self,
        packet: WirePacket,
        options: BroadcastOptions,
        timeout: Option<Duration>,
    ) -> Result<Self::AckStream, Infallible> {
        Ok(self.local.broadcast_with_ack(packet, options, timeout).0)
    }

    fn get_local(&self) -> &CoreLocalAdapter<Emitter> {
        &self.local
    }
}

impl DefinedAdapter for Link {}

/// Connections of upgrade requests, by session. Connections that are gone are swept out whenever the table has doubled.
#[derive(Default)]
struct Upgrades {
    connections: AHashMap<Sid, CloseHandle>,
    sweep_at: usize,
}

impl Upgrades {
    fn insert(&mut self, sid: Sid, connection: CloseHandle) {
        if self.connections.len() >= self.sweep_at {
            self.connections.retain(|_, connection| connection.is_alive());
            self.sweep_at = (self.connections.len() * 2).max(64);
        }
        self.connections.insert(sid, connection);
    }

    fn get(&self, sid: Sid) -> Option<CloseHandle> {
        self.connections.get(&sid).filter(|connection| connection.is_alive()).cloned()
    }
}

/// What waits, by session. Sessions that are gone are swept out whenever the table has doubled.
#[derive(Default)]
struct Backlogs {
    backlogs: AHashMap<Sid, Weak<Backlog>>,
    sweep_at: usize,
}

impl Backlogs {
    fn get(&self, sid: Sid) -> Option<Arc<Backlog>> {
        self.backlogs.get(&sid)?.upgrade()
    }

    fn of(&mut self, sid: Sid) -> Arc<Backlog> {
        if let Some(backlog) = self.get(sid) {
            return backlog;
        }
        if self.backlogs.len() >= self.sweep_at {
            self.backlogs.retain(|_, backlog| backlog.strong_count() > 0);
            self.sweep_at = (self.backlogs.len() * 2).max(64);
        }
        let backlog = Arc::default();
        self.backlogs.insert(sid, Arc::downgrade(&backlog));
        backlog
    }
}

/// The two query parameters that matter here.
struct Query {
    sid: Option<Sid>,
    websocket: bool,
}

impl Query {
    fn of<B>(request: &Request<B>) -> Self {
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
fn copied(mut request: Request<Body>) -> Request<Body> {
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

fn handshake(parts: &Parts, auth: &str) -> Handshake {
    let address = parts.extensions.get::<PeerAddress>().map(|peer| peer.0);
    Handshake::new(&parts.headers, &parts.uri.to_string(), address).with_auth(auth)
}

/// What the library calls for paths that aren't its own; none get here.
#[derive(Clone)]
struct NotFound;

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
