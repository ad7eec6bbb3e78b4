//! A socket that reads what it missed while what comes live waits.

use std::sync::Arc;

use trunkline_hub::{RoomName, Socket, SocketId};

use super::{Entry, Streams};
use crate::resume::{Ended, Position, recoverable::Behind};

/// What became of a reader that came to the end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// It hears what all others hear.
    Done,
    /// There is more to read.
    On,
    /// Another reader of the same socket took over.
    Replaced,
}

/// A socket that reads a conversation's log. Dropped before its `end`, it leaves the socket without what came
/// meanwhile: then the socket must not be in the room.
#[derive(Debug)]
pub struct Reader {
    pub(super) streams: Arc<Streams>,
    pub(super) entry: Arc<Entry>,
    /// Not the socket itself, which may keep this.
    pub(super) socket: SocketId,
    pub(super) number: u64,
    pub(super) _behind: Option<Behind>,
}

impl Reader {
    /// The conversation.
    pub(crate) fn conversation(&self) -> &str {
        &self.entry.conversation
    }

    /// The room by which the socket hears it.
    pub(crate) fn room(&self) -> &RoomName {
        &self.entry.room
    }

    /// The socket has everything up to `at`: hands it what came meanwhile, then calls `done` with where that ends and how
    /// many messages it was, before anything newer is sent to the socket.
    pub(crate) fn end(&self, socket: &Socket, at: &Position, done: impl FnOnce(&Position, usize)) -> Read {
        let mut state = self.entry.state.lock();
        match state.stream.end_reading(&self.socket, self.number, at) {
            Some(Ended::Whole { messages, end }) => {
                messages.iter().for_each(|(_, delivery)| socket.send(delivery.packet_for(socket)));
                done(&Position { epoch: Arc::clone(&at.epoch), seq: end }, messages.len());
                Read::Done
            }
            Some(Ended::Short) => {
                let doubt = state.stream.doubt(at);
                drop(state);
                self.streams.repair_if(doubt, &self.entry);
                Read::On
            }
            None => Read::Replaced,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.entry.state.lock().stream.abandon(&self.socket, self.number);
    }
}
