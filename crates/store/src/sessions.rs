//! What a node needs to know to take over a socket that lost its connection, possibly with its node.

use crate::{Position, Result};
use async_trait::async_trait;

/// Rooms that are remembered of one session. A socket in more can't be recovered: [`Sessions::take`] finds nothing.
pub const MAX_SESSION_ROOMS: usize = 1_000;

/// A socket, so that it can go on elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The socket's id.
    pub socket: String,
    /// Whose it is.
    pub user: String,
    /// Which namespace it is in.
    pub namespace: String,
    /// The rooms it is in, and up to where it had seen each when that was last noted. In no particular order.
    pub rooms: Vec<(String, Position)>,
}

/// Sessions by their private ids. They are written as things happen, so that there is nothing to do when a socket, or its
/// node, goes: the records of a node stay for the recovery window after its last heartbeat, all of them by one expiry.
///
/// Records are those of the node that the implementation was made with; [`take`](Self::take) finds any.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// A new private id, which nobody can guess, for [`begin`](Self::begin).
    fn new_id(&self) -> String;

    /// Remembers a session. One that this node has already is replaced. A socket that was taken over keeps its id.
    async fn begin(&self, id: &str, session: &Session) -> Result<()>;

    /// The socket of session `id` is in `room` and has seen it up to `seen`; also to note a newer position. Without such
    /// a session nothing happens.
    async fn enter(&self, id: &str, room: &str, seen: &Position) -> Result<()>;

    /// The socket of session `id` is no longer in `room`.
    async fn leave(&self, id: &str, room: &str) -> Result<()>;

    /// The socket of session `id` lost its connection now: the session ends a recovery window from now. Sessions that are
    /// not told so end a window after their node; no session ends before.
    async fn detach(&self, id: &str) -> Result<()>;

    /// The socket of session `id` left for good: there is nothing to recover.
    async fn end(&self, id: &str) -> Result<()>;

    /// Takes a session out, so that one of several who ask gets it. `None` if there is none or its window has passed.
    async fn take(&self, id: &str) -> Result<Option<Session>>;
}

/// 128 random bits.
pub(crate) fn new_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}
