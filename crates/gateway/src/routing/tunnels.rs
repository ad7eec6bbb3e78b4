//! WebSockets that come in here and end on another node: for as long as they live, bytes are copied in both directions.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use ahash::AHashMap;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use metrics::gauge;
use parking_lot::Mutex;
use tokio::io::copy_bidirectional_with_sizes;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::peers::Peer;
use crate::metrics::TUNNELS;

/// Of one direction: most packets are smaller.
const BUFFER: usize = 4096;

/// Where a tunnel leads.
#[derive(Clone, Debug)]
pub(super) struct Tunnel {
    /// The session id as the client has it.
    pub(super) session: String,
    /// The node that has the session.
    pub(super) peer: Peer,
}

/// Those that are open. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Tunnels(Arc<Inner>);

#[derive(Default)]
struct Inner {
    open: Mutex<AHashMap<u64, Tunnel>>,
    numbers: AtomicU64,
    tasks: TaskTracker,
    cut: CancellationToken,
}

impl Tunnels {
    /// Joins the two ends once both have changed over, until either closes.
    pub(super) fn dig(&self, tunnel: Tunnel, client: OnUpgrade, node: OnUpgrade) {
        let this = self.clone();
        self.0.tasks.spawn(async move {
            let (Ok(client), Ok(node)) = tokio::join!(client, node) else { return };
            let _open = this.note(tunnel);
            tokio::select! {
                () = copy(client, node) => {}
                () = this.0.cut.cancelled() => {}
            }
        });
    }

    /// Those that are open now.
    pub(super) fn open(&self) -> Vec<Tunnel> {
        self.0.open.lock().values().cloned().collect()
    }

    /// Closes all that are left.
    pub(super) fn cut(&self) {
        self.0.cut.cancel();
    }

    /// Returns once all are closed.
    pub(super) async fn closed(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn note(&self, tunnel: Tunnel) -> Open<'_> {
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        self.0.open.lock().insert(number, tunnel);
        gauge!(TUNNELS).increment(1.0);
        Open { tunnels: self, number }
    }
}

async fn copy(client: Upgraded, node: Upgraded) {
    let (mut client, mut node) = (TokioIo::new(client), TokioIo::new(node));
    // However it ends, both ends are closed after it.
    if let Err(error) = copy_bidirectional_with_sizes(&mut client, &mut node, BUFFER, BUFFER).await {
        tracing::debug!(%error, "a forwarded WebSocket broke");
    }
}

/// A tunnel that is in the list.
struct Open<'a> {
    tunnels: &'a Tunnels,
    number: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.tunnels.0.open.lock().remove(&self.number);
        gauge!(TUNNELS).decrement(1.0);
    }
}
