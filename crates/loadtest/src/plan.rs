//! Who is in which room, who sends to whom, and how fast: what a workload comes down to.

use std::time::Duration;

use crate::vocabulary::To;

/// What a crowd does. Clients and rooms are numbers from 0.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// For each client, the rooms it joins.
    pub(crate) rooms_of: Vec<Vec<u32>>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) pace: Pace,
    /// Bytes of content.
    pub(crate) bytes: usize,
    /// Clients that stop reading when the sending begins.
    pub(crate) stalled: Vec<u32>,
}

/// One client's messages to one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) sender: u32,
    pub(crate) to: To,
    /// Clients that are to get each message.
    pub(crate) recipients: u32,
    /// How often this stream is chosen among those of its sender.
    pub(crate) weight: u32,
}

/// When messages leave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// As fast as they are done, `in_flight` at a time, over all senders.
    Closed { messages: u64, in_flight: u32, until: Until },
    /// At times fixed beforehand, whatever the servers do; a message that leaves late is counted from when it should have left.
    Open { per_second: f64, lasting: Duration, arrivals: Arrivals },
}

impl Default for Pace {
    fn default() -> Self {
        Self::Closed { messages: 0, in_flight: 1, until: Until::Acked }
    }
}

/// When a message is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Until {
    /// The server has answered.
    Acked,
    /// All recipients have it.
    Delivered,
}

/// How the times of an open rate lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arrivals {
    /// Evenly.
    Even,
    /// Each independent of the others, as people are.
    Poisson,
}

impl Plan {
    /// Clients and nothing else.
    pub(crate) fn idle(clients: u32) -> Self {
        Self { rooms_of: vec![Vec::new(); clients as usize], ..Self::default() }
    }

    /// One room of all clients, the first sends.
    pub(crate) fn room(clients: u32, echo: bool) -> Self {
        Self::rooms(clients, 1, clients, echo)
    }

    /// `rooms` rooms of `size` clients each, the clients taken in turn; the first of each room sends.
    pub(crate) fn rooms(clients: u32, rooms: u32, size: u32, echo: bool) -> Self {
        let mut plan = Self::idle(clients);
        let member =
            |room: u32, place: u32| (u64::from(room) * u64::from(size) + u64::from(place)) % u64::from(clients);
        for room in 0..rooms {
            (0..size).for_each(|place| plan.rooms_of[member(room, place) as usize].push(room));
            plan.streams.push(Stream {
                sender: member(room, 0) as u32,
                to: To::Room(room),
                recipients: size - u32::from(!echo),
                weight: 1,
            });
        }
        plan
    }

    /// Clients 2n and 2n + 1 send to each other.
    pub(crate) fn pairs(clients: u32, to: fn(u32) -> To) -> Self {
        let mut plan = Self::idle(clients);
        plan.streams.extend((0..clients / 2 * 2).map(|sender| Stream {
            sender,
            to: to(sender ^ 1),
            recipients: 1,
            weight: 1,
        }));
        plan
    }

    /// A day of chat: everybody is in two rooms of ten and has a friend; of ten messages seven go to a room, two to the friend,
    /// and one is a signal that nobody keeps.
    pub(crate) fn day(clients: u32, echo: bool) -> Self {
        const SIZE: u32 = 10;
        let mut plan = Self::idle(clients);
        let rooms = clients.div_ceil(SIZE).max(1);
        // The second room brings together those who are far apart in the first.
        for client in 0..clients {
            for (room, size) in [(client / SIZE, None), (rooms + client % rooms, Some(rooms))] {
                plan.rooms_of[client as usize].push(room);
                let members = match size {
                    None => SIZE.min(clients - client / SIZE * SIZE),
                    Some(rooms) => (clients - client % rooms).div_ceil(rooms),
                };
                plan.streams.push(Stream {
                    sender: client,
                    to: To::Room(room),
                    recipients: members - u32::from(!echo),
                    weight: 7,
                });
            }
            let friend = (client + 1) % clients;
            plan.streams.push(Stream { sender: client, to: To::Direct(friend), recipients: 1, weight: 4 });
            plan.streams.push(Stream { sender: client, to: To::Signal(friend), recipients: 1, weight: 2 });
        }
        plan
    }

    /// These stop reading, and are not counted on.
    pub(crate) fn stall(&mut self, stalled: Vec<u32>) {
        for stream in &mut self.streams {
            let To::Room(room) = stream.to else { continue };
            let gone = stalled.iter().filter(|&&client| self.rooms_of[client as usize].contains(&room)).count();
            stream.recipients -= gone as u32;
        }
        self.stalled = stalled;
    }

    pub(crate) fn clients(&self) -> u32 {
        self.rooms_of.len() as u32
    }

    /// The clients that send, each once, ascending.
    pub(crate) fn senders(&self) -> Vec<u32> {
        let mut senders: Vec<u32> = self.streams.iter().map(|stream| stream.sender).collect();
        senders.sort_unstable();
        senders.dedup();
        senders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the members that `recipients` should count.
    fn members(plan: &Plan, room: u32) -> u32 {
        plan.rooms_of.iter().filter(|rooms| rooms.contains(&room)).count() as u32
    }

    fn check_recipients(plan: &Plan) {
        for stream in &plan.streams {
            if let To::Room(room) = stream.to {
                assert_eq!(stream.recipients, members(plan, room) - 1, "room {room}");
                assert!(plan.rooms_of[stream.sender as usize].contains(&room));
            }
        }
    }

    #[test]
    fn every_member_but_the_sender_is_a_recipient() {
        for plan in [Plan::room(7, false), Plan::rooms(40, 4, 10, false), Plan::rooms(10, 20, 3, false)] {
            check_recipients(&plan);
        }
        for clients in [10, 11, 95, 100, 2003] {
            check_recipients(&Plan::day(clients, false));
        }
    }

    #[test]
    fn who_stalls_is_not_counted_on() {
        let mut plan = Plan::room(10, false);
        plan.stall(vec![3, 4]);
        assert_eq!(plan.streams[0].recipients, 7);
    }

    #[test]
    fn an_odd_client_has_no_partner() {
        assert_eq!(Plan::pairs(5, To::Direct).senders(), [0, 1, 2, 3]);
    }
}
