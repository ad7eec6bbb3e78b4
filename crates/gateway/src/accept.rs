//! Accepting connections: socket options, the handle that can close each, and one task per connection. A WebSocket handshake
//! that comes first and in one piece goes straight to its lane; the HTTP server sees everything else.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use bytes::Bytes;
use governor::{DefaultDirectRateLimiter, Quota};
use http::Request;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use metrics::counter;
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;
use trunkline_hub::{
    PeerAddress,
    lanes::{Closable, websocket::Opening},
};

use crate::{config::Rate, http::Shortcut, metrics::ACCEPT_ERRORS};

/// How long a client may take to send the headers of a request.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a connection is looked at for a handshake: all but the longest tokens and cookies fit.
const FIRST_BYTES: usize = 8 * 1024;

/// After an accept that failed, which usually means that file descriptors ran out.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Connections that may wait to be accepted, as far as the kernel allows (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;

/// Listens on `address`.
///
/// # Errors
/// It is taken, or none of this machine's.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As tokio's own way to listen: the port of a program that just ended is free.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Where connections lead.
#[derive(Debug)]
pub struct Entrance {
    /// What answers requests.
    pub router: Router,
    /// What takes WebSocket handshakes before they get there.
    pub shortcut: Option<Shortcut>,
    /// How many connections are accepted, at most. What comes faster waits in the listener's backlog, as long as there is room,
    /// so that thousands who come back at once are served one after the other and not all too late.
    pub pace: Option<Rate>,
}

/// Serves `entrance` on `listener` until `stop`. Returns once nothing is accepted any more; connections live on in
/// `connections`.
///
/// `unacknowledged` is how long sent bytes may stay unacknowledged before the connection counts as dead: a client
/// that is gone without a word, or does not read, is noticed by then.
pub async fn serve(
    listener: TcpListener,
    entrance: Entrance,
    unacknowledged: Duration,
    connections: TaskTracker,
    stop: CancellationToken,
) {
    let quota = |rate: Rate| Quota::per_second(rate.per_second).allow_burst(rate.burst);
    let pace = entrance.pace.map(|rate| DefaultDirectRateLimiter::direct(quota(rate)));
    let entrance = Arc::new(entrance);
    // Connections inherit the options of their listener.
    if let Err(error) = prepare(&listener, unacknowledged) {
        tracing::warn!(%error, "could not set the options of a listener");
    }
    loop {
        let accepted = tokio::select! {
            accepted = next(&listener, pace.as_ref()) => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Boxed: the task of a WebSocket, which lives for days, has no room for how it began.
                let begun = Box::pin(begin(stream, peer, Arc::clone(&entrance), stop.clone()));
                connections.spawn(async move {
                    if let Some(websocket) = begun.await {
                        websocket.await;
                    }
                });
            }
            Err(error) => {
                counter!(ACCEPT_ERRORS).increment(1);
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// The next connection, in its time.
async fn next(listener: &TcpListener, pace: Option<&DefaultDirectRateLimiter>) -> io::Result<(TcpStream, SocketAddr)> {
    if let Some(pace) = pace {
        pace.until_ready().await;
    }
    listener.accept().await
}

fn prepare(listener: &TcpListener, unacknowledged: Duration) -> io::Result<()> {
    let listener = SockRef::from(listener);
    // Nagle's algorithm and delayed acknowledgements together cost 40 ms on small packets.
    listener.set_tcp_nodelay(true)?;
    listener.set_tcp_user_timeout(Some(unacknowledged))
}

/// Serves a connection to its end, unless it becomes a WebSocket: that is returned, to be served.
async fn begin(
    stream: TcpStream,
    peer: SocketAddr,
    entrance: Arc<Entrance>,
    stop: CancellationToken,
) -> Option<impl Future<Output = ()> + Send> {
    let stream = match &entrance.shortcut {
        None => Closable::new(stream),
        Some(shortcut) => {
            // When nothing comes in time, or the node stops before something did, that was all.
            stop.run_until_cancelled(timeout(HEADER_TIMEOUT, stream.readable())).await?.ok()?.ok()?;
            match first(stream, peer, shortcut) {
                First::WebSocket(websocket) => return Some(websocket),
                First::Request(stream) => stream,
            }
        }
    };
    serve_http(stream, peer, entrance.router.clone(), stop).await;
    None
}

/// What the first bytes of a connection are.
enum First<W> {
    WebSocket(W),
    /// Anything else, the beginning of a handshake included.
    Request(Closable<TcpStream>),
}

fn first(stream: TcpStream, peer: SocketAddr, shortcut: &Shortcut) -> First<impl Future<Output = ()> + Send + use<>> {
    let mut bytes = [0; FIRST_BYTES];
    // An error, or an end, is still there for the HTTP server to find.
    let bytes = stream.try_read(&mut bytes).ok().and_then(|read| bytes.get(..read)).unwrap_or_default();
    match Opening::read(bytes).and_then(|opening| Some((shortcut.lane_for(&opening)?, opening))) {
        Some((lane, opening)) => First::WebSocket(lane.accept(&opening, stream, peer)),
        None => First::Request(Closable::with_early(stream, Bytes::copy_from_slice(bytes))),
    }
}

async fn serve_http(stream: Closable<TcpStream>, peer: SocketAddr, router: Router, stop: CancellationToken) {
    let handle = stream.handle();
    let service = router.map_request(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(handle.clone());
        request.extensions_mut().insert(PeerAddress(peer));
        request.map(Body::new)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stop.cancelled() => {
            // What is being answered is answered; upgraded connections are the lane's to close.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "a connection ended in an error");
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, num::NonZeroU32};

    use futures_util::future::try_join_all;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn connections_beyond_the_pace_wait_their_turn() {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let number = |n| NonZeroU32::new(n).unwrap();
        let pace = DefaultDirectRateLimiter::direct(Quota::per_second(number(10)).allow_burst(number(2)));
        let clients = try_join_all((0..4).map(|_| TcpStream::connect(address))).await.unwrap();
        let began = Instant::now();
        for _ in &clients {
            timeout(Duration::from_secs(10), next(&listener, Some(&pace))).await.unwrap().unwrap();
        }
        assert!(began.elapsed() >= Duration::from_millis(150), "two at once, the others 100 ms apart");
    }
}
