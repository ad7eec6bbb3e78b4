//! What travels: the arguments of an event or an ack, encoded once and shared by every recipient.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    num::NonZeroU32,
    sync::OnceLock,
};

use bytes::Bytes;
use bytestring::ByteString;
use serde::{
    Serialize,
    de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny, SeqAccess, Visitor},
};

use crate::rooms::RoomName;

/// An encoded list of arguments, as it stands in a Socket.IO packet: JSON text with placeholders,
/// and the attachments they point at.
///
/// For an event the first element is its name: `["message:new",{"file":{"_placeholder":true,"num":0}}]`.
/// Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// A JSON array.
    pub text: ByteString,
    /// Binary arguments, in the order of their placeholders' `num`.
    pub attachments: Vec<Bytes>,
}

impl Encoded {
    /// Takes JSON text that the caller knows to be an array.
    pub fn new(text: impl Into<ByteString>, attachments: Vec<Bytes>) -> Self {
        Self { text: text.into(), attachments }
    }

    /// The arguments of an event: its name and one payload.
    ///
    /// # Panics
    /// Never for the types of `trunkline-protocol`; a payload whose `Serialize` fails is a bug of ours.
    pub fn event<T: Serialize + ?Sized>(name: &str, payload: &T) -> Self {
        Self::args(&(name, payload))
    }

    /// An event without arguments.
    pub fn bare_event(name: &str) -> Self {
        Self::args(&[name])
    }

    /// The arguments of an ack with one value.
    pub fn ack<T: Serialize + ?Sized>(payload: &T) -> Self {
        Self::args(&[payload])
    }

    fn args<T: Serialize + ?Sized>(args: &T) -> Self {
        let text = serde_json::to_string(args).expect("our own payloads serialize");
        Self::new(text, Vec::new())
    }

    /// The same with one more argument, JSON text.
    fn and(&self, json: &str) -> Self {
        let open = self.text.trim_end().strip_suffix(']').unwrap_or(&self.text);
        Self::new(format!("{open},{json}]"), self.attachments.clone())
    }

    /// Whether the last element is a text: an argument, or the event's name.
    fn ends_in_text(&self) -> bool {
        self.text.trim_end().strip_suffix(']').is_some_and(|open| open.trim_end().ends_with('"'))
    }

    /// Bytes held, text and attachments together.
    pub fn len(&self) -> usize {
        self.text.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }

    /// Whether there is nothing at all, not even an empty array.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The event's name: the first element, when it is a string or a number.
    pub fn event_name(&self) -> Option<Cow<'_, str>> {
        serde_json::from_str::<First<'_>>(&self.text).ok().map(|first| first.0)
    }

    /// The first argument after an event's name, `None` when the event has none.
    ///
    /// # Errors
    /// The argument is there but isn't a `T`.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<Option<T>, serde_json::Error> {
        serde_json::from_str::<Second<T>>(&self.text).map(|second| second.0)
    }
}

/// Reads the first element of an array and skips the others.
struct First<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for First<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = First<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array that starts with an event name")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let name: Option<Name<'de>> = seq.next_element()?;
                let name = name.ok_or_else(|| serde::de::Error::invalid_length(0, &self))?;
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(name.0))
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

/// A string, or a number, which is a name too.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Name<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an event name")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(name.into()))
            }
            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(name.to_owned().into()))
            }
            fn visit_u64<E>(self, name: u64) -> Result<Self::Value, E> {
                Ok(Name(name.to_string().into()))
            }
            fn visit_i64<E>(self, name: i64) -> Result<Self::Value, E> {
                Ok(Name(name.to_string().into()))
            }
            fn visit_f64<E>(self, name: f64) -> Result<Self::Value, E> {
                Ok(Name(name.to_string().into()))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// Reads the second element of an array and skips the others.
struct Second<T>(Option<T>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Second<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(std::marker::PhantomData<T>);
        impl<'de, T: DeserializeOwned> Visitor<'de> for Reader<T> {
            type Value = Second<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array of an event name and its arguments")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                seq.next_element::<IgnoredAny>()?;
                let payload = seq.next_element()?;
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Second(payload))
            }
        }
        deserializer.deserialize_seq(Reader(std::marker::PhantomData))
    }
}

