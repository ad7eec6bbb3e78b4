//! What waits to be written to one connection: bounded by bytes, shared with all other recipients.

use std::{cell::RefCell, collections::VecDeque, io, num::NonZeroU32};

use bytes::{Buf, Bytes};

use crate::lanes::SendError;

/// Bytes of small pieces that are joined for one system call: copying a few thousand costs less than having the kernel gather them. In a
/// busy room, with seven pieces a write, an eighth of the whole.
const JOINED: usize = 64 * 1024;

/// A piece of so many bytes goes out by itself and is not copied.
const LARGE: usize = 16 * 1024;

thread_local! {
    static JOIN: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(JOINED));
}

/// Of a packet that may be dropped: [what it is news of](crate::Packet::subject).
pub(super) type Volatile = Option<NonZeroU32>;

/// Answers to a peer's pings: the latest one counts (RFC 6455, 5.5.3).
pub(super) const PONGS: Volatile = Some(NonZeroU32::MIN);

/// In a full outbox so many pieces, from the last, are looked through for an older packet of the same subject.
const LOOKED_THROUGH: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    pieces: Pieces,
    bytes: usize,
    /// What is meant for a socket whose CONNECT is not answered yet.
    held: Vec<Bytes>,
    /// Set when nothing more is taken.
    closed: bool,
}

/// A queue in which the first has a place of its own: most of the time it is the only one, and takes no allocation.
#[derive(Debug, Default)]
struct Pieces {
    first: Option<Piece>,
    /// Empty where there is no first.
    rest: VecDeque<Piece>,
}

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    /// May be dropped to make room, together with the pieces of the same packet that follow it.
    volatile: Volatile,
    /// Whether the piece before is of the same packet.
    continues: bool,
}

impl Outbox {
    /// Queues a packet, whole or not at all. When it does not fit, volatile packets give way first: to one of the same subject,
    /// so that a reader who comes round finds where things stand, or to what must not be dropped.
    pub(super) fn push(&mut self, frames: &[Bytes], volatile: Volatile, limit: usize) -> Result<(), SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        let size: usize = frames.iter().map(Bytes::len).sum();
        // A packet larger than the limit goes out when nothing else waits.
        if self.bytes + size > limit && self.bytes > 0 {
            if let Some(subject) = volatile {
                self.drop_older(subject, (self.bytes + size).saturating_sub(limit));
            } else {
                self.drop_volatile();
            }
            if self.bytes + size > limit && self.bytes > 0 {
                return Err(SendError::Full);
            }
        }
        self.append(frames, volatile);
        Ok(())
    }

    /// Queues what must not be refused: answers to pings, the last words.
    pub(super) fn push_anyway(&mut self, frame: Bytes) {
        if !self.closed {
            self.append(&[frame], None);
        }
    }

    /// Keeps a packet until [`release`](Self::release). Bounded as the queue is.
    pub(super) fn hold(&mut self, frames: &[Bytes], limit: usize) -> Result<(), SendError> {
        let held: usize = self.held.iter().map(Bytes::len).sum();
        let size: usize = frames.iter().map(Bytes::len).sum();
        if held > 0 && held + size > limit {
            return Err(SendError::Full);
        }
        self.held.extend_from_slice(frames);
        Ok(())
    }

    /// Queues `first` and then what was held.
    pub(super) fn release(&mut self, first: Bytes) {
        self.push_anyway(first);
        for frame in std::mem::take(&mut self.held) {
            self.push_anyway(frame);
        }
    }

    /// Forgets what was held.
    pub(super) fn forget_held(&mut self) {
        self.held = Vec::new();
    }

    /// Takes nothing more.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Offers what comes next to `write`, as much as is good for one system call, and forgets what it took.
    pub(super) fn write(&mut self, write: impl FnOnce(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        let Some(first) = &self.pieces.first else { return Ok(()) };
        let written = if self.pieces.rest.is_empty() || first.bytes.len() >= LARGE {
            write(&first.bytes)
        } else {
            JOIN.with_borrow_mut(|joined| {
                joined.clear();
                for Piece { bytes, .. } in self.pieces.iter() {
                    if bytes.len() >= LARGE || joined.len() + bytes.len() > JOINED {
                        break;
                    }
                    joined.extend_from_slice(bytes);
                }
                write(joined)
            })
        };
        self.advance(written?);
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(piece) = &mut self.pieces.first {
            if written < piece.bytes.len() {
                piece.bytes.advance(written);
                // What has begun must end: a frame cut short would garble all that follow.
                if written > 0 {
                    self.begun();
                }
                return;
            }
            written -= piece.bytes.len();
            self.pieces.pop_front();
        }
        // A connection that waits holds no memory for the burst it once had.
        self.pieces.rest = VecDeque::new();
    }

    fn append(&mut self, frames: &[Bytes], volatile: Volatile) {
        for (number, frame) in frames.iter().enumerate() {
            self.bytes += frame.len();
            self.pieces.push_back(Piece { bytes: frame.clone(), volatile, continues: number > 0 });
        }
    }

    /// The packet at the front is partly written.
    fn begun(&mut self) {
        let mut pieces = self.pieces.iter_mut();
        if let Some(first) = pieces.next() {
            first.volatile = None;
        }
        pieces.take_while(|piece| piece.continues).for_each(|piece| piece.volatile = None);
    }

    fn drop_volatile(&mut self) {
        // The front may be the middle of a packet of which pieces are written already.
        if self.pieces.first.as_ref().is_some_and(|first| first.continues) {
            self.begun();
        }
        let bytes = &mut self.bytes;
        self.pieces.retain(|piece| {
            if piece.volatile.is_some() {
                *bytes -= piece.bytes.len();
            }
            piece.volatile.is_none()
        });
    }

    /// Drops the latest packet of a subject, if it is of one piece and gives back as much as is `needed`.
    fn drop_older(&mut self, subject: NonZeroU32, needed: usize) {
        let from = self.pieces.len().saturating_sub(LOOKED_THROUGH);
        let is_older = |piece: &Piece| piece.volatile == Some(subject) && piece.bytes.len() >= needed;
        let Some(at) = (from..self.pieces.len()).rfind(|&at| self.pieces.get(at).is_some_and(is_older)) else { return };
        let is_whole = |at: usize| self.pieces.get(at).is_none_or(|piece| !piece.continues);
        if is_whole(at)
            && is_whole(at + 1)
            && let Some(older) = self.pieces.remove(at)
        {
            self.bytes -= older.bytes.len();
        }
    }
}

