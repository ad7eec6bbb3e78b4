//! Who wants to know which rooms have members on this node: the way to the other nodes, which then listens for those
//! rooms alone.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;

use crate::rooms::RoomName;

/// Listens on behalf of this node for what others send to its rooms.
#[async_trait]
pub trait Interest: Send + Sync + 'static {
    /// `room` got its first member on this node, or lost its last. Calls about one room come in order, under the lock of
    /// the index: this must neither block nor touch rooms.
    fn changed(&self, namespace: &str, room: &RoomName, has_members: bool);

    /// Waits until what others send to `rooms` arrives, and says whether it does.
    async fn heard(&self, namespace: &str, rooms: &[RoomName]) -> bool;
}

/// One for all namespaces of a hub, once somebody is interested.
pub(crate) type Shared = Arc<OnceLock<Arc<dyn Interest>>>;

/// The interest in the rooms of one namespace.
pub(crate) struct Watch {
    namespace: Arc<str>,
    interest: Shared,
}

impl Watch {
    pub(crate) fn new(namespace: &str, interest: Shared) -> Self {
        Self { namespace: namespace.into(), interest }
    }

    pub(crate) fn namespace(&self) -> Arc<str> {
        Arc::clone(&self.namespace)
    }

    pub(crate) fn opened(&self, room: &RoomName) {
        if let Some(interest) = self.interest.get() {
            interest.changed(&self.namespace, room, true);
        }
    }

    pub(crate) fn emptied(&self, room: &RoomName) {
        if let Some(interest) = self.interest.get() {
            interest.changed(&self.namespace, room, false);
        }
    }

    pub(crate) async fn heard(&self, rooms: &[RoomName]) -> bool {
        match self.interest.get() {
            Some(interest) => interest.heard(&self.namespace, rooms).await,
            None => true,
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}
