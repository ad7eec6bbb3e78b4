//! Frames by the book (RFC 6455), case by case in the order of the Autobahn test suite, whose numbers are given. Its
//! echo is here a message that comes back from the log. Chapters 9 (limits) and 12, 13 (compression) do not apply.

use trunkline_testkit::Node;

use crate::{
    node,
    raw::{BINARY, CLOSE, End, PING, PONG, Raw, TEXT, frame},
};

const LAST: u8 = 0x80;
const CONTINUATION: u8 = 0;

/// An event that is answered, as one text of this many bytes.
fn event(bytes: usize) -> Vec<u8> {
    let padding = "x".repeat(bytes - "420[\"get:online:count\",\"\"]".len());
    format!("420[\"get:online:count\",\"{padding}\"]").into_bytes()
}

/// A text in fragments, with something after each of them but the last.
fn fragments(pieces: &[&[u8]], between: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let opcode = if at == 0 { TEXT } else { CONTINUATION };
        let last = at + 1 == pieces.len();
        bytes.extend(frame(if last { LAST | opcode } else { opcode }, piece));
        if !last {
            bytes.extend(between);
        }
    }
    bytes
}

async fn answered(raw: &mut Raw, what: &str) {
    let ack = raw.expect("43").await;
    assert!(ack.starts_with("430["), "{what}: {ack}");
}

/// Sends `bytes` over a connection of its own, and expects this end, before which no ping was answered.
async fn ends(node: &Node, what: &str, bytes: &[u8], end: End) {
    let mut raw = Raw::connect(node, "fuzzer").await;
    raw.write(bytes).await;
    let mut last = End::Eof;
    while let Some((opcode, payload)) = raw.frame().await {
        assert_ne!(opcode, PONG, "{what}: a pong");
        if opcode == CLOSE {
            last = End::Code(u16::from_be_bytes([payload[0], payload[1]]));
        }
    }
    assert_eq!(last, end, "{what}");
}

/// 1.1 and 1.2, but for empty messages, which no engine packet is.
#[tokio::test]
async fn messages_of_all_lengths_are_taken_however_they_are_cut() {
    let node = node(&[]).await;
    let mut raw = Raw::connect(&node, "a").await;
    for length in [125, 126, 127, 128, 65_535, 65_536] {
        let text = frame(LAST | TEXT, &event(length));
        let binary = frame(LAST | BINARY, &vec![0xfe; length]);
        let announced = frame(LAST | TEXT, b"451-0[\"no:such:event\",{\"_placeholder\":true,\"num\":0}]");
        for step in [text.len().max(binary.len()), 997] {
            for piece in text.chunks(step) {
                raw.write(piece).await;
            }
            answered(&mut raw, &format!("text of {length} by {step}")).await;
            for piece in announced.chunks(step).chain(binary.chunks(step)) {
                raw.write(piece).await;
            }
            answered(&mut raw, &format!("binary of {length} by {step}")).await;
        }
    }
}

/// The way out: what is sent has the shortest form of its length, no mask and no fragments, which `Raw` checks.
#[tokio::test]
async fn texts_of_all_lengths_come_back_as_they_were() {
    let node = node(&[]).await;
    let mut raw = Raw::connect(&node, "a").await;
    let mut reader = Raw::connect(&node, "b").await;
    reader.send_text("420[\"conversation:join\",\"lengths\"]").await;
    answered(&mut reader, "joining").await;
    for length in (1..200).chain([4_999, 5_000].repeat(8)) {
        let content = "é".repeat(length / 2) + &"e".repeat(length % 2);
        raw.send_text(&format!("420[\"message:send\",{{\"conversationId\":\"lengths\",\"content\":\"{content}\"}}]"))
            .await;
        answered(&mut raw, "sending").await;
        let message = reader.expect("42[\"message:new\"").await;
        assert!(message.contains(&format!("\"content\":\"{content}\"")), "{length}: {message}");
    }
    // More than 64 KiB in one frame.
    raw.send_text("420[\"message:history\",{\"conversationId\":\"lengths\",\"limit\":100}]").await;
    assert!(raw.expect("430[").await.len() > 0xffff);
}

/// 2.1 to 2.11; 2.5 is in `hostile`.
#[tokio::test]
async fn pings_are_answered_with_their_payload_in_order_and_pongs_are_ignored() {
    let node = node(&[]).await;
    let payloads = [vec![], b"hello".to_vec(), vec![0, 255, 254, 253, 0], vec![0xfe; 125]];
    let mut raw = Raw::connect(&node, "a").await;
    let mut all = Vec::new();
    for _ in 0..10 {
        for payload in &payloads {
            all.extend(frame(LAST | PONG, payload));
            all.extend(frame(LAST | PING, payload));
        }
    }
    for step in [all.len(), 1] {
        for piece in all.chunks(step) {
            raw.write(piece).await;
        }
        for payload in payloads.iter().cycle().take(10 * payloads.len()) {
            assert_eq!(raw.pong().await, *payload, "by {step}");
        }
    }
}

