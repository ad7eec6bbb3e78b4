//! From JSON text and attachments to msgpack, in one pass and without a tree in between.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use trunkline_hub::Encoded;

use super::{
    EncodeError, Reader, Token, is_reserved,
    write::{self, Container},
};

/// Appends an event, that is an array which starts with the event's name.
pub(crate) fn event_to_msgpack(event: &Encoded, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let kind = with_repaired_text(&event.text, out, |text, out| {
        let mut reader = serde_json::Deserializer::from_str(text);
        let kind = Value { out, attachments: &event.attachments }.deserialize(&mut reader)?;
        reader.end()?;
        Ok(kind)
    })?;
    match kind {
        Kind::Event => Ok(()),
        _ => Err(EncodeError::NotAnEvent),
    }
}

/// The first argument of an ack; `None` when it has none.
pub(crate) fn first_to_msgpack(args: &Encoded) -> Result<Option<Vec<u8>>, EncodeError> {
    let mut out = Vec::with_capacity(args.len());
    with_repaired_text(&args.text, &mut out, |text, out| {
        let mut reader = serde_json::Deserializer::from_str(text);
        Value { out, attachments: &args.attachments }.deserialize(&mut reader)?;
        reader.end()
    })?;
    let mut reader = Reader::new(&out);
    match reader.token() {
        Ok(Token::Array(1..)) => Ok(reader.value().ok().map(<[u8]>::to_vec)),
        _ => Ok(None),
    }
}

/// Encodes any JSON value without attachments.
pub(crate) fn json_to_msgpack(text: &str) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::with_capacity(text.len());
    value_to_msgpack(text, &mut out)?;
    Ok(out)
}

/// Appends any JSON value without attachments.
pub(crate) fn value_to_msgpack(text: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    with_repaired_text(text, out, |text, out| {
        let mut reader = serde_json::Deserializer::from_str(text);
        Value { out, attachments: &[] }.deserialize(&mut reader)?;
        reader.end()
    })
}

/// Appends a JSON object as a map that counts `more` fields after its own, which are to follow.
///
/// # Errors
/// Besides bad JSON: there is a field whose name is reserved for those.
pub(crate) fn open_map_to_msgpack(
    object: &str,
    more: usize,
    is_reserved: impl Fn(&str) -> bool,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    if !object.trim_ascii_start().starts_with('{') {
        return Err(EncodeError::NotAnObject);
    }
    let refused = with_repaired_text(object, out, |text, out| {
        let mut reader = serde_json::Deserializer::from_str(text);
        let refused = reader.deserialize_map(Fields { out, more, is_reserved: &is_reserved })?;
        reader.end()?;
        Ok(refused)
    })?;
    refused.map_or(Ok(()), |name| Err(EncodeError::FilledTwice(name)))
}

/// Runs `write` over `text`. JavaScript allows half of a surrogate pair in its strings and escapes it in JSON, which
/// parsers elsewhere refuse: on failure such halves are replaced and `write` starts over.
fn with_repaired_text<T>(
    text: &str,
    out: &mut Vec<u8>,
    write: impl Fn(&str, &mut Vec<u8>) -> Result<T, serde_json::Error>,
) -> Result<T, EncodeError> {
    let start = out.len();
    write(text, out)
        .or_else(|error| {
            let repaired = replace_lone_surrogates(text).ok_or(error)?;
            out.truncate(start);
            write(&repaired, out)
        })
        .map_err(EncodeError::Json)
}

/// What was written, as far as someone further out needs to know it.
enum Kind {
    True,
    Index(u64),
    /// An array that starts with the name of an event.
    Event,
    /// A name that an event may have.
    Name,
    Other,
}

struct Value<'a> {
    out: &'a mut Vec<u8>,
    attachments: &'a [Bytes],
}

impl<'a> Value<'a> {
    fn inner(&mut self) -> Value<'_> {
        Value { out: self.out, attachments: self.attachments }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Kind;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        write::nil(self.out);
        Ok(Kind::Other)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        write::boolean(self.out, value);
        Ok(if value { Kind::True } else { Kind::Other })
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        write::unsigned(self.out, value);
        Ok(Kind::Index(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        write::signed(self.out, value);
        Ok(Kind::Name)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
        write::number(self.out, value);
        Ok(Kind::Name)
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        write::text(self.out, value);
        Ok(if is_reserved(value) { Kind::Other } else { Kind::Name })
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Kind, A::Error> {
        let container = Container::open(self.out);
        let mut kind = Kind::Other;
        let mut length = 0;
        while let Some(element) = seq.next_element_seed(self.inner())? {
            if length == 0 && matches!(element, Kind::Name | Kind::Index(_)) {
                kind = Kind::Event;
            }
            length += 1;
        }
        container.close_array(self.out, length);
        Ok(kind)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Kind, A::Error> {
        let container = Container::open(self.out);
        let mut length = 0;
        let mut is_placeholder = false;
        let mut number = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            write::text(self.out, &key);
            match (&*key, map.next_value_seed(self.inner())?) {
                ("_placeholder", kind) => is_placeholder = matches!(kind, Kind::True),
                ("num", Kind::Index(index)) => number = Some(index),
                _ => {}
            }
            length += 1;
        }
        match number {
            // Without attachments it is a user's object that only looks like a placeholder.
            Some(number) if is_placeholder && !self.attachments.is_empty() => {
                let attachment = usize::try_from(number).ok().and_then(|number| self.attachments.get(number));
                let attachment = attachment.ok_or_else(|| A::Error::custom("a placeholder names no attachment"))?;
                container.discard(self.out);
                write::binary(self.out, attachment);
            }
            _ => container.close_map(self.out, length),
        }
        Ok(Kind::Other)
    }
}

/// An object with room for more fields. Its value is the last field that should not be there.
struct Fields<'a, F> {
    out: &'a mut Vec<u8>,
    more: usize,
    is_reserved: F,
}

impl<'de, F: Fn(&str) -> bool> Visitor<'de> for Fields<'_, F> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<String>, A::Error> {
        let container = Container::open(self.out);
        let mut length = self.more;
        let mut refused = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            write::text(self.out, &key);
            map.next_value_seed(Value { out: self.out, attachments: &[] })?;
            length += 1;
            if (self.is_reserved)(&key) {
                refused = Some(key.into_owned());
            }
        }
        container.close_map(self.out, length);
        Ok(refused)
    }
}

/// Replaces each `\uD800`…`\uDFFF` that is half of no pair by `\ufffd`. `None` when there is none.
pub(crate) fn replace_lone_surrogates(text: &str) -> Option<String> {
    let mut fixed = String::with_capacity(text.len());
    let mut changed = false;
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        fixed.push_str(before);
        let taken = match surrogate(escape) {
            Some(0xd800..=0xdbff) if matches!(escape.get(6..).and_then(surrogate), Some(0xdc00..=0xdfff)) => 12,
            Some(_) => {
                changed = true;
                fixed.push_str("\\ufffd");
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            // A backslash and what it escapes; the latter may be the last, or more than one byte long.
            None => escape.char_indices().nth(2).map_or(escape.len(), |(end, _)| end),
        };
        let (kept, after) = escape.split_at_checked(taken)?;
        fixed.push_str(kept);
        rest = after;
    }
    fixed.push_str(rest);
    changed.then_some(fixed)
}

/// The surrogate that `text` starts with as an escape.
fn surrogate(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let unit = u16::from_str_radix(digits, 16).ok()?;
    (0xd800..=0xdfff).contains(&unit).then_some(unit)
}
