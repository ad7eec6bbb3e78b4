//! WebSocket frames (RFC 6455), server side: what comes in is unmasked and checked, what goes out is a header and shared bytes.
//!
//! A frame of our own rather than a library's: what is sent is encoded once and shared by all recipients, and a
//! connection that waits holds no buffer. The libraries at hand own the stream, and with it a buffer per connection.

use bytes::{BufMut, Bytes, BytesMut};

/// Payload of a control frame at the most.
const CONTROL_BYTES: usize = 125;

/// What a decoder may hold besides a message of the largest size: a header, and a control frame that came amid the fragments.
#[cfg(any(fuzzing, test))]
pub(super) const HELD_BEYOND_LIMIT: usize = 14 + CONTROL_BYTES;

/// What a peer did against the protocol, and the close code that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    #[error("a frame from a client must be masked")]
    Unmasked,
    #[error("reserved bits are set though nothing was negotiated")]
    ReservedBits,
    #[error("there is no such opcode")]
    Opcode,
    #[error("a control frame is fragmented or too long")]
    Control,
    #[error("a length is not written in the shortest form")]
    Length,
    #[error("a continuation without a beginning")]
    Continuation,
    #[error("a new message before the last one ended")]
    Interleaved,
    #[error("text that is not UTF-8")]
    Utf8,
    #[error("a close frame with a code that must not be sent")]
    CloseCode,
    #[error("a message larger than allowed")]
    TooLarge,
}

impl Violation {
    /// The code of the close frame that answers it.
    pub(super) fn close_code(self) -> u16 {
        match self {
            Self::Utf8 => 1007,
            Self::TooLarge => 1009,
            _ => 1002,
        }
    }
}

/// What a peer sent, whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// The beginning of a frame.
struct Header {
    last: bool,
    opcode: Opcode,
    mask: [u8; 4],
    /// Bytes of the header itself.
    size: usize,
    /// Bytes of the payload.
    payload: usize,
}

impl Header {
    /// `None` when there are too few bytes to tell.
    fn read(bytes: &[u8], largest: usize) -> Result<Option<Self>, Violation> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Violation::ReservedBits);
        }
        let opcode = match first & 0x0f {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            _ => return Err(Violation::Opcode),
        };
        let last = first & 0x80 != 0;
        if second & 0x80 == 0 {
            return Err(Violation::Unmasked);
        }
        let short = usize::from(second & 0x7f);
        let control = matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong);
        if control && (!last || short > CONTROL_BYTES) {
            return Err(Violation::Control);
        }
        let (length, extended) = match (short, rest) {
            (126, [a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 2),
            (127, [a, b, c, d, e, f, g, h, ..]) => (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 8),
            (126 | 127, _) => return Ok(None),
            _ => (short as u64, 0),
        };
        if (extended == 2 && length <= CONTROL_BYTES as u64) || (extended == 8 && length <= u64::from(u16::MAX)) {
            return Err(Violation::Length);
        }
        let payload = usize::try_from(length).ok().filter(|&length| length <= largest).ok_or(Violation::TooLarge)?;
        let Some(mask) = rest.get(extended..extended + 4).and_then(|mask| mask.try_into().ok()) else {
            return Ok(None);
        };
        Ok(Some(Self { last, opcode, mask, size: 2 + extended + 4, payload }))
    }
}

/// Puts messages together. Holds memory only between the pieces of one.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// Bytes of a frame that has not arrived whole, or that wait their turn.
    waiting: Vec<u8>,
    /// The fragments of a message so far. Boxed: most connections never see one.
    fragments: Option<Box<Fragments>>,
}

#[derive(Debug)]
struct Fragments {
    text: bool,
    bytes: Vec<u8>,
}

/// What to do after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Take the next one.
    Go,
    /// Keep the rest for later.
    Pause,
}

