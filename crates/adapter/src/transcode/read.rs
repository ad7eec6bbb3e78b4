//! Reads msgpack, one token at a time, without trusting a single length.

use std::borrow::Cow;

use super::DecodeError;

/// What stands at the front of the input. Containers are followed by their elements.
#[derive(Debug, PartialEq)]
pub(crate) enum Token<'a> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    /// Always negative.
    Negative(i64),
    Float(f64),
    /// Meant to be UTF-8; not checked.
    Text(&'a [u8]),
    Binary(&'a [u8]),
    /// The number of elements that follow.
    Array(usize),
    /// The number of pairs that follow.
    Map(usize),
    Extension(i8, &'a [u8]),
}

/// A cursor over msgpack. Every method fails rather than reading past the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// Takes the next token. A container's announced length is at most what the remaining bytes can hold,
    /// so a caller may reserve memory for it.
    pub(crate) fn token(&mut self) -> Result<Token<'a>, DecodeError> {
        let [marker] = self.array::<1>()?;
        Ok(match marker {
            0x00..=0x7f => Token::Unsigned(marker.into()),
            0x80..=0x8f => self.map(usize::from(marker & 0x0f))?,
            0x90..=0x9f => self.sequence(usize::from(marker & 0x0f))?,
            0xa0..=0xbf => Token::Text(self.bytes(usize::from(marker & 0x1f))?),
            0xc0 => Token::Nil,
            0xc1 => return Err(DecodeError::Marker(marker)),
            0xc2 | 0xc3 => Token::Bool(marker == 0xc3),
            0xc4..=0xc6 => {
                let length = self.length(marker - 0xc4)?;
                Token::Binary(self.bytes(length)?)
            }
            0xc7..=0xc9 => {
                let length = self.length(marker - 0xc7)?;
                self.extension(length)?
            }
            0xca => Token::Float(f32::from_be_bytes(self.array()?).into()),
            0xcb => Token::Float(f64::from_be_bytes(self.array()?)),
            0xcc => Token::Unsigned(u8::from_be_bytes(self.array()?).into()),
            0xcd => Token::Unsigned(u16::from_be_bytes(self.array()?).into()),
            0xce => Token::Unsigned(u32::from_be_bytes(self.array()?).into()),
            0xcf => Token::Unsigned(u64::from_be_bytes(self.array()?)),
            0xd0 => signed(i8::from_be_bytes(self.array()?).into()),
            0xd1 => signed(i16::from_be_bytes(self.array()?).into()),
            0xd2 => signed(i32::from_be_bytes(self.array()?).into()),
            0xd3 => signed(i64::from_be_bytes(self.array()?)),
            0xd4..=0xd8 => self.extension(1 << (marker - 0xd4))?,
            0xd9..=0xdb => {
                let length = self.length(marker - 0xd9)?;
                Token::Text(self.bytes(length)?)
            }
            0xdc | 0xdd => {
                let length = self.length(marker - 0xdc + 1)?;
                self.sequence(length)?
            }
            0xde | 0xdf => {
                let length = self.length(marker - 0xde + 1)?;
                self.map(length)?
            }
            0xe0..=0xff => Token::Negative(i8::from_be_bytes([marker]).into()),
        })
    }

    /// Takes the next value whole and returns its bytes.
    pub(crate) fn value(&mut self) -> Result<&'a [u8], DecodeError> {
        let start = self.rest;
        let mut pending = 1_usize;
        while pending > 0 {
            pending -= 1;
            // Neither can overflow: both are bounded by the bytes that remain.
            match self.token()? {
                Token::Array(length) => pending += length,
                Token::Map(length) => pending += 2 * length,
                _ => {}
            }
        }
        start.get(..start.len() - self.rest.len()).ok_or(DecodeError::Truncated)
    }

    /// Makes sure that nothing is left.
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }

    /// Takes text, `None` when the next value is something else (which is taken all the same).
    pub(crate) fn text(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        let mut value = Self::new(self.value()?);
        Ok(match value.token()? {
            Token::Text(text) => Some(text),
            _ => None,
        })
    }

    fn sequence(&self, length: usize) -> Result<Token<'a>, DecodeError> {
        if length > self.rest.len() { Err(DecodeError::Truncated) } else { Ok(Token::Array(length)) }
    }

    fn map(&self, length: usize) -> Result<Token<'a>, DecodeError> {
        if length > self.rest.len() / 2 { Err(DecodeError::Truncated) } else { Ok(Token::Map(length)) }
    }

    fn extension(&mut self, length: usize) -> Result<Token<'a>, DecodeError> {
        let kind = i8::from_be_bytes(self.array()?);
        Ok(Token::Extension(kind, self.bytes(length)?))
    }

    /// A length of 1, 2 or 4 bytes, for `width` 0, 1 and 2.
    fn length(&mut self, width: u8) -> Result<usize, DecodeError> {
        Ok(match width {
            0 => u8::from_be_bytes(self.array()?).into(),
            1 => u16::from_be_bytes(self.array()?).into(),
            _ => usize::try_from(u32::from_be_bytes(self.array()?)).map_err(|_| DecodeError::Truncated)?,
        })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

fn signed<'a>(value: i64) -> Token<'a> {
    u64::try_from(value).map_or(Token::Negative(value), Token::Unsigned)
}

/// As text, with replacement characters for what is none. Nearly all is, which is faster to find out at once than piece by piece.
pub(crate) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}
