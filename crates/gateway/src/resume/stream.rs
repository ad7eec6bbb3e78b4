//! The messages of one conversation on their way to the sockets of this node that hear them: in log order, each once.
//!
//! Pure: whoever calls brings the messages and does the sending. Nearly all sockets stand where the stream stands and
//! cost nothing here; those that don't are `apart`: they read the log behind it, or have read the log ahead of it.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    sync::Arc,
};

use super::merge::{Buffer, Continue, Merged, PageHead, Position, Reason, follow};

/// A stream to sockets named by `K`, of messages `T`.
#[derive(Debug)]
pub struct Stream<K, T> {
    /// What every socket that is not apart has; `None` until the first message, or the first reader, tells.
    at: Option<Position>,
    /// Live messages behind a gap.
    held: Buffer<T>,
    /// Whether somebody reads the gap from the log. Live messages are held until that is done.
    repairing: bool,
    apart: HashMap<K, Apart<T>>,
    /// Who sent the message that is being delivered, and is not to hear it.
    sender: Option<K>,
    /// Counts the readers, so that one which was replaced finds out.
    readers: u64,
}

/// A socket that does not stand where the stream stands.
#[derive(Debug)]
enum Apart<T> {
    /// It reads the log. What comes live waits; `None` for what is not for this socket.
    Reading { reader: u64, live: Buffer<Option<T>> },
    /// It has everything up to here. A page that is `due` was asked for since.
    Ahead { has: Position, due: bool },
    /// It has what the log has no more, and is to be told.
    Strayed,
}

impl<T> Apart<T> {
    fn ahead(has: Position) -> Self {
        Self::Ahead { has, due: false }
    }
}

/// What to do with a live message.
#[derive(Debug, PartialEq, Eq)]
pub enum Live<T> {
    /// Hand it to everyone whom [`Stream::admit`] lets have it, then call [`Stream::advance`].
    Deliver(T),
    /// It waits for what is missing before it; with `true`, somebody must begin to repair.
    Held(bool),
    /// It was delivered before.
    Repeat,
}

/// What a reader finds at its end, see [`Stream::end_reading`].
#[derive(Debug, PartialEq, Eq)]
pub enum Ended<T> {
    /// What waited for it, and with which number that ends.
    Whole {
        /// To be handed to the socket under the same lock.
        messages: Vec<(u64, T)>,
        /// The socket has everything up to here then.
        end: u64,
    },
    /// More must be read.
    Short,
}

/// What a page means for the stream, see [`Stream::begin_page`].
#[derive(Debug, PartialEq, Eq)]
pub enum Repair {
    /// Deliver its entries that are new, then call [`Stream::end_page`].
    Deliver,
    /// Tell everyone whom [`Stream::admit_reset`] lets hear it that messages are missing, and call [`Stream::reset_told`]. Then
    /// as with `Deliver`.
    Reset(Reset),
    /// The same, and read again instead: the page was read from elsewhere.
    Restart(Reset),
}

/// Some messages can't be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Why.
    pub reason: Reason,
    /// From where it goes on.
    pub to: Position,
    /// Only sockets that had read ahead are concerned: what they read is gone.
    strayed: bool,
}

impl<K, T> Default for Stream<K, T> {
    fn default() -> Self {
        Self { at: None, held: Buffer::default(), repairing: false, apart: HashMap::new(), sender: None, readers: 0 }
    }
}

impl<K: Clone + Eq + Hash, T: Clone> Stream<K, T> {
    /// Where it stands.
    pub fn position(&self) -> Option<&Position> {
        self.at.as_ref()
    }

    /// A live message came in.
    pub fn live(&mut self, epoch: &str, seq: u64, message: T) -> Live<T> {
        let Some(at) = &mut self.at else {
            // Whoever is here came by another way than reading the log, and has a claim on what comes from now on.
            self.at = Some(Position::new(epoch, seq.saturating_sub(1)));
            return Live::Deliver(message);
        };
        let same = *at.epoch == *epoch;
        if same && seq <= at.seq {
            return Live::Repeat;
        }
        let begins = at.epoch.is_empty();
        if (same || begins) && seq == at.seq + 1 && !self.repairing {
            if begins {
                at.epoch = epoch.into();
            }
            return Live::Deliver(message);
        }
        self.held.push(epoch, seq, message);
        Live::Held(!std::mem::replace(&mut self.repairing, true))
    }

    /// A live message came in that is for no socket here: whether it is the next, and all sockets stand where the stream stands. Then it
    /// counts as delivered.
    pub fn pass(&mut self, epoch: &str, seq: u64) -> bool {
        let Some(at) = self.at.as_mut().filter(|_| self.apart.is_empty() && !self.repairing) else { return false };
        let next = *at.epoch == *epoch && seq == at.seq + 1;
        if next {
            at.seq = seq;
        }
        next
    }

