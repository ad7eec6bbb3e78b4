//! Why a socket is closed, and what that means for the client: come back, or stay away.

/// Why a socket was closed. The names are part of the interface: `error` events, logs and metrics carry them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client left the namespace.
    ClientDisconnect,
    /// The client closed the connection.
    TransportClose,
    /// The connection broke.
    TransportError,
    /// The client did not answer pings.
    PingTimeout,
    /// The client sent what is no Socket.IO packet.
    ParseError,
    /// The node shuts down.
    Shutdown,
    /// The outbox was full: the client reads too slowly.
    SlowConsumer,
    /// The token ran out.
    TokenExpired,
    /// The client sends too much.
    RateLimited,
    /// The user was thrown out by a back end.
    Revoked,
    /// The client did what it must not do.
    Forbidden,
    /// A cluster member asked for this socket to be disconnected from the namespace.
    ServerDisconnect,
    /// A cluster member asked for this socket's connection to be closed.
    ServerClose,
    /// A fault of ours.
    Internal,
}

/// How a lane closes a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Send a Socket.IO DISCONNECT packet: a stock client stays away.
    Namespace,
    /// Close the connection under it: a stock client reconnects by itself.
    Transport,
}

impl CloseReason {
    /// Its name in `error` events, logs and metric labels.
    pub fn code(self) -> &'static str {
        match self {
            Self::ClientDisconnect => "client_disconnect",
            Self::TransportClose => "transport_close",
            Self::TransportError => "transport_error",
            Self::PingTimeout => "ping_timeout",
            Self::ParseError => "parse_error",
            Self::Shutdown => "shutdown",
            Self::SlowConsumer => "slow_consumer",
            Self::TokenExpired => "token_expired",
            Self::RateLimited => "rate_limited",
            Self::Revoked => "revoked",
            Self::Forbidden => "forbidden",
            Self::ServerDisconnect => "server_disconnect",
            Self::ServerClose => "server_close",
            Self::Internal => "internal",
        }
    }

    /// A client that should come back by itself loses its connection; one that should stay away is told so.
    pub fn how(self) -> Close {
        match self {
            Self::Revoked | Self::Forbidden | Self::ServerDisconnect | Self::ClientDisconnect => Close::Namespace,
            Self::TransportClose
            | Self::TransportError
            | Self::PingTimeout
            | Self::ParseError
            | Self::Shutdown
            | Self::SlowConsumer
            | Self::TokenExpired
            | Self::RateLimited
            | Self::ServerClose
            | Self::Internal => Close::Transport,
        }
    }
}
