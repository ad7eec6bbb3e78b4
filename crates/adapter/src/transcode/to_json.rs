//! From msgpack to JSON text and attachments, with the result that a Node server's clients would see.

use std::{borrow::Cow, fmt::Write};

use bytes::Bytes;
use trunkline_hub::Encoded;

use super::{DecodeError, MAX_DEPTH, Reader, Token, date, is_reserved, lossy, number::write_number};

/// Transcodes one value of any kind, which must be all of `input`.
pub(crate) fn to_json(input: &[u8]) -> Result<Encoded, DecodeError> {
    let mut writer = Writer::new(input);
    if writer.value(0)? == Written::Undefined {
        writer.text.push_str("null");
    }
    writer.input.end()?;
    Ok(writer.finish())
}

/// Transcodes the `data` of a packet: an array that starts with the event's name.
pub(crate) fn event_to_json(input: &[u8]) -> Result<Encoded, DecodeError> {
    let mut peek = Reader::new(input);
    let Token::Array(1..) = peek.token()? else { return Err(DecodeError::NotAnEvent) };
    match peek.token()? {
        Token::Text(name) if !is_reserved(&lossy(name)) => {}
        Token::Unsigned(_) | Token::Negative(_) => {}
        // Others are `null` in JSON, and a client that receives that as a name closes its connection.
        Token::Float(name) if name.is_finite() => {}
        _ => return Err(DecodeError::NotAnEvent),
    }
    to_json(input)
}

#[derive(PartialEq, Eq)]
enum Written {
    Value,
    /// JavaScript's `undefined`, for which nothing was written.
    Undefined,
}

struct Writer<'a> {
    input: Reader<'a>,
    text: String,
    attachments: Vec<Bytes>,
}

impl<'a> Writer<'a> {
    fn new(input: &'a [u8]) -> Self {
        // Text grows a little: quotes, commas and numbers are longer than msgpack's markers.
        let text = String::with_capacity(input.len() + input.len() / 4);
        Self { input: Reader::new(input), text, attachments: Vec::new() }
    }

    fn finish(self) -> Encoded {
        Encoded::new(self.text, self.attachments)
    }

    /// `depth` is the number of containers around the value.
    fn value(&mut self, depth: usize) -> Result<Written, DecodeError> {
        match self.input.token()? {
            Token::Nil => self.text.push_str("null"),
            Token::Bool(value) => self.text.push_str(if value { "true" } else { "false" }),
            Token::Unsigned(value) => self.digits(value),
            Token::Negative(value) => self.digits(value),
            Token::Float(value) => write_number(&mut self.text, value),
            Token::Text(text) => self.string(&lossy(text)),
            Token::Binary(bytes) => self.attachment(bytes, depth)?,
            Token::Array(length) => self.array(length, depth)?,
            Token::Map(length) => self.map(length, depth)?,
            Token::Extension(kind, bytes) => return self.extension(kind, bytes, depth),
        }
        Ok(Written::Value)
    }

    fn array(&mut self, length: usize, depth: usize) -> Result<(), DecodeError> {
        let depth = inside(depth)?;
        self.text.push('[');
        for index in 0..length {
            if index > 0 {
                self.text.push(',');
            }
            if self.value(depth)? == Written::Undefined {
                self.text.push_str("null");
            }
        }
        self.text.push(']');
        Ok(())
    }

    fn map(&mut self, length: usize, depth: usize) -> Result<(), DecodeError> {
        let depth = inside(depth)?;
        self.text.push('{');
        let start = self.text.len();
        for _ in 0..length {
            let before = self.text.len();
            if before > start {
                self.text.push(',');
            }
            let key = self.key()?;
            self.string(&key);
            self.text.push(':');
            if self.value(depth)? == Written::Undefined {
                self.text.truncate(before);
            }
        }
        self.text.push('}');
        Ok(())
    }

    /// JavaScript turns every key into text.
    fn key(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        Ok(match self.input.token()? {
            Token::Text(text) => lossy(text),
            Token::Unsigned(value) => value.to_string().into(),
            Token::Negative(value) => value.to_string().into(),
            Token::Float(value) => {
                let mut text = String::new();
                write_number(&mut text, value);
                text.into()
            }
            Token::Bool(value) => value.to_string().into(),
            Token::Nil => "null".into(),
            Token::Binary(_) | Token::Array(_) | Token::Map(_) | Token::Extension(..) => return Err(DecodeError::Key),
        })
    }