/// An event on its way to clients of one namespace.
///
/// Made once per emit and handed by reference to every recipient's lane; a lane keeps its own
/// encoding of it in here, so that it encodes once too.
#[derive(Debug)]
pub struct Packet {
    pub(crate) event: Encoded,
    pub(crate) socketioxide: OnceLock<crate::lanes::socketioxide::Prepared>,
    pub(crate) websocket: OnceLock<Box<[Bytes]>>,
    subject: OnceLock<NonZeroU32>,
    /// For clients that take a text at the end for an offset, when this one is none.
    pub(crate) guarded: OnceLock<Box<[Bytes]>>,
    /// Whether the last argument is an offset.
    has_offset: bool,
}

impl Packet {
    /// A packet that carries `event`.
    pub fn new(event: Encoded) -> Self {
        Self {
            event,
            socketioxide: OnceLock::new(),
            websocket: OnceLock::new(),
            subject: OnceLock::new(),
            guarded: OnceLock::new(),
            has_offset: false,
        }
    }

    /// A packet that carries `event` and, as its last argument, how far whoever gets it has come: for sockets that may be
    /// recovered, see [`Handler::recovery_id`](crate::Handler::recovery_id). `offset` must need no escaping in JSON.
    pub fn with_offset(event: &Encoded, offset: &str) -> Self {
        Self { has_offset: true, ..Self::new(event.and(&format!("\"{offset}\""))) }
    }

    /// What a client gets instead that keeps the last text it sees for its offset: the same with a `null` behind it, encoded
    /// once. `None` when there is no such text.
    pub(crate) fn guard(&self, encode: impl FnOnce(&Encoded) -> Box<[Bytes]>) -> Option<&[Bytes]> {
        let guard = !self.has_offset && self.event.ends_in_text();
        guard.then(|| &**self.guarded.get_or_init(|| encode(&self.event.and("null"))))
    }

    /// What it is news of, as a hash of the event's name and the ids in its payload (fields called `id` or `…Id`, `from`): of
    /// somebody's cursor in a document, say. The newest volatile packet of a subject is worth more than those before.
    pub(crate) fn subject(&self) -> NonZeroU32 {
        *self.subject.get_or_init(|| {
            let mut hasher = DefaultHasher::new();
            self.event.event_name().hash(&mut hasher);
            let payload = self.event.payload::<BTreeMap<String, serde_json::Value>>().ok().flatten();
            let is_id = |field: &String| field == "id" || field == "from" || field.ends_with("Id");
            for (field, value) in payload.iter().flatten().filter(|(field, _)| is_id(field)) {
                (field, value.as_str(), value.as_u64()).hash(&mut hasher);
            }
            NonZeroU32::new(hasher.finish() as u32).unwrap_or(NonZeroU32::MIN)
        })
    }

    /// What it carries.
    pub fn event(&self) -> &Encoded {
        &self.event
    }
}

/// Packets that go to the same rooms, one right behind the other: what they are to a lane is joined once, and each recipient
/// gets them as one. Collected from packets and the rooms whose members each leaves out.
#[derive(Debug)]
pub struct Run<'a> {
    packets: Vec<&'a Packet>,
    excepts: Vec<&'a [RoomName]>,
    pub(crate) websocket: OnceLock<Bytes>,
}

impl<'a> Run<'a> {
    /// Each by itself.
    pub(crate) fn packets(&self) -> &[&'a Packet] {
        &self.packets
    }

    /// Whom each leaves out.
    pub(crate) fn excepts(&self) -> &[&'a [RoomName]] {
        &self.excepts
    }
}

