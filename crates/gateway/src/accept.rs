//! Accepting connections: socket options, the handle that can close each, and one task per connection.

use std::{io, net::SocketAddr, time::Duration};

use axum::{Router, body::Body};
use http::Request;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use metrics::counter;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;
use trunkline_hub::{PeerAddress, lanes::Closable};

use crate::metrics::ACCEPT_ERRORS;

/// How long a client may take to send the headers of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// After an accept that failed, which usually means that file descriptors ran out.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Serves `router` on `listener` until `stop`. Returns once nothing is accepted any more; connections live on in
/// `connections`.
///
/// `unacknowledged` is how long sent bytes may stay unacknowledged before the connection counts as dead: a client
/// that is gone without a word, or does not read, is noticed by then.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    unacknowledged: Duration,
    connections: TaskTracker,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Err(error) = prepare(&stream, unacknowledged) {
                    tracing::debug!(%peer, %error, "a connection was gone before it was served");
                    continue;
                }
                connections.spawn(connection(stream, peer, router.clone(), stop.clone()));
            }
            Err(error) => {
                counter!(ACCEPT_ERRORS).increment(1);
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

fn prepare(stream: &TcpStream, unacknowledged: Duration) -> io::Result<()> {
    // Nagle's algorithm and delayed acknowledgements together cost 40 ms on small packets.
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(unacknowledged))
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, stop: CancellationToken) {
    let stream = Closable::new(stream);
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