impl Decoder {
    /// Reads on where the last call stopped, with what has come since, and hands each whole message to `take`.
    /// Returns `Pause` when `take` did.
    pub(super) fn read(
        &mut self,
        input: &mut [u8],
        largest: usize,
        mut take: impl FnMut(Message<'_>) -> Next,
    ) -> Result<Next, Violation> {
        if self.waiting.is_empty() {
            let (used, next) = self.messages(input, largest, &mut take)?;
            self.waiting.extend_from_slice(&input[used..]);
            return Ok(next);
        }
        let mut bytes = std::mem::take(&mut self.waiting);
        bytes.extend_from_slice(input);
        let (used, next) = self.messages(&mut bytes, largest, &mut take)?;
        if used == 0 {
            self.waiting = bytes;
        } else {
            // A large message is over: its memory doesn't stay behind for the few bytes after it.
            self.waiting = bytes[used..].to_vec();
        }
        Ok(next)
    }

    /// Bytes that wait for the rest of their message.
    #[cfg(any(fuzzing, test))]
    pub(super) fn held(&self) -> usize {
        self.waiting.len() + self.fragments.as_ref().map_or(0, |fragments| fragments.bytes.len())
    }

    /// Bytes of memory behind those.
    #[cfg(any(fuzzing, test))]
    pub(super) fn reserved(&self) -> usize {
        self.waiting.capacity() + self.fragments.as_ref().map_or(0, |fragments| fragments.bytes.capacity())
    }

    /// Takes whole frames off the front of `bytes`, and says how many bytes they were.
    fn messages(
        &mut self,
        bytes: &mut [u8],
        largest: usize,
        take: &mut impl FnMut(Message<'_>) -> Next,
    ) -> Result<(usize, Next), Violation> {
        let mut used = 0;
        while let Some(header) = Header::read(&bytes[used..], largest)? {
            self.admit(&header, largest)?;
            let begin = used + header.size;
            let Some(payload) = bytes.get_mut(begin..begin + header.payload) else { break };
            unmask(payload, header.mask);
            used = begin + header.payload;
            if self.frame(&header, payload, take)? == Next::Pause {
                return Ok((used, Next::Pause));
            }
        }
        Ok((used, Next::Go))
    }

    /// Whether a frame fits what came before it. Asked before its payload has come: that and the fragments are never held together
    /// unless they make a message of an allowed size.
    fn admit(&self, header: &Header, largest: usize) -> Result<(), Violation> {
        match (header.opcode, &self.fragments) {
            (Opcode::Text | Opcode::Binary, Some(_)) => Err(Violation::Interleaved),
            (Opcode::Continuation, None) => Err(Violation::Continuation),
            (Opcode::Continuation, Some(so_far)) if so_far.bytes.len() + header.payload > largest => {
                Err(Violation::TooLarge)
            }
            _ => Ok(()),
        }
    }

    fn frame(
        &mut self,
        header: &Header,
        payload: &[u8],
        take: &mut impl FnMut(Message<'_>) -> Next,
    ) -> Result<Next, Violation> {
        match header.opcode {
            Opcode::Ping => Ok(take(Message::Ping(payload))),
            Opcode::Pong => Ok(take(Message::Pong)),
            Opcode::Close => check_close(payload).map(|()| take(Message::Close)),
            Opcode::Text | Opcode::Binary => {
                let text = header.opcode == Opcode::Text;
                if header.last {
                    return message(text, payload).map(take);
                }
                self.fragments = Some(Box::new(Fragments { text, bytes: payload.to_vec() }));
                Ok(Next::Go)
            }
            Opcode::Continuation => {
                let fragments = self.fragments.as_mut().ok_or(Violation::Continuation)?;
                fragments.bytes.extend_from_slice(payload);
                if !header.last {
                    return Ok(Next::Go);
                }
                let Some(whole) = self.fragments.take() else { return Ok(Next::Go) };
                message(whole.text, &whole.bytes).map(take)
            }
        }
    }
}

fn message(text: bool, payload: &[u8]) -> Result<Message<'_>, Violation> {
    if !text {
        return Ok(Message::Binary(payload));
    }
    std::str::from_utf8(payload).map(Message::Text).map_err(|_| Violation::Utf8)
}

/// Section 7.4: which codes may stand on the wire, and the reason must be text.
fn check_close(payload: &[u8]) -> Result<(), Violation> {
    match payload {
        [] => Ok(()),
        [_] => Err(Violation::Control),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(Violation::CloseCode);
            }
            std::str::from_utf8(reason).map(|_| ()).map_err(|_| Violation::Utf8)
        }
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let mut chunks = payload.chunks_exact_mut(4);
    for chunk in &mut chunks {
        chunk.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    }
    chunks.into_remainder().iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PONG: u8 = 0x8a;

fn header(buffer: &mut BytesMut, first: u8, payload: usize) {
    buffer.put_u8(first);
    match payload {
        // Both fit, by the patterns.
        0..=125 => buffer.put_u8(payload as u8),
        126..=0xffff => {
            buffer.put_u8(126);
            buffer.put_u16(payload as u16);
        }
        _ => {
            buffer.put_u8(127);
            buffer.put_u64(payload as u64);
        }
    }
}

/// A text frame of these pieces.
pub(super) fn text(pieces: &[&str]) -> Bytes {
    let length = pieces.iter().map(|piece| piece.len()).sum();
    let mut frame = BytesMut::with_capacity(10 + length);
    header(&mut frame, TEXT, length);
    pieces.iter().for_each(|piece| frame.put_slice(piece.as_bytes()));
    frame.freeze()
}

/// The header of a binary frame; its payload goes out as it is.
pub(super) fn binary_header(payload: usize) -> Bytes {
    let mut frame = BytesMut::with_capacity(10);
    header(&mut frame, BINARY, payload);
    frame.freeze()
}

/// A close frame with a code.
pub(super) fn close(code: u16) -> Bytes {
    let mut frame = BytesMut::with_capacity(4);
    header(&mut frame, CLOSE, 2);
    frame.put_u16(code);
    frame.freeze()
}

/// The answer to a ping.
pub(super) fn pong(payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(2 + payload.len());
    header(&mut frame, PONG, payload.len());
    frame.put_slice(payload);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGEST: usize = 100_000;
    const MASK: [u8; 4] = [1, 2, 3, 4];

    /// A frame as a client sends it.
    fn client(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut head = BytesMut::new();
        header(&mut head, first, payload.len());
        head[1] |= 0x80;
        let mut frame = head.to_vec();
        frame.extend(MASK);
        let mut payload = payload.to_vec();
        unmask(&mut payload, MASK);
        frame.extend(payload);
        frame
    }

    fn owned(message: &Message<'_>) -> String {
        match message {
            Message::Text(text) => format!("text {text}"),
            Message::Binary(bytes) => format!("binary {bytes:?}"),
            Message::Ping(bytes) => format!("ping {bytes:?}"),
            Message::Pong => "pong".to_owned(),
            Message::Close => "close".to_owned(),
        }
    }

    /// Feeds `input` in pieces of `step` bytes.
    fn read(input: &[u8], step: usize) -> Result<Vec<String>, Violation> {
        let mut decoder = Decoder::default();
        let mut messages = Vec::new();
        for piece in input.chunks(step) {
            decoder.read(&mut piece.to_vec(), LARGEST, |message| {
                messages.push(owned(&message));
                Next::Go
            })?;
        }
        Ok(messages)
    }

    #[test]
    fn messages_arrive_whole_however_the_bytes_are_cut() {
        let mut input = Vec::new();
        input.extend(client(0x81, b"hello"));
        input.extend(client(0x01, "gr\u{fc}".as_bytes()));
        input.extend(client(0x89, b"p"));
        input.extend(client(0x80, "\u{df}e".as_bytes()));
        input.extend(client(0x82, &[7; 300]));
        input.extend(client(0x82, &[8; 70_000]));
        input.extend(client(0x8a, b""));
        input.extend(client(0x88, &[3, 232]));
        let expected = [
            "text hello".to_owned(),
            format!("ping {:?}", b"p"),
            "text gr\u{fc}\u{df}e".to_owned(),
            format!("binary {:?}", [7; 300]),
            format!("binary {:?}", vec![8; 70_000]),
            "pong".to_owned(),
            "close".to_owned(),
        ];
        for step in [1, 2, 3, 7, 64, 1000, input.len()] {
            assert_eq!(read(&input, step).unwrap(), expected, "in pieces of {step}");
        }
    }

    #[test]
    fn every_violation_is_found() {
        let split_utf8 = [client(0x01, &[0xc3]), client(0x80, &[0x28])].concat();
        let cases: [(&str, Vec<u8>, Violation); 16] = [
            ("unmasked", vec![0x81, 0x01, b'x'], Violation::Unmasked),
            ("rsv1", client(0xc1, b""), Violation::ReservedBits),
            ("opcode 3", client(0x83, b""), Violation::Opcode),
            ("opcode 11", client(0x8b, b""), Violation::Opcode),
            ("fragmented ping", client(0x09, b""), Violation::Control),
            ("long ping", client(0x89, &[0; 126]), Violation::Control),
            ("continuation of nothing", client(0x80, b""), Violation::Continuation),
            ("text within text", [client(0x01, b"a"), client(0x81, b"b")].concat(), Violation::Interleaved),
            ("bad utf-8", client(0x81, &[0xff]), Violation::Utf8),
            ("bad utf-8 over fragments", split_utf8, Violation::Utf8),
            ("length in a longer form", vec![0x81, 0xfe, 0, 5], Violation::Length),
            ("length in the longest form", vec![0x81, 0xff, 0, 0, 0, 0, 0, 0, 1, 0], Violation::Length),
            ("too large", vec![0x82, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0], Violation::TooLarge),
            ("close of one byte", client(0x88, &[3]), Violation::Control),
            ("close with code 1005", client(0x88, &[3, 237]), Violation::CloseCode),
            ("close with bad text", client(0x88, &[3, 232, 0xff]), Violation::Utf8),
        ];
        for (name, input, violation) in cases {
            assert_eq!(read(&input, input.len()), Err(violation), "{name}");
            assert_eq!(read(&input, 1), Err(violation), "{name}, byte by byte");
        }
    }

    #[test]
    fn endless_fragments_end_at_the_limit() {
        let mut decoder = Decoder::default();
        decoder.read(&mut client(0x02, &[0; 1000]), LARGEST, |_| Next::Go).unwrap();
        let mut fed = 1000;
        let violation = loop {
            match decoder.read(&mut client(0x00, &[0; 1000]), LARGEST, |_| Next::Go) {
                Ok(_) => fed += 1000,
                Err(violation) => break violation,
            }
        };
        assert_eq!((violation, fed), (Violation::TooLarge, LARGEST));
    }

    #[test]
    fn a_fragment_past_the_limit_is_refused_before_it_has_come() {
        let mut decoder = Decoder::default();
        decoder.read(&mut client(0x02, &[0; LARGEST]), LARGEST, |_| Next::Go).unwrap();
        let mut more = client(0x00, &[0; 1]);
        more.truncate(more.len() - 1);
        assert_eq!(decoder.read(&mut more, LARGEST, |_| Next::Go), Err(Violation::TooLarge));
    }

    #[test]
    fn a_large_message_leaves_no_memory_behind() {
        let mut decoder = Decoder::default();
        let mut input = [client(0x82, &[0; LARGEST]), client(0x81, b"next")].concat();
        let (first, rest) = input.split_at_mut(LARGEST / 2);
        let (rest, _) = rest.split_at_mut(rest.len() - 1);
        decoder.read(first, LARGEST, |_| Next::Go).unwrap();
        decoder.read(rest, LARGEST, |_| Next::Go).unwrap();
        assert!(decoder.held() == 9 && decoder.reserved() < 100, "{} for {}", decoder.reserved(), decoder.held());
    }

    #[test]
    fn a_pause_keeps_the_rest() {
        let mut input = [client(0x81, b"a"), client(0x81, b"b"), client(0x81, b"c")].concat();
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        let mut pause = |message: Message<'_>| {
            seen.push(owned(&message));
            Next::Pause
        };
        assert_eq!(decoder.read(&mut input, LARGEST, &mut pause), Ok(Next::Pause));
        assert_eq!(decoder.read(&mut [], LARGEST, &mut pause), Ok(Next::Pause));
        assert_eq!(decoder.read(&mut [], LARGEST, &mut pause), Ok(Next::Pause));
        assert_eq!(seen, ["text a", "text b", "text c"]);
        assert_eq!(decoder.held(), 0);
    }
}
