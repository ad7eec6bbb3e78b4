//! What a member is like, and what it listens to.

/// Which of Node's adapters this member is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `createAdapter`.
    Classic(Listen),
    /// `createShardedAdapter`, for Redis 7 and newer: members publish on sharded channels, which in a Redis Cluster only the
    /// node with their slot handles.
    Sharded(SubscriptionMode),
}

impl Default for Mode {
    /// Classic, by room.
    fn default() -> Self {
        Self::Classic(Listen::Rooms)
    }
}

impl Mode {
    /// Whether rooms are subscribed one by one. A sharded member does so in any case, for what message logs publish.
    pub(crate) fn by_room(self) -> bool {
        self != Self::Classic(Listen::Pattern)
    }

    /// Whether members talk on sharded channels.
    pub(crate) fn is_sharded(self) -> bool {
        matches!(self, Self::Sharded(_))
    }

    /// Whether broadcasts to `room` alone have a channel of their own: on the classic or the sharded side, whichever this
    /// member is on.
    pub(crate) fn has_channel(self, room: &str) -> bool {
        match self {
            Self::Classic(_) | Self::Sharded(SubscriptionMode::DynamicPrivate) => true,
            Self::Sharded(SubscriptionMode::Static) => false,
            Self::Sharded(SubscriptionMode::Dynamic) => !looks_like_a_socket_id(room),
        }
    }
}

/// Node's rule: a name of 20 UTF-16 units is a socket's id to a publisher.
fn looks_like_a_socket_id(room: &str) -> bool {
    room.encode_utf16().count() == 20
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

/// Which rooms have a sharded channel of their own. The same on all members, or they miss each other's broadcasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubscriptionMode {
    /// Those whose names don't look like socket ids.
    #[default]
    Dynamic,
    /// None: all broadcasts reach all members.
    Static,
    /// All.
    DynamicPrivate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_of_twenty_units_is_a_socket_to_a_dynamic_member() {
        let dynamic = Mode::Sharded(SubscriptionMode::Dynamic);
        for (room, has_channel) in
            [("r1", true), ("abcdefghijklmnopqrst", false), ("é", true), (&"😀".repeat(10), false)]
        {
            assert_eq!(dynamic.has_channel(room), has_channel, "{room}");
            assert!(Mode::Sharded(SubscriptionMode::DynamicPrivate).has_channel(room));
            assert!(!Mode::Sharded(SubscriptionMode::Static).has_channel(room));
        }
    }
}
