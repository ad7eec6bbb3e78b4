//! What holds for any bytes that another member may send. Only the fuzzer and the tests see this: see `fuzz/`.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::Value;
use trunkline_hub::{CloseReason, Encoded, Event, Handler, Hub, Refusal, Socket, Targets};

use crate::{
    Cluster, ClusterOptions, Mode, SubscriptionMode,
    broadcast::{self, Broadcast},
    core::Outcome,
    request::{self, Request, What},
    response::Pending,
    sharded::{self, Content, Envelope},
    template::{self, Fill, Part, Payload},
    transcode::{
        Reader, event_to_json, event_to_msgpack, first_to_msgpack, json_to_msgpack, replace_lone_surrogates, to_json,
        write,
    },
};

/// A member with the namespace `/` and no sockets, which keeps nothing of what it receives.
static MEMBER: LazyLock<Cluster> = LazyLock::new(|| {
    let hub = Hub::new();
    hub.add_namespace("/", Arc::new(Nobody));
    Cluster::start(hub, ClusterOptions { uid: "me".to_owned(), ..ClusterOptions::default() })
});

/// The same of the sharded adapter.
static SHARDED: LazyLock<Cluster> = LazyLock::new(|| {
    let hub = Hub::new();
    hub.add_namespace("/", Arc::new(Nobody));
    let mode = Mode::Sharded(SubscriptionMode::Dynamic);
    Cluster::start(hub, ClusterOptions { uid: "me".to_owned(), mode, ..ClusterOptions::default() })
});

fn receive(channel: &[u8], payload: &[u8]) -> Outcome {
    MEMBER.0.core.receive_one(channel, payload)
}

/// Receives a message: byte 0 is the length of the channel's name, which follows, and then comes the payload.
///
/// # Panics
/// When the member does.
pub fn inject(data: &[u8]) {
    let Some((length, rest)) = data.split_first() else { return };
    let (channel, payload) = rest.split_at(usize::from(*length).min(rest.len()));
    receive(channel, payload);
}

/// Decodes a broadcast.
///
/// # Panics
/// When what is understood isn't understood alike by the next member.
pub fn broadcast(payload: &[u8]) {
    let outcome = receive(b"socket.io#/#", payload);
    let Ok(decoded) = broadcast::decode(payload) else {
        assert!(matches!(outcome, Outcome::Malformed | Outcome::Own));
        return;
    };
    broadcast::sender(payload).expect("what can be decoded has a first element");
    forwarded(&decoded);
}

/// Publishes what was received, and receives that.
fn forwarded(broadcast: &Broadcast) {
    let Broadcast { namespace, event, targets, flags, stored: _, stamp: _, numbered: _ } = broadcast;
    let list = parse(&event.text);
    assert!(matches!(list.get(0), Some(Value::String(_) | Value::Number(_))), "{} is no event", event.text);
    if has_false_placeholders(event) {
        return;
    }
    let namespace = namespace.as_deref().unwrap_or("/");
    let published =
        broadcast::encode("me", namespace, event, targets, flags.volatile).expect("an event can be published");
    let again = broadcast::decode(&published).expect("what is published is understood");
    assert_eq!(again.namespace.as_deref(), Some(namespace));
    assert_eq!((&again.targets, again.flags.volatile), (targets, flags.volatile));
    same_event(&again.event, event);
}

/// One that came as JSON is handed on as it was written.
fn same_event(a: &Encoded, b: &Encoded) {
    assert!(same(&parse(&a.text), &parse(&b.text)), "{} became {}", b.text, a.text);
    assert_eq!(a.attachments, b.attachments);
}

/// Users may name their fields as they like; what looks like a placeholder then becomes one.
fn has_false_placeholders(event: &Encoded) -> bool {
    !event.attachments.is_empty() && event.text.matches("_placeholder").count() != event.attachments.len()
}

/// Decodes a request, and one that is JSON as msgpack too.
///
/// # Panics
/// When the two are not the same, or as [`broadcast`].
pub fn request(payload: &[u8]) {
    receive(b"socket.io-request#/#", payload);
    let Ok(request) = request::decode(payload) else { return };
    if let What::Broadcast(broadcast) = &request.what {
        forwarded(broadcast);
    }
    let Some(text) = json_text(payload).filter(|text| !has_numbers_in_other_forms(text)) else { return };
    let Ok(msgpack) = json_to_msgpack(text) else { return };
    let Request { uid, id, what } = request::decode(&msgpack).expect("the same request is understood in msgpack");
    assert_eq!((uid, id.is_some()), (request.uid, request.id.is_some()));
    let Some(expected) = in_one_spelling(request.what) else { return };
    assert_eq!(in_one_spelling(what), Some(expected));
}

