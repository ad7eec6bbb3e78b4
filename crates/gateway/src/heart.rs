//! Keeps this node alive in the eyes of the others, tells the store again what it may have forgotten, and looks after nodes
//! that died.
//!
//! Each goes on by itself: a lease must not run out because there is much to report or to sweep.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Interval, MissedTickBehavior, interval_at, sleep},
};
use tokio_util::sync::CancellationToken;
use trunkline_hub::Hub;
use trunkline_store::{Lease, NodeLoad, Store};

use crate::{
    app::{Lanes, Node},
    domain::{Chain, Domain},
    http, metrics,
    realms::Realms,
    routing::Routing,
};

/// Between heartbeats: three of them fit into a lease.
const HEARTBEAT: Duration = Duration::from_secs(3);

/// Before what could not be reported is tried again.
const RETRY: Duration = Duration::from_secs(1);

pub(crate) struct Heart {
    store: Store,
    realms: Arc<Realms>,
    hub: Hub,
    lanes: Lanes,
    shared: http::Shared,
    routing: Routing,
    /// Why this node's sockets are to be reported, as long as they are.
    unreported: watch::Sender<Lease>,
}

impl Heart {
    pub(crate) fn of(node: &Node) -> Self {
        Self {
            store: node.store.clone(),
            realms: Arc::clone(&node.realms),
            hub: node.hub.clone(),
            lanes: node.lanes.clone(),
            shared: node.shared.clone(),
            routing: node.routing.clone(),
            unreported: watch::Sender::new(Lease::Renewed),
        }
    }

    pub(crate) async fn beat_until(&self, stop: CancellationToken) {
        let beating = async {
            let mut ticks = ticks();
            loop {
                ticks.tick().await;
                self.beat().await;
            }
        };
        // What a sweep has found must be announced, so that one comes to its end.
        let looking_after = async {
            let mut ticks = ticks();
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                self.look_around().await;
                self.realms.sweep().await;
                self.realms.close_idle(&self.hub, &self.lanes);
            }
        };
        let alive = async { tokio::join!(beating, self.report()) };
        tokio::join!(stop.run_until_cancelled(alive), looking_after);
    }

    /// Renews the lease, and nothing that takes longer.
    pub(crate) async fn beat(&self) {
        let load = NodeLoad { sockets: self.hub.socket_count() as u64 };
        let up = match self.store.nodes.heartbeat(load).await {
            Ok(lease) => {
                self.note(lease);
                true
            }
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "the heartbeat did not reach the store");
                false
            }
        };
        self.shared.set_store_up(up);
        metrics::heartbeat(up);
    }

    /// Who else is there, and what all of them must agree on.
    pub(crate) async fn look_around(&self) {
        self.routing.agree().await;
        if let (Ok(nodes), Ok(online)) = (self.store.nodes.alive().await, self.store.presence.count().await) {
            self.routing.nodes_are(&nodes);
            metrics::cluster(nodes.len(), online);
        }
    }

    fn note(&self, lease: Lease) {
        self.unreported.send_if_modified(|unreported| {
            let stronger = lease > *unreported;
            *unreported = lease.max(*unreported);
            stronger
        });
    }

    /// Reports this node's sockets whenever the store may not know them any more, until it knows them all.
    async fn report(&self) {
        let mut unreported = self.unreported.subscribe();
        while unreported.wait_for(|lease| *lease != Lease::Renewed).await.is_ok() {
            let lease = self.unreported.send_replace(Lease::Renewed);
            if !Domain::report_again(&self.hub, lease).await {
                self.note(lease);
                sleep(RETRY).await;
            } else if lease == Lease::Lapsed {
                // Whoever swept while the lease began anew may have taken away, behind the report, what it held in its hands.
                sleep(HEARTBEAT).await;
                self.note(Lease::Started);
            }
        }
    }
}

fn ticks() -> Interval {
    let mut ticks = interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