/// 3.1 to 3.7, 4.1 and 4.2.
#[tokio::test]
async fn reserved_bits_and_opcodes_end_the_connection() {
    let node = node(&[]).await;
    let ping = frame(LAST | PING, b"too late");
    for reserved in 1..=7 {
        for opcode in [TEXT, BINARY, PING, CLOSE] {
            let bytes =
                [frame(LAST | TEXT, &event(40)), frame(LAST | reserved << 4 | opcode, b""), ping.clone()].concat();
            ends(&node, &format!("bits {reserved:03b} on {opcode}"), &bytes, End::Code(1002)).await;
        }
    }
    for opcode in (3..=7).chain(11..=15) {
        for payload in [&b""[..], b"payload"] {
            let bytes = [frame(LAST | TEXT, &event(40)), frame(LAST | opcode, payload), ping.clone()].concat();
            ends(&node, &format!("opcode {opcode}"), &bytes, End::Code(1002)).await;
        }
    }
}

/// 5.3 to 5.8, 5.19, 5.20, 6.1.3, 6.2 and 10.1.
#[tokio::test]
async fn fragments_make_one_message_whatever_is_between_them() {
    let node = node(&[]).await;
    let text = "420[\"get:online:count\",\"Hellö-µ@ßöäüàá-UTF-8!! 👋\"]".as_bytes();
    let long = event(65_536);
    let cases: Vec<(&str, Vec<&[u8]>)> = vec![
        ("two fragments", vec![&text[..10], &text[10..]]),
        ("an empty one first and last", vec![b"", text, b""]),
        ("only the middle is empty", vec![&text[..10], b"", &text[10..]]),
        ("byte by byte, also within characters", text.chunks(1).collect()),
        ("many of 1300 bytes", long.chunks(1_300).collect()),
    ];
    let mut raw = Raw::connect(&node, "a").await;
    for (what, pieces) in &cases {
        for step in [usize::MAX, 1_000, 1] {
            for piece in fragments(pieces, b"").chunks(step) {
                raw.write(piece).await;
            }
            answered(&mut raw, &format!("{what}, by {step}")).await;
        }
        // Pings between them are answered at once, before the message is whole.
        raw.write(&fragments(pieces, &frame(LAST | PING, b"between"))).await;
        for _ in 1..pieces.len() {
            assert_eq!(raw.pong().await, b"between", "{what}");
        }
        answered(&mut raw, what).await;
    }
}

/// 5.1, 5.2 and 5.9 to 5.18.
#[tokio::test]
async fn fragments_out_of_place_end_the_connection() {
    let node = node(&[]).await;
    let whole = || frame(LAST | TEXT, &event(40));
    let cases = [
        ("a fragmented ping", [frame(PING, b"a"), frame(LAST, b"b")].concat()),
        ("a fragmented pong", [frame(PONG, b"a"), frame(LAST, b"b")].concat()),
        ("a last fragment of nothing", [frame(LAST, b"x"), whole()].concat()),
        ("a first fragment of nothing", [frame(CONTINUATION, b"x"), whole()].concat()),
        ("a fragment after all of them", [fragments(&[b"4", b"20[\"x\"]"], b""), frame(CONTINUATION, b"x")].concat()),
        ("a message between fragments", [frame(TEXT, b"4"), frame(LAST | BINARY, b"x"), frame(LAST, b"x")].concat()),
        ("fragments that all say text", [frame(TEXT, b"4"), frame(LAST | TEXT, b"20[\"x\"]")].concat()),
    ];
    for (what, bytes) in cases {
        ends(&node, what, &bytes, End::Code(1002)).await;
    }
}

/// 6.2 and 6.5 to 6.23, the valid ones. A control character must be written otherwise in JSON.
#[tokio::test]
async fn all_characters_come_back_as_they_were() {
    let node = node(&[]).await;
    let mut raw = Raw::connect(&node, "a").await;
    let mut reader = Raw::connect(&node, "b").await;
    reader.send_text("420[\"conversation:join\",\"letters\"]").await;
    answered(&mut reader, "joining").await;
    let edges = [
        0x20, 0x7e, 0xa1, 0x7ff, 0x800, 0xfff, 0x1000, 0xd7ff, 0xe000, 0xfdd0, 0xfffd, 0xfffe, 0xffff, 0x1_0000,
        0x1_fffe, 0x1_ffff, 0x2_fffe, 0xf_ffff, 0x10_0000, 0x10_fffe, 0x10_ffff,
    ];
    for edge in edges {
        let content = format!("κόσμε{}.", char::from_u32(edge).unwrap());
        let text = format!("420[\"message:send\",{{\"conversationId\":\"letters\",\"content\":\"{content}\"}}]");
        raw.write(&fragments(&text.as_bytes().chunks(1).collect::<Vec<_>>(), b"")).await;
        answered(&mut raw, "sending").await;
        let message = reader.expect("42[\"message:new\"").await;
        assert!(message.contains(&format!("\"content\":\"{content}\"")), "U+{edge:04X}: {message}");
    }
}

