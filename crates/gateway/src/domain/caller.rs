//! Who gives a command, and which rooms they may name.

use trunkline_hub::{RoomName, Socket, Targets};
use trunkline_protocol::{Code, Failure, ids};

use super::{Session, user_room};

/// A user who gives a command: through a socket, or over HTTP without one. Or somebody that a back end speaks for.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    user: &'a str,
    socket: Option<&'a Socket>,
}

impl<'a> Caller<'a> {
    /// The user behind a socket.
    ///
    /// # Errors
    /// `unauthenticated` when nobody is, which no socket that was let in is.
    pub fn of(socket: &'a Socket) -> Result<Self, Failure> {
        let session = Session::of(socket);
        let user = session.map(|session| session.identity.user.as_str());
        let user = user.ok_or_else(|| Failure::new(Code::Unauthenticated, "this connection is nobody's"))?;
        Ok(Self { user, socket: Some(socket) })
    }

    /// A user without a socket. Whoever makes this has checked that it is them.
    pub fn user(user: &'a str) -> Self {
        Self { user, socket: None }
    }

    /// The same socket speaking as `name`: only a guest's word about who they are is taken, everybody else stays who
    /// their token says.
    ///
    /// # Errors
    /// `invalid` when a guest's name is no user id.
    pub fn or_as(self, name: Option<&'a str>) -> Result<Self, Failure> {
        let guest = self.socket.and_then(Session::of).is_some_and(|session| session.identity.guest);
        match name {
            Some(name) if guest => {
                ids::check_user("senderId", name)?;
                Ok(Self { user: name, ..self })
            }
            _ => Ok(self),
        }
    }

    /// Who.
    pub fn id(self) -> &'a str {
        self.user
    }

    /// What their socket calls itself.
    pub(super) fn name(self) -> Option<String> {
        self.socket.and_then(Session::of).and_then(Session::name).map(String::from)
    }

    /// Through which socket.
    pub fn socket(self) -> Option<&'a Socket> {
        self.socket
    }

    /// Checks that this user may enter `room`, which includes to address and to read it.
    ///
    /// # Errors
    /// `invalid` or `forbidden`.
    pub(crate) fn may_enter(self, room: &str) -> Result<(), Failure> {
        ids::check("conversationId", room)?;
        ids::may_enter(self.user, room)?;
        // Of other nodes' sockets the store knows.
        if self.socket.is_some_and(|socket| socket.namespace().socket(room).is_some()) {
            return Err(others_socket());
        }
        Ok(())
    }

    /// The room by which this user hears a conversation: a direct one comes to all sockets of its two users.
    pub(crate) fn heard_by(self, conversation: &str) -> RoomName {
        if ids::direct_members(conversation).is_some() { user_room(self.user) } else { conversation.into() }
    }

    /// `targets` less the calling socket.
    pub(super) fn others(self, targets: Targets) -> Targets {
        match self.socket {
            Some(socket) => targets.except(socket.id().room()),
            None => targets,
        }
    }
}

/// The refusal to treat another connection's own room as a conversation.
pub(super) fn others_socket() -> Failure {
    Failure::forbidden("this name is another connection's")
}