/// Events are handed on as they were written, with spaces and escapes: JSON has many ways to say the same. Msgpack has
/// no way to say half of a surrogate pair. `None` when serde_json reads it as something else.
fn in_one_spelling(mut what: What) -> Option<What> {
    let event = match &mut what {
        What::ServerSideEmit(event) => event.as_mut()?,
        What::Broadcast(broadcast) => &mut broadcast.event,
        _ => return Some(what),
    };
    if event.text.contains("$serde_json") {
        return None;
    }
    let mended = replace_lone_surrogates(&event.text);
    let value: Value = serde_json::from_str(mended.as_deref().unwrap_or(&event.text)).ok()?;
    *event = Encoded::new(value.to_string(), std::mem::take(&mut event.attachments));
    Some(what)
}

fn json_text(payload: &[u8]) -> Option<&str> {
    std::str::from_utf8(payload).ok().filter(|text| text.starts_with('{'))
}

/// Rooms may be numbers, and `1.0` and `1e0` are other names than `1`: JavaScript writes neither.
fn has_numbers_in_other_forms(text: &str) -> bool {
    text.contains("-0")
        || text
            .bytes()
            .zip(text.bytes().skip(1))
            .any(|(byte, next)| byte.is_ascii_digit() && matches!(next, b'.' | b'e' | b'E'))
        || text.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 15)
}

/// Decodes a message of the sharded adapter.
///
/// # Panics
/// When a broadcast that is understood isn't understood alike by the next member.
pub fn sharded(payload: &[u8]) {
    for channel in [b"socket.io#/#".as_slice(), b"socket.io#/#me#"] {
        SHARDED.0.core.receive_one(channel, payload);
    }
    let Ok(envelope) = Envelope::open(payload) else { return };
    let Ok(Content::Request(Request { what: What::Broadcast(broadcast), .. })) = envelope.read() else { return };
    forwarded(&broadcast);
    let Broadcast { namespace, event, targets, flags, .. } = &*broadcast;
    if has_false_placeholders(event) {
        return;
    }
    let namespace = namespace.as_deref().unwrap_or("/");
    let published = sharded::broadcast("me", namespace, event, targets, flags.volatile, None).expect("it is an event");
    let again = Envelope::open(&published).and_then(Envelope::read).expect("what is published is understood");
    let Content::Request(Request { what: What::Broadcast(again), .. }) = again else { panic!("no broadcast") };
    assert_eq!((again.namespace.as_deref(), &again.targets), (Some(namespace), targets));
    assert_eq!(again.flags.volatile, flags.volatile);
    same_event(&again.event, event);
}