    /// Before the message `seq` is delivered, to all but `sender`.
    pub fn announce(&mut self, seq: u64, sender: Option<K>) {
        self.sender = sender;
        let Some(at) = &self.at else { return };
        for apart in self.apart.values_mut() {
            // A place for it, which `admit` fills.
            if let Apart::Reading { live, .. } = apart {
                live.push(&at.epoch, seq, None);
            }
        }
    }

    /// Whether the message that was announced goes to this socket now. One that reads the log gets it later.
    pub fn admit(&mut self, socket: &K, seq: u64, message: &T) -> bool {
        if self.sender.as_ref() == Some(socket) {
            return false;
        }
        if self.apart.is_empty() {
            return true;
        }
        match self.apart.get_mut(socket) {
            None => true,
            Some(Apart::Reading { live, .. }) => {
                if let Some(place) = live.last_mut() {
                    *place = Some(message.clone());
                }
                false
            }
            Some(Apart::Ahead { has, .. }) => has.seq < seq,
            Some(Apart::Strayed) => true,
        }
    }

    /// The message that was announced is delivered.
    pub fn advance(&mut self, seq: u64) {
        let Some(at) = &mut self.at else { return };
        at.seq = seq;
        self.apart
            .retain(|_, apart| !matches!(apart, Apart::Ahead { has, .. } if has.epoch == at.epoch && has.seq <= seq));
    }

    /// The socket came with everything up to `position`, and was not handed anything by this stream beyond.
    pub fn place(&mut self, socket: &K, position: Position) {
        match &self.at {
            None => self.at = Some(position),
            Some(at) if at.epoch == position.epoch && at.seq >= position.seq => {}
            Some(_) => drop(self.apart.insert(socket.clone(), Apart::ahead(position))),
        }
    }

    /// The newest number of the log is known to be at least this: whether somebody must begin to repair.
    pub fn behind(&mut self, epoch: &str, newest: u64) -> bool {
        let behind = self.at.as_ref().is_some_and(|at| {
            // An empty log of a lost epoch is told when it begins again.
            !epoch.is_empty() && (*at.epoch != *epoch || at.seq < newest)
        });
        behind && !std::mem::replace(&mut self.repairing, true)
    }

    /// How far it, or a socket ahead of it, has come.
    pub fn furthest(&self) -> Option<Position> {
        let at = self.at.as_ref()?;
        let ahead = self.apart.values().filter_map(|apart| match apart {
            Apart::Ahead { has, .. } if has.epoch == at.epoch => Some(has.seq),
            _ => None,
        });
        Some(Position { seq: ahead.fold(at.seq, u64::max), epoch: Arc::clone(&at.epoch) })
    }

    /// The log ended at `end` after this stream's [`furthest`](Self::furthest) was `before`: whether somebody must begin to repair, because the log has
    /// lost entries that were delivered. Only a Redis that lost its end, or a replica that was promoted too early, does that.
    pub fn overtook(&mut self, before: &Position, end: &Position) -> bool {
        before.epoch == end.epoch && end.seq < before.seq && !std::mem::replace(&mut self.repairing, true)
    }

    /// A page is about to be read to repair the stream: after which position.
    pub fn ask_page(&mut self) -> Option<Position> {
        for apart in self.apart.values_mut() {
            if let Apart::Ahead { due, .. } = apart {
                *due = true;
            }
        }
        self.at.clone()
    }

    /// The page that was [asked for](Self::ask_page) was read.
    pub fn begin_page(&mut self, page: &PageHead<'_>) -> Repair {
        let Some(at) = &mut self.at else { return Repair::Deliver };
        if page.epoch.is_empty() {
            // The log is gone and nobody writes: nothing can be read, and nobody could do anything with the news.
            return Repair::Deliver;
        }
        let next = follow(at, page);
        if *at.epoch != *page.epoch {
            at.epoch = page.epoch.into();
        }
        let mut strayed = false;
        for apart in self.apart.values_mut() {
            match apart {
                // What it read in a log that this one goes on from it has read in this one.
                Apart::Ahead { has, .. } if page.honours(has) => has.epoch = Arc::clone(&at.epoch),
                // It may have read this very log later than the page was.
                Apart::Ahead { has, due: false } if has.epoch == at.epoch => {}
                Apart::Ahead { .. } => {
                    *apart = Apart::Strayed;
                    strayed = true;
                }
                // What came live is lost with what the stream has.
                Apart::Reading { live, .. } if matches!(next, Continue::Lost(_)) => *live = Buffer::default(),
                Apart::Reading { .. } | Apart::Strayed => {}
            }
        }
        match next {
            Continue::Whole if strayed => Repair::Reset(Reset { reason: Reason::Lost, to: at.clone(), strayed: true }),
            Continue::Whole => Repair::Deliver,
            Continue::Trimmed(seq) => {
                at.seq = seq;
                Repair::Reset(Reset { reason: Reason::Trimmed, to: at.clone(), strayed: false })
            }
            Continue::Lost(seq) => {
                at.seq = seq;
                Repair::Restart(Reset { reason: Reason::Lost, to: at.clone(), strayed: false })
            }
        }
    }

