//! What a member is like, and what it listens to.

/// Which of Node's adapters this member is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `createAdapter`.
    Classic(Listen),
}

impl Default for Mode {
    /// Classic, by room.
    fn default() -> Self {
        Self::Classic(Listen::Rooms)
    }
}

impl Mode {
    /// Whether rooms are subscribed one by one.
    pub(crate) fn by_room(self) -> bool {
        self == Self::Classic(Listen::Rooms)
    }
}

/// How a classic member hears broadcasts to one room, each of which has a channel of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listen {
    /// It subscribes to the channels of rooms with members on this node: what is for others never comes here.
    ///
    /// When another server puts sockets of this node into a room that had none here, what is sent to that one room in the
    /// next moments (a round trip to Redis) can be missed, as with Node's sharded adapter. `fetchSockets` answers once it
    /// can't.
    #[default]
    Rooms,
    /// It subscribes to all of them by one pattern, as Node does: every message reaches every node. For many rooms with
    /// few messages, where as many channels are not wanted in Redis; and for emitters that write channel names in
    /// their own way.
    Pattern,
}
