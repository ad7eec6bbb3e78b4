//! Who is online, and who is in which room, across all nodes.

use crate::Result;
use async_trait::async_trait;
use std::time::Duration;

/// How long the time a user was last seen is remembered.
pub const LAST_SEEN_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The largest page of [`Presence::list`] and of [`Presence::members`].
pub const MAX_USERS: usize = 1_000;

/// The outcome of [`Presence::connect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connected {
    /// The user was offline and is online now. Exactly one of several racing connects has it.
    pub first: bool,
    /// Users online in the cluster, this one included; of those that other nodes reported, as of the last second.
    pub online_users: u64,
}

/// The outcome of [`Presence::disconnect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnected {
    /// The user was online and is offline now. Exactly one of several racing disconnects has it.
    pub last: bool,
    /// Now, in milliseconds since 1970, by the store's clock.
    pub last_seen_ms: i64,
}

/// A user, as far as presence goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserPresence {
    /// Who.
    pub user_id: String,
    /// Has a socket on a node that is alive.
    pub online: bool,
    /// When the user last went offline, in milliseconds since 1970; `None` if never, or longer than
    /// [`LAST_SEEN_KEPT`] ago.
    pub last_seen_ms: Option<i64>,
    /// Open sockets on nodes that are alive.
    pub sockets: u32,
}

/// A page of the users online.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresencePage {
    /// In a fixed order. May be shorter than asked for, and even empty, with more pages to come.
    pub users: Vec<UserPresence>,
    /// Users online in the cluster.
    pub count: u64,
    /// Where the next page starts; `None` after the last.
    pub cursor: Option<String>,
}

/// A user in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user_id: String,
    /// With how many sockets on nodes that are alive.
    pub sockets: u32,
}

/// A page of the users in a room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MembersPage {
    /// By user id. May be shorter than asked for, and even empty, with more pages to come.
    pub members: Vec<Member>,
    /// Where the next page starts; `None` after the last.
    pub cursor: Option<String>,
}

/// The outcome of [`Presence::join`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Joined {
    /// The socket is in the room. The first page of who is, this user included unless there are more pages.
    In(MembersPage),
    /// The room has the name of another socket that is open somewhere in the cluster. The socket is not in it.
    NameTaken,
}

/// A user whose last socket was on a node that died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoneOffline {
    /// In which realm; empty for the common one. See [`Store::realm`](crate::Store::realm).
    pub realm: String,
    /// Who.
    pub user_id: String,
    /// When the dead node's lease ended, in milliseconds since 1970.
    pub last_seen_ms: i64,
}

/// Who is online, and who is in which room. Sockets are those of the node that the implementation was made with; answers
/// are about the whole cluster.
///
/// Online and offline strictly alternate for each user: between two `first` lies one `last` or [`GoneOffline`]. All calls
/// that write are idempotent, so that a node may report what it has again at any time.
///
/// After the crash of a node, [`get`](Self::get) and [`members`](Self::members) are right once its lease has ended;
/// [`count`](Self::count) and [`list`](Self::list) after the sweep that follows.
#[async_trait]
pub trait Presence: Send + Sync {
    /// `socket` of `user` is open. One round trip.
    async fn connect(&self, user: &str, socket: &str) -> Result<Connected>;

    /// `socket` of `user` is closed. Its rooms are left with [`leave`](Self::leave), each.
    async fn disconnect(&self, user: &str, socket: &str) -> Result<Disconnected>;

    /// Users online in the cluster, at a cost that does not depend on their number.
    async fn count(&self) -> Result<u64>;

    /// The same as it was a moment ago, about a second at the most: for what is asked whenever somebody comes or goes.
    async fn recent_count(&self) -> Result<u64>;

    /// Each of `users`, in the same order; unknown ones are offline and were never seen.
    async fn get(&self, users: &[String]) -> Result<Vec<UserPresence>>;

    /// A page of at most `limit` (1 to [`MAX_USERS`]) users online, from `cursor` on. Whoever stays online while all
    /// pages are read is on exactly one of them.
    ///
    /// # Errors
    /// [`InvalidCursor`](crate::StoreError::InvalidCursor) for a cursor that this store did not give out.
    async fn list(&self, limit: usize, cursor: Option<&str>) -> Result<PresencePage>;

    /// `socket` of `user` is in `room`. As [`join`](Self::join) without asking who else is there or whether the name is
    /// free: for sockets that come back, at a cost that does not grow with the room.
    ///
    /// True if none of the user's sockets was in the room; those of a node that died are in it until the sweep.
    async fn enter(&self, room: &str, user: &str, socket: &str) -> Result<bool>;

    /// `socket` of `user` is in `room`, unless one of the names in `guard` is an open socket other than itself; answers up
    /// to [`MAX_USERS`] of those who are. One round trip.
    ///
    /// `guard` has the names under which this store would know a socket that is called like the room, one for each
    /// namespace; none if sockets are never called like that.
    async fn join(&self, room: &str, user: &str, socket: &str, guard: &[String]) -> Result<Joined>;

    /// True if one of `names` is an open socket on any node. After the crash of a node its sockets stay taken until the sweep.
    async fn any_socket(&self, names: &[String]) -> Result<bool>;

    /// `socket` of `user` is no longer in `room`. Harmless if it never was. One that fails is made up for with the next
    /// heartbeat that succeeds.
    async fn leave(&self, room: &str, user: &str, socket: &str) -> Result<()>;

    /// A page of at most `limit` (1 to [`MAX_USERS`]) users in `room`, from `cursor` on. Whoever stays while all pages are
    /// read is on exactly one of them.
    ///
    /// # Errors
    /// [`InvalidCursor`](crate::StoreError::InvalidCursor) for a cursor that this store did not give out.
    async fn members(&self, room: &str, limit: usize, cursor: Option<&str>) -> Result<MembersPage>;

    /// Removes what dead nodes left behind, in all realms, and answers the users who went offline by that. Called every few seconds on
    /// every node; one of them, elected in the store, does the work, the others answer an empty list.
    ///
    /// Each such user is returned once in the cluster. The work of one call is bounded; the next call goes on.
    ///
    /// # Errors
    /// Only if nothing was found before the error; otherwise what was found is returned.
    async fn sweep(&self) -> Result<Vec<GoneOffline>>;
}