    /// Whether a socket is to hear of a reset: not if it is reading, or has read as far already.
    pub fn admit_reset(&self, socket: &K, reset: &Reset) -> bool {
        match self.apart.get(socket) {
            None => !reset.strayed,
            Some(Apart::Reading { .. }) => false,
            Some(Apart::Ahead { has, .. }) => has.seq < reset.to.seq,
            Some(Apart::Strayed) => true,
        }
    }

    /// The reset was told: whoever heard it stands where the stream stands.
    pub fn reset_told(&mut self) {
        let at = self.at.as_ref();
        self.apart.retain(|_, apart| match apart {
            Apart::Reading { .. } => true,
            Apart::Ahead { has, .. } => at.is_some_and(|at| has.epoch == at.epoch && has.seq > at.seq),
            Apart::Strayed => false,
        });
    }

    /// The entries of a page are delivered, the last page with `last`. Returns what was held and follows, to be delivered each
    /// as a live message is; `None` when more must be read.
    pub fn end_page(&mut self, last: bool) -> Option<Vec<(u64, T)>> {
        let at = self.at.as_ref().filter(|_| last)?;
        match self.held.take_after(at) {
            Merged::Whole(held) => {
                self.repairing = false;
                Some(held)
            }
            Merged::Short => None,
        }
    }

    /// Nobody repairs any more, whatever is missing: the next look begins anew.
    pub fn give_up(&mut self) {
        self.held = Buffer::default();
        self.repairing = false;
    }

    /// A socket begins to read the log: from here on live messages wait for it. Returns the reader's number.
    pub fn begin_reading(&mut self, socket: &K) -> u64 {
        self.readers += 1;
        let reading = Apart::Reading { reader: self.readers, live: Buffer::default() };
        self.apart.insert(socket.clone(), reading);
        self.readers
    }

    /// The socket has read everything up to `position`, or is to have nothing before it. Returns what waited for it and follows;
    /// from then on it hears what all others hear. `None` when another reader took over. `Short` also when the stream stands in
    /// another log: then that must be [looked at](Self::doubt) first.
    pub fn end_reading(&mut self, socket: &K, reader: u64, position: &Position) -> Option<Ended<T>> {
        let Entry::Occupied(mut entry) = self.apart.entry(socket.clone()) else { return None };
        let Apart::Reading { reader: current, live } = entry.get_mut() else { return None };
        if *current != reader {
            return None;
        }
        if self.at.as_ref().is_some_and(|at| at.epoch != position.epoch) {
            return Some(Ended::Short);
        }
        let Merged::Whole(waited) = live.take_after(position) else { return Some(Ended::Short) };
        let end = waited.last().map_or(position.seq, |(seq, _)| *seq);
        match &self.at {
            // What it does not have was skipped with a word to the others.
            Some(at) if at.seq > end => return Some(Ended::Short),
            Some(at) if at.seq == end => drop(entry.remove()),
            Some(at) => drop(entry.insert(Apart::ahead(Position { seq: end, epoch: Arc::clone(&at.epoch) }))),
            None => {
                entry.remove();
                self.at = Some(Position { seq: end, epoch: Arc::clone(&position.epoch) });
            }
        }
        let messages = waited.into_iter().filter_map(|(seq, message)| Some((seq, message?))).collect();
        Some(Ended::Whole { messages, end })
    }

    /// Whether some socket reads the log behind this stream.
    pub fn is_read(&self) -> bool {
        self.apart.values().any(|apart| matches!(apart, Apart::Reading { .. }))
    }

    /// Whether nobody reads what it, or a socket behind it, misses: then it can be forgotten.
    pub fn is_idle(&self) -> bool {
        !self.repairing && !self.is_read()
    }

    /// Whether all sockets stand where the stream stands.
    pub fn is_even(&self) -> bool {
        self.apart.is_empty()
    }

    /// A reader found another log than the stream knows: whether somebody must begin to repair.
    pub fn doubt(&mut self, found: &Position) -> bool {
        let other = self.at.as_ref().is_some_and(|at| at.epoch != found.epoch);
        other && !std::mem::replace(&mut self.repairing, true)
    }

    /// The reader gives up, and its socket with it.
    pub fn abandon(&mut self, socket: &K, reader: u64) {
        if matches!(self.apart.get(socket), Some(Apart::Reading { reader: current, .. }) if *current == reader) {
            self.apart.remove(socket);
        }
    }
}

#[cfg(test)]
mod tests;
