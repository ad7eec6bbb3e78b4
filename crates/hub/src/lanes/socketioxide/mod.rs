//! The lane for everything that starts with HTTP long-polling, for upgrades, for Engine.IO v3, and with
//! `--websocket-lane off` for plain WebSocket connections too: the socketioxide library does the protocols.
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
//! - A poll whose client is gone is dropped and nothing else happens: `polls` sees to it that its session ends.
//! - Headers of the first request keep hyper's read buffer alive for as long as the session: they are copied.
//!
//! In reading order: here, the lane; `extract`, what the library calls for connections and events; `way_out`, a socket's
//! outbox; `link`, the door into the library; `sessions`, what is known by session; `polls`, those that break off; `request`, what HTTP brings.

mod extract;
mod link;
mod polls;
mod request;
mod sessions;
mod way_out;

use std::{sync::Arc, time::Duration};

use axum::body::{Body, HttpBody};
use http::{Method, Request, Response};
use parking_lot::Mutex;
use socketioxide::{
    ParserConfig, SocketIo, TransportType, extract::SocketRef, handler::ConnectHandler, service::SocketIoService,
    socket::Sid,
};
use tokio_util::task::TaskTracker;
use tower::util::ServiceExt;

use self::{
    extract::{Auth, Closed, Inbound, Opened, Registered, Registration},
    link::{Link, Links},
    polls::{Missing, Polls},
    request::{NotFound, Query, copied, handshake},
    sessions::{Backlogs, Upgrades},
    way_out::WayOut,
};
use super::{CloseHandle, Options, Outbox, PATH};
use crate::{Hub, Namespace, Refusal, socket::SocketId};

pub(crate) use self::way_out::Prepared;

/// Packets that one connection may have waiting. The library keeps no room for them until they come.
/// As many as an inbox, so that a burst which one socket may send is also one that another can receive.
const OUTBOX_PACKETS: usize = 4096;

/// How long a connection that was asked to end may take to write what is queued, before it is cut.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// How long a polling session that is to end is kept for one more poll.
const LAST_POLL: Duration = Duration::from_millis(500);

/// How long a client may take from its connection to its first CONNECT, and for an upgrade.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

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
    polls: Polls,
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
            polls: Polls::default(),
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
        self.0.links.remove(namespace);
    }

    /// Answers an HTTP request to [`PATH`]. The connection's [`CloseHandle`] and [`PeerAddress`](crate::PeerAddress) are expected in
    /// the request's extensions.
    pub async fn call(&self, mut request: Request<Body>) -> Response<Body> {
        let query = Query::of(&request);
        let polled = query.sid.filter(|_| !query.websocket && request.method() == Method::GET);
        let poll = polled.map(|sid| self.0.polls.begin(sid, move |missing| self.0.end_unless_polled(sid, missing)));
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
        if let Some(poll) = poll {
            poll.answered();
        }
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
        let way_out = Arc::new(WayOut::new(self, link, socket, self.backlogs.lock().of(socket.id)));
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
            let Some(connection) = way_out.current_connection(self) else { return };
            connection.end_input();
            self.closings.spawn(async move {
                let _ = tokio::time::timeout(CLOSE_GRACE, connection.gone()).await;
                connection.kill();
            });
        } else {
            let close = self.close_polling(way_out.sid());
            self.closings.spawn(async move {
                // What is queued is lost once the session is closed: a client that is between two polls fetches it first.
                tokio::time::sleep(LAST_POLL).await;
                close.await;
            });
        }
    }

    /// Ends a session whose poll broke off, unless it is polled again or goes on over a WebSocket.
    fn end_unless_polled(self: &Arc<Self>, sid: Sid, missing: Missing) {
        let lane = Arc::clone(self);
        self.closings.spawn(async move {
            if missing.for_good().await && lane.upgrades.lock().get(sid).is_none() {
                lane.close_polling(sid).await;
            }
        });
    }

    /// Posts the Engine.IO close packet in the client's stead.
    fn close_polling(&self, sid: Sid) -> impl Future<Output = ()> + Send + use<> {
        let uri = format!("{PATH}/?EIO=4&transport=polling&sid={sid}");
        let close = Request::builder().method(Method::POST).uri(uri).body(Body::from("1"));
        let service = self.service.clone();
        async move {
            if let Ok(close) = close {
                let _ = service.oneshot(close).await;
            }
        }
    }
}

fn no_namespace() -> Refusal {
    Refusal { message: "Invalid namespace".to_owned(), code: "not_found" }
}

fn going_away() -> Refusal {
    Refusal { message: "Server is shutting down".to_owned(), code: "unavailable" }
}
