//! Broadcasts that arrive one right behind the other for the same rooms are handed to the hub together: each recipient is
//! visited once for all of them.

use trunkline_hub::{Namespace, Packet, RoomName};

use crate::core::{Core, Stored};

/// Bytes of events that are handed over together: what a recipient has no room for it loses together.
const TOGETHER: usize = 64 * 1024;

/// Recipients on this node for whose sake it pays to let messages gather.
const CROWD: usize = 64;

/// What has arrived and is not handed over yet. Whatever else arrives is handled after [`hand_over`](Self::hand_over).
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    next: Option<Next>,
    /// Deliveries to large audiences so far, about.
    crowds: usize,
}

#[derive(Debug)]
struct Next {
    namespace: Namespace,
    rooms: Vec<RoomName>,
    messages: Messages,
    bytes: usize,
}

#[derive(Debug)]
enum Messages {
    /// What message logs completed.
    Stored(Vec<Stored>),
    Others(Vec<Other>),
}

/// An event that no log knows.
#[derive(Debug)]
pub(crate) struct Other {
    pub packet: Packet,
    /// Rooms whose members do not hear it.
    pub except: Vec<RoomName>,
}

impl Arrivals {
    /// A stored message.
    pub(crate) fn stored(&mut self, core: &Core, namespace: &Namespace, rooms: Vec<RoomName>, message: Stored) {
        let bytes = message.packet.event().len();
        match self.next_for(namespace, &rooms, bytes) {
            Some(Messages::Stored(messages)) => messages.push(message),
            _ => self.begin(core, namespace, rooms, Messages::Stored(vec![message]), bytes),
        }
    }

    /// Something that is not stored.
    pub(crate) fn other(&mut self, core: &Core, namespace: &Namespace, rooms: Vec<RoomName>, message: Other) {
        let bytes = message.packet.event().len();
        match self.next_for(namespace, &rooms, bytes) {
            Some(Messages::Others(messages)) => messages.push(message),
            _ => self.begin(core, namespace, rooms, Messages::Others(vec![message]), bytes),
        }
    }

    /// What is for these rooms and has room for so many bytes more, which count.
    fn next_for(&mut self, namespace: &Namespace, rooms: &[RoomName], bytes: usize) -> Option<&mut Messages> {
        let next = self.next.as_mut()?;
        if !next.namespace.is(namespace) || next.rooms != rooms || next.bytes + bytes > TOGETHER {
            return None;
        }
        next.bytes += bytes;
        Some(&mut next.messages)
    }

    fn begin(&mut self, core: &Core, namespace: &Namespace, rooms: Vec<RoomName>, messages: Messages, bytes: usize) {
        self.hand_over(core);
        self.next = Some(Next { namespace: namespace.clone(), rooms, messages, bytes });
    }

    /// Hands over what has arrived so far.
    pub(crate) fn hand_over(&mut self, core: &Core) {
        let Some(Next { namespace, rooms, messages, .. }) = self.next.take() else { return };
        let recipients = namespace.reach(&rooms);
        if recipients >= CROWD {
            self.crowds += recipients * messages.len();
        }
        match messages {
            Messages::Stored(messages) => core.deliver_stored(&namespace, &rooms, messages),
            Messages::Others(messages) => {
                let run = messages.iter().map(|message| (&message.packet, &message.except[..])).collect();
                namespace.deliver_run(&run, &rooms);
            }
        }
    }

    /// To how many sockets something went that went to many, about, each counted for each event.
    pub(crate) fn crowds(&self) -> usize {
        self.crowds
    }
}

impl Messages {
    fn len(&self) -> usize {
        match self {
            Self::Stored(messages) => messages.len(),
            Self::Others(messages) => messages.len(),
        }
    }
}