/// Decodes an answer, as it is and with the id that is waited for.
///
/// # Panics
/// When an answer to a request of ours is not handed over.
pub fn response(payload: &[u8]) {
    receive(b"socket.io-response#/#", payload);
    let pending = Pending::default();
    let mut waiting = pending.register();
    let Some((first, rest)) = payload.split_first() else { return };
    let mut answer = Vec::with_capacity(payload.len() + 48);
    match first {
        b'{' => answer.extend(format!(r#"{{"requestId":"{}","#, waiting.id).bytes()),
        // A map with room for one more field beside its header.
        0x80..=0x8e => {
            answer.push(first + 1);
            write::text(&mut answer, "requestId");
            write::text(&mut answer, &waiting.id);
        }
        _ => return,
    }
    answer.extend(rest);
    if pending.receive(&answer) == Ok(true) {
        assert!(waiting.next().now_or_never().flatten().is_some(), "an answer was lost");
    }
}

/// Transcodes msgpack to JSON and back.
///
/// # Panics
/// When the result is no JSON, its attachments are not numbered in order, or another trip changes it.
pub fn msgpack_to_json(input: &[u8]) {
    let Ok(encoded) = to_json(input) else { return };
    parse(&encoded.text);
    if has_false_placeholders(&encoded) {
        return;
    }
    // An event, so that there may be attachments.
    let event = Encoded::new(format!(r#"["e",{}]"#, encoded.text), encoded.attachments);
    let mut again = Vec::new();
    if let Err(error) = event_to_msgpack(&event, &mut again) {
        // The list around it may be one level too many.
        assert!(format!("{error:?}").contains("recursion limit"), "{error:?}: {}", event.text);
        return;
    }
    assert_eq!(to_json(&again), Ok(event));
}

/// Transcodes JSON to msgpack and back: byte 0 says how many attachments there are.
///
/// # Panics
/// When the result is not well-formed, or says something else.
pub fn json_to_msgpack_and_back(data: &[u8]) {
    let Some((attachments, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let attachments = (0..attachments % 4).map(|fill| Bytes::from(vec![fill; usize::from(fill)])).collect();
    let event = Encoded::new(text.to_owned(), attachments);
    let mut out = Vec::new();
    if event_to_msgpack(&event, &mut out).is_ok() {
        let back = event_to_json(&out).expect("what is written is an event");
        if event.attachments.is_empty() {
            same_meaning(text, &back.text);
        }
    }
    if let Ok(Some(first)) = first_to_msgpack(&event) {
        one_value(&first);
    }
    if let Ok(value) = json_to_msgpack(text) {
        one_value(&value);
        same_meaning(text, &to_json(&value).expect("what is written is read").text);
    }
    filled_in(text);
}

fn filled_in(text: &str) {
    let filled = [("seq", Fill::Seq), ("epoch", Fill::Epoch), ("id", Fill::MessageId)];
    let audience = ("c".to_owned(), &Targets::room("r"));
    let Ok(templates) = template::encode("/", "e", &Payload::new(text, &filled), std::iter::once(audience)) else {
        return;
    };
    let mut message = Vec::new();
    for part in templates.iter().flat_map(|template| &template.parts) {
        match part {
            Part::Literal(bytes) => message.extend_from_slice(bytes),
            Part::Fill(Fill::Seq) => write::unsigned(&mut message, 1 << 40),
            Part::Fill(Fill::Epoch | Fill::MessageId | Fill::Stamp) => write::text(&mut message, "x"),
        }
    }
    match broadcast::decode(&message) {
        Ok(decoded) => assert_eq!(decoded.targets, Targets::room("r")),
        Err(error) => panic!("a template is not understood: {error}"),
    }
}

fn one_value(msgpack: &[u8]) {
    let mut reader = Reader::new(msgpack);
    assert_eq!(reader.value(), Ok(msgpack));
    assert_eq!(reader.end(), Ok(()));
}

/// Where JSON can be read at all without mending it first.
fn same_meaning(before: &str, after: &str) {
    // A name that serde_json keeps for itself.
    if before.contains("$serde_json") {
        return;
    }
    let after = parse(after);
    if let Ok(before) = serde_json::from_str::<Value>(before) {
        assert!(same(&before, &after), "{before} became {after}");
    }
}

fn parse(text: &str) -> Value {
    if text.contains("$serde_json") {
        return Value::from(vec!["not looked into"]);
    }
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Equality as JavaScript sees it, where all numbers are doubles.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((ka, a), (kb, b))| ka == kb && same(a, b))
        }
        _ => a == b,
    }
}

/// What a namespace does when nobody is in it.
#[derive(Debug)]
pub(crate) struct Nobody;

#[async_trait]
impl Handler for Nobody {
    async fn connecting(&self, _: &Socket) -> Result<(), Refusal> {
        Ok(())
    }
    async fn connected(&self, _: &Socket) {}
    async fn event(&self, _: &Socket, _: Event) {}
    fn refused(&self, _: &Socket, _: Event) {}
    fn farewell(&self, _: &Socket, _: CloseReason) -> Option<Encoded> {
        None
    }
    async fn disconnected(&self, _: &Socket, _: CloseReason) {}
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// What the fuzzer starts from, and whatever it has ever found.
    fn replay(target: &str, check: fn(&[u8])) {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let mut replayed = 0;
        for seed in fs::read_dir(&seeds).unwrap_or_else(|error| panic!("{}: {error}", seeds.display())) {
            let path = seed.unwrap().path();
            println!("{}", path.display());
            check(&fs::read(&path).unwrap());
            replayed += 1;
        }
        assert!(replayed >= 10, "{replayed} seeds of {target}");
    }

    #[test]
    fn every_seed_of_messages_holds() {
        replay("inject", super::inject);
        replay("broadcast", super::broadcast);
        replay("request", super::request);
        replay("response", super::response);
        replay("sharded", super::sharded);
    }

    #[test]
    fn every_seed_of_values_holds() {
        replay("msgpack_to_json", super::msgpack_to_json);
        replay("json_to_msgpack", super::json_to_msgpack_and_back);
    }
}
