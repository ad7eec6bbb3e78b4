//! Taking a node down: nobody new comes in, those who are here are sent elsewhere, spread over a window, and what is
//! under way comes to its end.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use trunkline_hub::{CloseReason, Namespace, Socket, Targets};

use crate::{app::Node, domain::Chain};

/// Sockets closed per second at the least: a small node is not held up for the whole window.
const SLOWEST: f64 = 50.0;

/// Between telling the clients and closing the first of them: the word should arrive before the end does.
const NOTICE: Duration = Duration::from_millis(250);

/// Takes the node down. Whether everything came to its end within the drain timeout.
pub async fn drain(node: Node) -> bool {
    let deadline = Instant::now() + node.drain_timeout;
    let sockets = sockets(&node);
    tracing::info!(sockets = sockets.len(), "draining");
    node.shared.drain();
    node.domain.leave();
    let whole = timeout_at(deadline, async {
        close_evenly(&node, sockets).await;
        // Those who came in while we were closing.
        self::sockets(&node).iter().for_each(|socket| socket.close(CloseReason::Shutdown));
        node.hub.idle().await;
        node.domain.close().await;
        node.lanes.close().await;
        // Not before: a polling client comes back by a new connection to fetch what is left for it. New sessions are
        // refused since the beginning.
        node.stop_accepting.cancel();
        node.connections.close();
        node.connections.wait().await;
    })
    .await
    .is_ok();
    node.stop_accepting.cancel();
    if !whole {
        tracing::warn!("the drain timeout is over, what is left is cut off");
    }
    leave(&node).await;
    tracing::info!("stopped");
    whole
}

/// The very end has a little time of its own, so that a drain that took too long still tells the others.
async fn leave(node: &Node) {
    let grace = Instant::now() + Duration::from_secs(1);
    node.stop_heartbeat.cancel();
    let left = timeout_at(grace, async {
        if let Err(error) = node.store.nodes.leave(node.presence_grace).await {
            tracing::warn!(error = %Chain(&error), "could not say goodbye, the lease will run out by itself");
        }
        node.cluster.close().await;
        node.tasks.close();
        node.tasks.wait().await;
    });
    if left.await.is_err() {
        tracing::warn!("gave up waiting for Redis");
    }
}

fn sockets(node: &Node) -> Vec<Socket> {
    let everyone = Targets::everyone();
    node.hub.namespaces().iter().flat_map(|namespace: &Namespace| namespace.sockets(&everyone)).collect()
}

/// Tells everyone when to come back, and closes one after the other, evenly over the window.
async fn close_evenly(node: &Node, sockets: Vec<Socket>) {
    if sockets.is_empty() {
        return;
    }
    let window = node.drain_window.min(Duration::from_secs_f64(sockets.len() as f64 / SLOWEST));
    let step = window / u32::try_from(sockets.len()).unwrap_or(u32::MAX);
    for (number, socket) in (0u32..).zip(&sockets) {
        node.domain.announce_shutdown(socket, NOTICE + step * number);
    }
    let begin = Instant::now() + NOTICE;
    for (number, socket) in (0u32..).zip(&sockets) {
        let due = begin + step * number;
        if due > Instant::now() {
            sleep(due - Instant::now()).await;
        }
        socket.close(CloseReason::Shutdown);
    }
}