impl<'a> FromIterator<(&'a Packet, &'a [RoomName])> for Run<'a> {
    fn from_iter<I: IntoIterator<Item = (&'a Packet, &'a [RoomName])>>(packets: I) -> Self {
        let (packets, excepts) = packets.into_iter().unzip();
        Self { packets, excepts, websocket: OnceLock::new() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_event_is_its_name_and_its_payload() {
        let event = Encoded::event("typing:start", &json!({"conversationId": "general"}));
        assert_eq!(&*event.text, r#"["typing:start",{"conversationId":"general"}]"#);
        assert_eq!(event.event_name().as_deref(), Some("typing:start"));
        assert_eq!(event.payload::<Value>().unwrap(), Some(json!({"conversationId": "general"})));
    }

    #[test]
    fn the_subject_of_an_event_is_its_name_and_whom_it_is_about() {
        let subject = |text: &str| Packet::new(Encoded::new(text.to_owned(), Vec::new())).subject();
        let ada = subject(r#"["document:cursor",{"documentId":"d","userId":"ada","position":1}]"#);
        assert_eq!(ada, subject(r#"["document:cursor",{"userId":"ada","position":{"line":7},"documentId":"d"}]"#));
        for other in [
            r#"["document:cursor",{"documentId":"d","userId":"bob","position":1}]"#,
            r#"["document:cursor",{"documentId":"e","userId":"ada","position":1}]"#,
            r#"["document:joined",{"documentId":"d","userId":"ada"}]"#,
            r#"["document:cursor","ada"]"#,
        ] {
            assert_ne!(ada, subject(other), "{other}");
        }
        assert_eq!(subject("[\"tick\",1]"), subject("[\"tick\",2]"));
    }

    #[test]
    fn escapes_in_a_name_are_read() {
        let event = Encoded::new(r#"["say \"hi\"",1,2]"#, vec![]);
        assert_eq!(event.event_name().as_deref(), Some("say \"hi\""));
        assert_eq!(event.payload::<u8>().unwrap(), Some(1));
    }

    #[test]
    fn a_missing_payload_is_none_and_a_wrong_one_is_an_error() {
        let event = Encoded::bare_event("get:online:count");
        assert_eq!(event.payload::<Value>().unwrap(), None);
        assert!(Encoded::new(r#"["e","text"]"#, vec![]).payload::<u8>().is_err());
    }

    #[test]
    fn a_text_at_the_end_is_no_offset_unless_it_was_made_one() {
        let bytes = |event: &Encoded| Box::from([event.text.as_bytes().clone()]);
        let guard = |text: &str| {
            let packet = Packet::new(Encoded::new(text.to_owned(), vec![]));
            packet.guard(bytes).map(|frames| String::from_utf8(frames[0].to_vec()).unwrap())
        };
        for (text, guarded) in [
            (r#"["tick"]"#, r#"["tick",null]"#),
            (r#"["e",{"a":1},"x"]"#, r#"["e",{"a":1},"x",null]"#),
            ("[\"e\",\"x\" ] ", "[\"e\",\"x\" ,null]"),
        ] {
            assert_eq!(guard(text).as_deref(), Some(guarded));
        }
        for text in [r#"["e",{"a":"b"}]"#, r#"["e",["x"]]"#, r#"["e",1]"#, r#"["e",null]"#] {
            assert_eq!(guard(text), None, "{text}");
        }
        let marked = Packet::with_offset(&Encoded::event("e", "x"), "g.1");
        assert_eq!(&*marked.event().text, r#"["e","x","g.1"]"#);
        assert!(marked.guard(bytes).is_none());
    }

    #[test]
    fn hostile_text_is_no_name() {
        for text in ["", "[]", "{}", "[null]", "[[1]]", "null", "[\"open", &"[".repeat(100_000)] {
            assert_eq!(Encoded::new(text.to_owned(), vec![]).event_name(), None, "{text:.20}");
        }
    }
}
