//! What every sent message carries in its content, wherever the server puts that: which stream it belongs to, its number there,
//! and when it was meant to leave. So any server's events can be counted without knowing their shape.

/// No server puts this byte into an event of its own accord.
const MARK: u8 = b'~';

/// Bytes of a stamp: the mark, 6 + 8 + 12 hexadecimal digits.
pub(crate) const LENGTH: usize = 27;

/// `number` counts from 1 within its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) stream: u32,
    pub(crate) number: u64,
    /// Nanoseconds since the run began.
    pub(crate) at: u64,
}

impl Stamp {
    /// A content of `bytes` bytes, or of as many as a stamp takes.
    pub(crate) fn content(self, bytes: usize) -> String {
        let Self { stream, number, at } = self;
        let mut content = format!("~{stream:06x}{number:08x}{at:012x}");
        content.extend(std::iter::repeat_n('x', bytes.saturating_sub(LENGTH)));
        content
    }

    /// Reads digits that follow a mark.
    fn read(digits: &[u8]) -> Option<Self> {
        let field = |begin, end| {
            digits.get(begin..end)?.iter().try_fold(0_u64, |sum, &digit| {
                let digit = match digit {
                    b'0'..=b'9' => digit - b'0',
                    b'a'..=b'f' => digit - b'a' + 10,
                    _ => return None,
                };
                Some(sum << 4 | u64::from(digit))
            })
        };
        Some(Self { stream: u32::try_from(field(0, 6)?).ok()?, number: field(6, 14)?, at: field(14, 26)? })
    }
}

/// Finds stamps: where the last one stood, or else by looking for it.
#[derive(Debug, Default)]
pub(crate) struct Finder {
    at: usize,
}

impl Finder {
    pub(crate) fn find(&mut self, event: &[u8]) -> Option<Stamp> {
        if event.get(self.at) != Some(&MARK) {
            self.at = event.iter().position(|&byte| byte == MARK)?;
        }
        Stamp::read(event.get(self.at + 1..)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_found_wherever_the_server_puts_it() {
        let stamp = Stamp { stream: 70_000, number: 12, at: 123_456_789_012 };
        let content = stamp.content(100);
        assert_eq!(content.len(), 100);
        let mut finder = Finder::default();
        for event in [format!(r#"["e",{{"a":1,"content":"{content}"}}]"#), format!(r#"["e","{content}",7]"#)] {
            assert_eq!(finder.find(event.as_bytes()), Some(stamp));
        }
        assert_eq!(finder.find(br#"["e","nothing"]"#), None);
        assert_eq!(finder.find(br#"["e","~abc"]"#), None);
    }
}
