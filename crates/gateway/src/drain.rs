//! Taking a node down: nobody new comes in, those who are here are sent elsewhere, spread over a window, and what is
//! under way comes to its end.

use std::time::Duration;

use rand::seq::SliceRandom;
use tokio::time::{Instant, sleep_until, timeout_at};
use trunkline_hub::{CloseReason, Namespace, Socket, Targets};

use crate::{
    app::Node,
    domain::{Chain, announce_shutdown},
    routing::Passing,
};

/// Clients sent away per second at the least: a small node is not held up for the whole window.
const SLOWEST: f64 = 50.0;

/// Between telling the clients and closing the first of them: the word should arrive before the end does.
const NOTICE: Duration = Duration::from_millis(250);

/// Takes the node down. Whether everything came to its end within the drain timeout.
pub async fn drain(node: Node) -> bool {
    let deadline = Instant::now() + node.drain_timeout;
    node.routing.leave();
    node.domain.leave();
    let leavers = leavers(&node);
    tracing::info!(clients = leavers.len(), "draining");
    let whole = timeout_at(deadline, async {
        close_evenly(&node, leavers).await;
        // Those who came in while we were closing.
        for leaver in self::leavers(&node) {
            leaver.send_away(&node);
        }
        node.hub.idle().await;
        node.domain.close().await;
        node.lanes.close().await;
        node.routing.passed().await;
        // Not before: a polling client comes back by a new connection to fetch what is left for it. New sessions are
        // refused since the beginning.
        node.stop_accepting.cancel();
        // Polls that other nodes are to answer would be under way for as long as there is nothing to say.
        node.routing.wind_down();
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

/// A client that has to go: to another node, or through another one.
enum Leaver {
    /// Its socket is here.
    Here(Socket),
    /// Its WebSocket only comes through here.
    Passing(Passing),
}

impl Leaver {
    fn send_away(self, node: &Node) {
        match self {
            Self::Here(socket) => socket.finish(CloseReason::Shutdown),
            Self::Passing(passing) => {
                let routing = node.routing.clone();
                node.tasks.spawn(async move { routing.release(&passing).await });
            }
        }
    }
}

/// In no order, so that neither kind nor namespace goes first.
fn leavers(node: &Node) -> Vec<Leaver> {
    let everyone = Targets::everyone();
    let here = node.hub.namespaces().into_iter().flat_map(|namespace: Namespace| namespace.sockets(&everyone));
    let mut leavers: Vec<Leaver> =
        here.map(Leaver::Here).chain(node.routing.passing().into_iter().map(Leaver::Passing)).collect();
    leavers.shuffle(&mut rand::rng());
    leavers
}

/// Tells everyone when to come back, and sends one after the other away, evenly over the window.
async fn close_evenly(node: &Node, leavers: Vec<Leaver>) {
    let (window, count) = (window(leavers.len(), node.drain_window, node.drain_timeout), leavers.len());
    let step = window / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    for (number, leaver) in (0u32..).zip(&leavers) {
        // Those who only pass are told by the node that they are on, at their time.
        if let Leaver::Here(socket) = leaver {
            announce_shutdown(socket, NOTICE + step * number);
        }
    }
    let begin = Instant::now() + NOTICE;
    for (number, leaver) in (0u32..).zip(leavers) {
        sleep_until(begin + step * number).await;
        leaver.send_away(node);
    }
}

/// Over how long so many clients are sent away: no longer than asked for, nor than leaves time for the rest of the drain.
fn window(clients: usize, asked: Duration, timeout: Duration) -> Duration {
    asked.min(timeout.mul_f64(0.8)).min(Duration::from_secs_f64(clients as f64 / SLOWEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn the_window_is_short_for_few_and_leaves_time_for_the_rest() {
        assert_eq!(window(0, 8 * S, 10 * S), Duration::ZERO);
        assert_eq!(window(50, 8 * S, 10 * S), S);
        assert_eq!(window(100_000, 8 * S, 10 * S), 8 * S);
        assert_eq!(window(100_000, 60 * S, 10 * S), 8 * S);
    }
}
