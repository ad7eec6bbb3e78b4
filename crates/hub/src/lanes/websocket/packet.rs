//! Socket.IO v5 packets inside Engine.IO v4 messages, as text.

use bytes::Bytes;

use super::frame;
use crate::packet::Encoded;

/// What a client's packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Connect,
    Disconnect,
    Event,
    Ack,
}

/// A packet from a client, read up to its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Incoming<'a> {
    pub(super) kind: Kind,
    pub(super) namespace: &'a str,
    /// The number of an event that wants an answer, or of the event that is answered.
    pub(super) id: Option<i64>,
    /// JSON text.
    pub(super) data: &'a str,
    /// Attachments that follow in binary frames.
    pub(super) attachments: usize,
}

/// What is no Socket.IO packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a Socket.IO packet")]
pub(super) struct Malformed;

impl<'a> Incoming<'a> {
    /// Reads `<type>[<attachments>-][<namespace>,][<id>][<data>]`. Whether `data` is what it should be shows later.
    pub(super) fn read(text: &'a str, most_attachments: usize) -> Result<Self, Malformed> {
        let (&kind, _) = text.as_bytes().split_first().ok_or(Malformed)?;
        let (kind, binary) = match kind {
            b'0' => (Kind::Connect, false),
            b'1' => (Kind::Disconnect, false),
            b'2' => (Kind::Event, false),
            b'3' => (Kind::Ack, false),
            b'5' => (Kind::Event, true),
            b'6' => (Kind::Ack, true),
            // A client sends no CONNECT_ERROR.
            _ => return Err(Malformed),
        };
        let mut rest = &text[1..];
        let mut attachments = 0;
        if binary {
            let (count, after) = rest.split_once('-').ok_or(Malformed)?;
            attachments = digits(count).and_then(|count| usize::try_from(count).ok()).ok_or(Malformed)?;
            if attachments > most_attachments {
                return Err(Malformed);
            }
            rest = after;
        }
        let mut namespace = "/";
        if rest.starts_with('/') {
            // A namespace alone may lack the comma, as in `1/admin`.
            (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
            namespace = namespace.split_once('?').map_or(namespace, |(path, _)| path);
        }
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let id = if end == 0 { None } else { Some(digits(&rest[..end]).ok_or(Malformed)?) };
        let data = &rest[end..];
        let complete = match kind {
            Kind::Connect => data.is_empty() || data.starts_with('{'),
            Kind::Disconnect => data.is_empty(),
            Kind::Event => data.starts_with('['),
            Kind::Ack => data.starts_with('[') && id.is_some(),
        };
        if complete { Ok(Self { kind, namespace, id, data, attachments }) } else { Err(Malformed) }
    }
}

/// A number as JavaScript counts: up to 2^53.
fn digits(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.len() <= 16 && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// What stands between a packet's type and its data.
fn address(namespace: &str, id: Option<i64>) -> String {
    let mut address = String::new();
    if namespace != "/" {
        address.push_str(namespace);
        address.push(',');
    }
    if let Some(id) = id {
        address.push_str(&id.to_string());
    }
    address
}

/// An event or ack as frames: the text, and for each attachment a header and its bytes.
fn frames(plain: &str, binary: &str, namespace: &str, id: Option<i64>, args: &Encoded) -> Box<[Bytes]> {
    let address = address(namespace, id);
    if args.attachments.is_empty() {
        return Box::new([frame::text(&[plain, &address, &args.text])]);
    }
    let count = args.attachments.len().to_string();
    let mut frames = vec![frame::text(&[binary, &count, "-", &address, &args.text])];
    for attachment in &args.attachments {
        frames.push(frame::binary_header(attachment.len()));
        frames.push(attachment.clone());
    }
    frames.into()
}

pub(super) fn event(namespace: &str, id: Option<i64>, args: &Encoded) -> Box<[Bytes]> {
    frames("42", "45", namespace, id, args)
}

pub(super) fn ack(namespace: &str, id: i64, args: &Encoded) -> Box<[Bytes]> {
    frames("43", "46", namespace, Some(id), args)
}

/// The answer to CONNECT. `pid` is how the client may come back as what it is, in letters, digits, `-` and `_`.
pub(super) fn connected(namespace: &str, sid: &str, pid: Option<&str>) -> Bytes {
    let address = address(namespace, None);
    match pid {
        Some(pid) => frame::text(&["40", &address, "{\"sid\":\"", sid, "\",\"pid\":\"", pid, "\"}"]),
        None => frame::text(&["40", &address, "{\"sid\":\"", sid, "\"}"]),
    }
}

/// CONNECT_ERROR with a text, and a code as data.
pub(super) fn refused(namespace: &str, message: &str, code: &str) -> Bytes {
    let error = serde_json::json!({"message": message, "data": {"code": code}}).to_string();
    frame::text(&["44", &address(namespace, None), &error])
}

pub(super) fn disconnect(namespace: &str) -> Bytes {
    frame::text(&["41", &address(namespace, None)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Incoming<'_>, Malformed> {
        Incoming::read(text, 10)
    }

    fn packet<'a>(kind: Kind, namespace: &'a str, id: Option<i64>, data: &'a str, attachments: usize) -> Incoming<'a> {
        Incoming { kind, namespace, id, data, attachments }
    }

    #[test]
    fn packets_are_read_in_all_their_forms() {
        let cases = [
            ("0", packet(Kind::Connect, "/", None, "", 0)),
            (r#"0{"token":"x"}"#, packet(Kind::Connect, "/", None, r#"{"token":"x"}"#, 0)),
            (r#"0/admin,{"a":1}"#, packet(Kind::Connect, "/admin", None, r#"{"a":1}"#, 0)),
            ("0/admin?x=1,", packet(Kind::Connect, "/admin", None, "", 0)),
            ("1", packet(Kind::Disconnect, "/", None, "", 0)),
            ("1/admin,", packet(Kind::Disconnect, "/admin", None, "", 0)),
            ("1/admin", packet(Kind::Disconnect, "/admin", None, "", 0)),
            (r#"2["e",1]"#, packet(Kind::Event, "/", None, r#"["e",1]"#, 0)),
            (r#"212["e"]"#, packet(Kind::Event, "/", Some(12), r#"["e"]"#, 0)),
            (r#"2/chat,0["e"]"#, packet(Kind::Event, "/chat", Some(0), r#"["e"]"#, 0)),
            ("3/chat,7[]", packet(Kind::Ack, "/chat", Some(7), "[]", 0)),
            (r#"52-/chat,7["e"]"#, packet(Kind::Event, "/chat", Some(7), r#"["e"]"#, 2)),
            ("61-7[]", packet(Kind::Ack, "/", Some(7), "[]", 1)),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_packet_is_malformed() {
        for text in [
            "",
            "4{}",
            "7",
            "9",
            "2",
            "2{}",
            "2abc",
            "3[]",
            "0[]",
            "1[]",
            "5[\"e\"]",
            "5x-[\"e\"]",
            "511-[\"e\"]",
            "51000-[\"e\"]",
            "5-[\"e\"]",
            "299999999999999999999[\"e\"]",
            "2/chat",
            "ü",
        ] {
            assert_eq!(read(text), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_what_clients_read() {
        let plain = Encoded::event("e", "x");
        assert_eq!(&event("/", None, &plain)[0][2..], br#"42["e","x"]"#);
        assert_eq!(&event("/chat", Some(3), &plain)[0][2..], br#"42/chat,3["e","x"]"#);
        assert_eq!(&ack("/", 3, &Encoded::ack("x"))[0][2..], br#"433["x"]"#);
        assert_eq!(&connected("/", "abc", None)[2..], br#"40{"sid":"abc"}"#);
        assert_eq!(&connected("/chat", "abc", Some("p"))[2..], br#"40/chat,{"sid":"abc","pid":"p"}"#);
        assert_eq!(&disconnect("/chat")[2..], b"41/chat,");
        assert_eq!(
            &refused("/", "no \"way\"", "forbidden")[2..],
            br#"44{"message":"no \"way\"","data":{"code":"forbidden"}}"#
        );
        let binary = Encoded::new(r#"["e",{"_placeholder":true,"num":0}]"#, vec![Bytes::from_static(&[1, 2])]);
        let frames = event("/", None, &binary);
        assert_eq!(&frames[0][2..], br#"451-["e",{"_placeholder":true,"num":0}]"#);
        assert_eq!((&frames[1][..], &frames[2][..]), (&[0x82, 2][..], &[1, 2][..]));
    }
}
