//! What waits to be written to one connection: bounded by bytes, shared with all other recipients.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};

use crate::lanes::SendError;

/// Pieces that go into one system call.
pub(super) const SLICES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// What is meant for a socket whose CONNECT is not answered yet.
    held: Vec<Bytes>,
    /// Set when nothing more is taken.
    closed: bool,
}

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    /// May be dropped to make room, together with the pieces of the same packet that follow it.
    volatile: bool,
    /// Whether the piece before is of the same packet.
    continues: bool,
}

impl Outbox {
    /// Queues a packet, whole or not at all. When it does not fit, volatile packets give way first.
    pub(super) fn push(&mut self, frames: &[Bytes], volatile: bool, limit: usize) -> Result<(), SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        let size: usize = frames.iter().map(Bytes::len).sum();
        // A packet larger than the limit goes out when nothing else waits.
        if self.bytes + size > limit && self.bytes > 0 {
            if volatile {
                return Err(SendError::Full);
            }
            self.drop_volatile();
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
            self.append(&[frame], false);
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

    /// The next pieces to write, and how many of `slices` they fill.
    pub(super) fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(&piece.bytes);
            filled += 1;
        }
        filled
    }

    /// Forgets what was written.
    pub(super) fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(piece) = self.pieces.front_mut() {
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
        self.pieces = VecDeque::new();
    }

    fn append(&mut self, frames: &[Bytes], volatile: bool) {
        for (number, frame) in frames.iter().enumerate() {
            self.bytes += frame.len();
            self.pieces.push_back(Piece { bytes: frame.clone(), volatile, continues: number > 0 });
        }
    }

    /// The packet at the front is partly written.
    fn begun(&mut self) {
        let mut pieces = self.pieces.iter_mut();
        if let Some(first) = pieces.next() {
            first.volatile = false;
        }
        pieces.take_while(|piece| piece.continues).for_each(|piece| piece.volatile = false);
    }

    fn drop_volatile(&mut self) {
        // The front may be the middle of a packet of which pieces are written already.
        if self.pieces.front().is_some_and(|front| front.continues) {
            self.begun();
        }
        let bytes = &mut self.bytes;
        self.pieces.retain(|piece| {
            if piece.volatile {
                *bytes -= piece.bytes.len();
            }
            !piece.volatile
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 100;

    fn packet(sizes: &[usize], fill: u8) -> Vec<Bytes> {
        sizes.iter().map(|&size| Bytes::from(vec![fill; size])).collect()
    }

    fn written(outbox: &mut Outbox, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !outbox.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = outbox.fill(&mut slices);
            let all: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
            let now = all[..step.min(all.len())].to_vec();
            outbox.advance(now.len());
            out.extend(now);
        }
        assert_eq!(outbox.bytes(), 0);
        out
    }

    #[test]
    fn everything_goes_out_in_order_however_little_is_taken_at_a_time() {
        for step in [1, 3, 10, 1000] {
            let mut outbox = Outbox::default();
            outbox.push(&packet(&[10, 2, 5], 1), false, LIMIT).unwrap();
            outbox.push(&packet(&[7], 2), true, LIMIT).unwrap();
            outbox.push_anyway(Bytes::from_static(&[3]));
            assert_eq!(written(&mut outbox, step), [vec![1; 17], vec![2; 7], vec![3]].concat());
        }
    }

    #[test]
    fn volatile_packets_give_way_whole() {
        let mut outbox = Outbox::default();
        outbox.push(&packet(&[20], 1), false, LIMIT).unwrap();
        outbox.push(&packet(&[10, 30], 2), true, LIMIT).unwrap();
        outbox.push(&packet(&[30], 3), false, LIMIT).unwrap();
        assert_eq!(outbox.push(&packet(&[40], 4), true, LIMIT), Err(SendError::Full));
        outbox.push(&packet(&[50], 5), false, LIMIT).unwrap();
        assert_eq!(outbox.push(&packet(&[1], 6), false, LIMIT), Err(SendError::Full));
        assert_eq!(written(&mut outbox, 1000), [vec![1; 20], vec![3; 30], vec![5; 50]].concat());
    }

    #[test]
    fn a_volatile_packet_that_has_begun_is_finished() {
        for already in [5, 10, 15] {
            let mut outbox = Outbox::default();
            outbox.push(&packet(&[10, 30], 2), true, LIMIT).unwrap();
            outbox.push(&packet(&[20], 3), true, LIMIT).unwrap();
            outbox.advance(already);
            outbox.push(&packet(&[60], 4), false, LIMIT).unwrap();
            let rest = [vec![2; 40 - already], vec![4; 60]].concat();
            assert_eq!(written(&mut outbox, 1000), rest, "{already} bytes were out");
        }
    }

    #[test]
    fn one_packet_larger_than_the_limit_goes_out_by_itself() {
        let mut outbox = Outbox::default();
        outbox.push(&packet(&[500], 1), false, LIMIT).unwrap();
        assert_eq!(outbox.push(&packet(&[1], 1), false, LIMIT), Err(SendError::Full));
    }

    #[test]
    fn what_is_held_follows_what_releases_it() {
        let mut outbox = Outbox::default();
        outbox.hold(&packet(&[3], 2), LIMIT).unwrap();
        outbox.push(&packet(&[1], 9), false, LIMIT).unwrap();
        outbox.release(Bytes::from_static(&[1]));
        assert_eq!(written(&mut outbox, 1000), [9, 1, 2, 2, 2]);
        outbox.close();
        assert_eq!(outbox.push(&packet(&[1], 1), false, LIMIT), Err(SendError::Closed));
    }
}
