//! After scaling up: a node with more than its part of the clients sends a few of them elsewhere, slowly. Off by default:
//! each of them has to reconnect, which is worth it only where clients stay for days.

use std::{sync::Arc, time::Duration};

use rand::seq::SliceRandom;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;
use trunkline_hub::{CloseReason, Hub, Namespace, Socket, Targets};
use trunkline_store::{NodeInfo, Nodes};

use crate::{
    domain::{Chain, announce_shutdown},
    routing::Routing,
};

/// How often the node compares itself with the others.
const ROUND: Duration = Duration::from_secs(10);

/// Rounds in the minute that the configured share is for.
const ROUNDS: f64 = 6.0;

/// A node that has no more than so many times the average has its part.
const TOLERANCE: f64 = 1.1;

/// What it takes.
pub(crate) struct Rebalance {
    /// Of this node's clients, per minute.
    pub(crate) share: f64,
    pub(crate) hub: Hub,
    pub(crate) nodes: Arc<dyn Nodes>,
    pub(crate) routing: Routing,
}

impl Rebalance {
    /// Goes on until `stop`, or until the node drains.
    pub(crate) async fn until(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.go_on()).await;
    }

    async fn go_on(&self) {
        let mut rounds = interval(ROUND);
        let mut due = 0.0;
        while !self.routing.is_leaving() {
            rounds.tick().await;
            match self.nodes.alive().await {
                Ok(alive) => {
                    let own = self.hub.socket_count();
                    due = (due + own as f64 * self.share / ROUNDS).min(own as f64);
                    let count = (due as usize).min(surplus(own, &alive));
                    due -= count as f64;
                    self.send_away(count).await;
                }
                Err(error) => tracing::debug!(error = %Chain(&error), "could not compare this node with the others"),
            }
        }
    }

    async fn send_away(&self, count: usize) {
        if count == 0 {
            return;
        }
        let everyone = Targets::everyone();
        let mut sockets: Vec<Socket> =
            self.hub.namespaces().iter().flat_map(|namespace: &Namespace| namespace.sockets(&everyone)).collect();
        sockets.shuffle(&mut rand::rng());
        tracing::info!(clients = count, "sending clients to nodes that have fewer");
        for socket in sockets.into_iter().take(count) {
            announce_shutdown(&socket, Duration::ZERO);
            socket.finish(CloseReason::Shutdown);
            sleep(ROUND.mul_f64(0.8) / u32::try_from(count).unwrap_or(u32::MAX)).await;
        }
    }
}

/// How many of its `own` sockets a node has beyond the average of all.
fn surplus(own: usize, alive: &[NodeInfo]) -> usize {
    let total: u64 = alive.iter().map(|node| node.sockets).sum();
    let average = total as f64 / alive.len().max(1) as f64;
    if alive.len() < 2 || own as f64 <= average * TOLERANCE { 0 } else { own - average as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(sockets: &[u64]) -> Vec<NodeInfo> {
        let node = |(number, sockets): (usize, &u64)| NodeInfo {
            id: number.to_string(),
            epoch: String::new(),
            advertise: None,
            version: String::new(),
            sockets: *sockets,
        };
        sockets.iter().enumerate().map(node).collect()
    }

    #[test]
    fn only_what_is_clearly_beyond_the_average_is_a_surplus() {
        assert_eq!(surplus(300, &nodes(&[300, 300, 0])), 100);
        assert_eq!(surplus(105, &nodes(&[105, 95])), 0);
        assert_eq!(surplus(0, &nodes(&[0, 300])), 0);
    }

    #[test]
    fn a_node_by_itself_keeps_everybody() {
        assert_eq!(surplus(300, &nodes(&[300])), 0);
        assert_eq!(surplus(300, &[]), 0);
    }
}