/// 6.3, 6.4 and 6.6 to 6.21, the others. They are found when the message is whole, not at the first byte.
#[tokio::test]
async fn text_that_is_no_utf_8_ends_the_connection() {
    let node = node(&[]).await;
    let wrong: [(&str, &[u8]); 24] = [
        ("a continuation alone", &[0x80]),
        ("the last continuation alone", &[0xbf]),
        ("seven continuations", &[0x80, 0xbf, 0x80, 0xbf, 0x80, 0xbf, 0x80]),
        ("a begin of two bytes alone", &[0xc3, b' ']),
        ("a begin of three bytes alone", &[0xe2, b' ']),
        ("a begin of four bytes alone", &[0xf1, b' ']),
        ("three bytes without the last", &[0xe2, 0x82]),
        ("four bytes without the last", &[0xf0, 0x90, 0x80]),
        ("five bytes", &[0xf8, 0x88, 0x80, 0x80, 0x80]),
        ("six bytes", &[0xfc, 0x84, 0x80, 0x80, 0x80, 0x80]),
        ("a byte that never is, FE", &[0xfe]),
        ("a byte that never is, FF", &[0xff]),
        ("a slash in two bytes", &[0xc0, 0xaf]),
        ("a slash in three bytes", &[0xe0, 0x80, 0xaf]),
        ("a slash in four bytes", &[0xf0, 0x80, 0x80, 0xaf]),
        ("U+007F in two bytes", &[0xc1, 0xbf]),
        ("U+07FF in three bytes", &[0xe0, 0x9f, 0xbf]),
        ("U+FFFF in four bytes", &[0xf0, 0x8f, 0xbf, 0xbf]),
        ("a zero in two bytes", &[0xc0, 0x80]),
        ("the first surrogate", &[0xed, 0xa0, 0x80]),
        ("the last surrogate", &[0xed, 0xbf, 0xbf]),
        ("a pair of surrogates", &[0xed, 0xa0, 0x80, 0xed, 0xb0, 0x80]),
        ("U+110000", &[0xf4, 0x90, 0x80, 0x80]),
        ("U+1FFFFF", &[0xf7, 0xbf, 0xbf, 0xbf]),
    ];
    for (what, bytes) in wrong {
        let text = [&b"420[\"get:online:count\",\""[..], bytes, b"\"]"].concat();
        ends(&node, what, &frame(LAST | TEXT, &text), End::Code(1007)).await;
        let pieces: Vec<_> = text.chunks(1).collect();
        ends(&node, &format!("{what}, in fragments"), &fragments(&pieces, b""), End::Code(1007)).await;
    }
}

/// 7.1, 7.3, 7.5 and 7.7: after a close nothing is read any more, and nothing but a close is said.
#[tokio::test]
async fn a_close_is_answered_with_a_close_and_nothing_else() {
    let node = node(&[]).await;
    let close = |payload: &[u8]| frame(LAST | CLOSE, payload);
    let normal = || close(&[3, 232]);
    let reason = |bytes: usize| [&[3, 232][..], &vec![b'*'; bytes]].concat();
    let mut cases = vec![
        ("twice".to_owned(), [normal(), normal()].concat()),
        ("before a ping".to_owned(), [normal(), frame(LAST | PING, b"x")].concat()),
        ("before what is no frame".to_owned(), [normal(), vec![0xff; 20]].concat()),
        ("between fragments".to_owned(), [frame(TEXT, b"4"), normal(), frame(LAST, b"20[\"x\"]")].concat()),
        (
            "after a long message".to_owned(),
            [frame(LAST | TEXT, &event(262_144)), normal(), frame(LAST | PING, b"")].concat(),
        ),
        ("without a payload".to_owned(), close(b"")),
        ("with a reason".to_owned(), close(&reason(9))),
        ("with the longest reason".to_owned(), close(&reason(123))),
    ];
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999_u16] {
        cases.push((format!("with {code}"), close(&code.to_be_bytes())));
    }
    for (what, bytes) in cases {
        ends(&node, &what, &bytes, End::Code(1000)).await;
    }
    let mut raw = Raw::connect(&node, "a").await;
    raw.write(&[normal(), frame(LAST | TEXT, &event(40))].concat()).await;
    while let Some((_, payload)) = raw.frame().await {
        assert!(!payload.starts_with(b"430"), "an event behind the close was served");
    }
}

/// 7.3.2, 7.3.6, 7.5.1, 7.9 and 7.13.
#[tokio::test]
async fn a_close_that_may_not_be_is_a_violation() {
    let node = node(&[]).await;
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535_u16] {
        let bytes = frame(LAST | CLOSE, &code.to_be_bytes());
        ends(&node, &format!("code {code}"), &bytes, End::Code(1002)).await;
    }
    let too_long = [&[3, 232][..], &[b'*'; 124]].concat();
    ends(&node, "a reason of 124 bytes", &frame(LAST | CLOSE, &too_long), End::Code(1002)).await;
    let no_text = [&[3, 232][..], "κόσμε".as_bytes(), &[0xed, 0xa0, 0x80]].concat();
    ends(&node, "a reason that is no UTF-8", &frame(LAST | CLOSE, &no_text), End::Code(1007)).await;
}