impl Pieces {
    fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    fn get(&self, at: usize) -> Option<&Piece> {
        at.checked_sub(1).map_or(self.first.as_ref(), |at| self.rest.get(at))
    }

    fn iter(&self) -> impl Iterator<Item = &Piece> {
        self.first.iter().chain(&self.rest)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Piece> {
        self.first.iter_mut().chain(&mut self.rest)
    }

    fn push_back(&mut self, piece: Piece) {
        if self.first.is_none() {
            self.first = Some(piece);
        } else {
            self.rest.push_back(piece);
        }
    }

    fn pop_front(&mut self) {
        self.first = self.rest.pop_front();
    }

    fn remove(&mut self, at: usize) -> Option<Piece> {
        let Some(at) = at.checked_sub(1) else { return std::mem::replace(&mut self.first, self.rest.pop_front()) };
        self.rest.remove(at)
    }

    fn retain(&mut self, mut is_kept: impl FnMut(&Piece) -> bool) {
        self.rest.retain(&mut is_kept);
        if self.first.as_ref().is_some_and(|first| !is_kept(first)) {
            self.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 100;
    const NEWS: Volatile = NonZeroU32::new(1);
    const OTHER_NEWS: Volatile = NonZeroU32::new(2);

    fn packet(sizes: &[usize], fill: u8) -> Vec<Bytes> {
        sizes.iter().map(|&size| Bytes::from(vec![fill; size])).collect()
    }

    fn written(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !outbox.is_empty() {
            let take = |bytes: &[u8]| {
                let taken = step.min(bytes.len());
                out.extend_from_slice(&bytes[..taken]);
                Ok(taken)
            };
            outbox.write(take).unwrap();
        }
        assert_eq!(outbox.bytes(), 0);
        out
    }

    #[test]
    fn everything_goes_out_in_order_however_little_is_taken_at_a_time() {
        for step in [1, 3, 10, 1000] {
            let mut outbox = Outbox::default();
            outbox.push(&packet(&[10, 2, 5], 1), None, LIMIT).unwrap();
            outbox.push(&packet(&[7], 2), NEWS, LIMIT).unwrap();
            outbox.push_anyway(Bytes::from_static(&[3]));
            assert_eq!(written(&mut outbox, step), [vec![1; 17], vec![2; 7], vec![3]].concat());
        }
    }

    #[test]
    fn small_pieces_go_out_together_and_large_ones_by_themselves() {
        let mut outbox = Outbox::default();
        let sizes = [5, 7, LARGE, LARGE + 1, LARGE - 1, LARGE - 1, LARGE - 1, LARGE - 1, 5, 1];
        outbox.push(&packet(&sizes, 1), None, usize::MAX).unwrap();
        let mut writes = Vec::new();
        while !outbox.is_empty() {
            let take = |bytes: &[u8]| {
                writes.push(bytes.len());
                Ok(bytes.len())
            };
            outbox.write(take).unwrap();
        }
        assert_eq!(writes, [12, LARGE, LARGE + 1, 4 * LARGE - 4, 6]);
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn what_a_write_that_failed_was_offered_stays() {
        let mut outbox = Outbox::default();
        outbox.push(&packet(&[5, 7], 1), None, LIMIT).unwrap();
        let blocked = outbox.write(|_| Err(io::ErrorKind::WouldBlock.into()));
        assert_eq!(blocked.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(outbox.bytes(), 12);
        assert_eq!(written(&mut outbox, 1000), vec![1; 12]);
    }

    #[test]
    fn volatile_packets_give_way_whole() {
        let mut outbox = Outbox::default();
        outbox.push(&packet(&[20], 1), None, LIMIT).unwrap();
        outbox.push(&packet(&[10, 30], 2), NEWS, LIMIT).unwrap();
        outbox.push(&packet(&[30], 3), None, LIMIT).unwrap();
        assert_eq!(outbox.push(&packet(&[40], 4), NEWS, LIMIT), Err(SendError::Full));
        outbox.push(&packet(&[50], 5), None, LIMIT).unwrap();
        assert_eq!(outbox.push(&packet(&[1], 6), None, LIMIT), Err(SendError::Full));
        assert_eq!(written(&mut outbox, 1000), [vec![1; 20], vec![3; 30], vec![5; 50]].concat());
    }

    #[test]
    fn a_volatile_packet_that_has_begun_is_finished() {
        for already in [5, 10, 15] {
            let mut outbox = Outbox::default();
            outbox.push(&packet(&[10, 30], 2), NEWS, LIMIT).unwrap();
            outbox.push(&packet(&[20], 3), NEWS, LIMIT).unwrap();
            outbox.advance(already);
            outbox.push(&packet(&[60], 4), None, LIMIT).unwrap();
            let rest = [vec![2; 40 - already], vec![4; 60]].concat();
            assert_eq!(written(&mut outbox, 1000), rest, "{already} bytes were out");
        }
    }

    #[test]
    fn the_newest_of_a_subject_takes_the_place_of_an_older_one() {
        let mut outbox = Outbox::default();
        outbox.push(&packet(&[20], 1), None, LIMIT).unwrap();
        outbox.push(&packet(&[20], 2), NEWS, LIMIT).unwrap();
        outbox.push(&packet(&[20], 3), OTHER_NEWS, LIMIT).unwrap();
        outbox.push(&packet(&[40], 4), None, LIMIT).unwrap();
        outbox.push(&packet(&[18], 5), NEWS, LIMIT).unwrap();
        assert_eq!(outbox.push(&packet(&[30], 6), NEWS, LIMIT), Err(SendError::Full), "it would not fit even so");
        assert_eq!(outbox.push(&packet(&[10], 7), NonZeroU32::new(3), LIMIT), Err(SendError::Full), "nothing is older");
        assert_eq!(written(&mut outbox, 1000), [vec![1; 20], vec![3; 20], vec![4; 40], vec![5; 18]].concat());
    }

    #[test]
    fn packets_of_several_pieces_and_such_as_have_begun_are_not_replaced() {
        let mut outbox = Outbox::default();
        outbox.push(&packet(&[50], 1), NEWS, LIMIT).unwrap();
        outbox.push(&packet(&[30, 20], 2), NEWS, LIMIT).unwrap();
        outbox.advance(1);
        assert_eq!(outbox.push(&packet(&[20], 3), NEWS, LIMIT), Err(SendError::Full));
        assert_eq!(written(&mut outbox, 1000), [vec![1; 49], vec![2; 50]].concat());
    }

    #[test]
    fn one_packet_larger_than_the_limit_goes_out_by_itself() {
        let mut outbox = Outbox::default();
        outbox.push(&packet(&[500], 1), None, LIMIT).unwrap();
        assert_eq!(outbox.push(&packet(&[1], 1), None, LIMIT), Err(SendError::Full));
    }

    #[test]
    fn what_is_held_follows_what_releases_it() {
        let mut outbox = Outbox::default();
        outbox.hold(&packet(&[3], 2), LIMIT).unwrap();
        outbox.push(&packet(&[1], 9), None, LIMIT).unwrap();
        outbox.release(Bytes::from_static(&[1]));
        assert_eq!(written(&mut outbox, 1000), [9, 1, 2, 2, 2]);
        outbox.close();
        assert_eq!(outbox.push(&packet(&[1], 1), None, LIMIT), Err(SendError::Closed));
    }
}