    /// What notepack reads from extension types, and what `JSON.stringify` makes of that.
    fn extension(&mut self, kind: i8, bytes: &[u8], depth: usize) -> Result<Written, DecodeError> {
        match (kind, bytes.len()) {
            (0, 1) => return Ok(Written::Undefined),
            (0, 8) => self.date(millis_of_legacy_date(bytes)),
            (0, _) => self.attachment(bytes, depth)?,
            (-1, 4 | 8 | 12) => self.date(millis_of_timestamp(bytes)),
            _ => {
                self.text.push('[');
                self.text.push_str(&kind.to_string());
                self.text.push(',');
                self.attachment(bytes, inside(depth)?)?;
                self.text.push(']');
            }
        }
        Ok(Written::Value)
    }

    fn digits(&mut self, value: impl std::fmt::Display) {
        // Writing into a `String` can't fail.
        let _ = write!(self.text, "{value}");
    }

    fn date(&mut self, millis: Option<i64>) {
        match millis.and_then(date::iso) {
            Some(text) => self.string(&text),
            None => self.text.push_str("null"),
        }
    }

    fn attachment(&mut self, bytes: &[u8], depth: usize) -> Result<(), DecodeError> {
        // The placeholder is an object.
        inside(depth)?;
        let placeholder = format!(r#"{{"_placeholder":true,"num":{}}}"#, self.attachments.len());
        self.text.push_str(&placeholder);
        self.attachments.push(Bytes::copy_from_slice(bytes));
        Ok(())
    }

    fn string(&mut self, text: &str) {
        self.text.push('"');
        if is_clean(text) {
            self.text.push_str(text);
            self.text.push('"');
            return;
        }
        let mut clean = 0;
        for (at, byte) in text.bytes().enumerate() {
            let escape: &str = match byte {
                b'"' => "\\\"",
                b'\\' => "\\\\",
                b'\n' => "\\n",
                b'\r' => "\\r",
                b'\t' => "\\t",
                0x08 => "\\b",
                0x0c => "\\f",
                0x00..=0x1f => &format!("\\u{byte:04x}"),
                _ => continue,
            };
            // All of these bytes are ASCII, so the cuts are at character boundaries.
            self.text.push_str(text.get(clean..at).unwrap_or_default());
            self.text.push_str(escape);
            clean = at + 1;
        }
        self.text.push_str(text.get(clean..).unwrap_or_default());
        self.text.push('"');
    }
}

/// Whether nothing in it has to be escaped, as in most texts. Looked through in steps in which no byte decides anything by itself,
/// so that the processor takes each as a whole.
fn is_clean(text: &str) -> bool {
    let is_special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    text.as_bytes().chunks(32).all(|step| !step.iter().fold(false, |found, &byte| found | is_special(byte)))
}

/// How deep the elements of a container are.
fn inside(depth: usize) -> Result<usize, DecodeError> {
    if depth < MAX_DEPTH { Ok(depth + 1) } else { Err(DecodeError::TooDeep) }
}

/// notepack 2 wrote dates as milliseconds.
fn millis_of_legacy_date(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.try_into().ok()?))
}

/// The timestamp extension of msgpack: seconds; 30 bits of nanoseconds and 34 of seconds; or both in full.
fn millis_of_timestamp(bytes: &[u8]) -> Option<i64> {
    let (seconds, nanos) = match bytes.len() {
        4 => (i64::from(u32::from_be_bytes(bytes.try_into().ok()?)), 0),
        8 => {
            let both = u64::from_be_bytes(bytes.try_into().ok()?);
            (i64::try_from(both & 0x3_ffff_ffff).ok()?, u32::try_from(both >> 34).ok()?)
        }
        _ => {
            let (nanos, seconds) = bytes.split_first_chunk()?;
            (i64::from_be_bytes(seconds.try_into().ok()?), u32::from_be_bytes(*nanos))
        }
    };
    seconds.checked_mul(1_000)?.checked_add(i64::from(nanos / 1_000_000))
}
