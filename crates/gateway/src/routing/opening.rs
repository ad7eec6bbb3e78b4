//! The answer that opens a polling session: `0{"sid":…}`, or with its length in front (`97:0{…}`) for engine.io v3.

use axum::{body::Body, response::Response};
use http::{HeaderValue, header};
use http_body_util::{BodyExt, Limited};
use serde_json::{Map, Value};

/// An open packet has some 120 bytes.
const LIMIT: usize = 4096;

/// The answer could not be understood, so that the engine's bare session id must not leave.
#[derive(Debug, thiserror::Error)]
#[error("the engine opened a session in an unknown form")]
pub(super) struct Unknown;

/// Replaces the session id in the answer to a handshake by what `seal` makes of it.
pub(super) async fn reseal(answer: Response, seal: impl FnOnce(&str) -> String) -> Result<Response, Unknown> {
    let (mut parts, body) = answer.into_parts();
    let body = Limited::new(body, LIMIT).collect().await.map_err(|_| Unknown)?.to_bytes();
    let body = resealed(&body, seal).ok_or(Unknown)?;
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn resealed(body: &[u8], seal: impl FnOnce(&str) -> String) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (counted, packet) = match text.split_once(':') {
        Some((length, packet)) if length.bytes().all(|byte| byte.is_ascii_digit()) && !length.is_empty() => {
            (true, packet)
        }
        _ => (false, text),
    };
    let mut fields: Map<String, Value> = serde_json::from_str(packet.strip_prefix('0')?).ok()?;
    let sid = fields.get_mut("sid")?;
    *sid = Value::from(seal(sid.as_str()?));
    let packet = format!("0{}", Value::Object(fields));
    Some(if counted { format!("{}:{packet}", packet.chars().count()) } else { packet })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(body: &str) -> Option<String> {
        resealed(body.as_bytes(), |sid| format!("{sid}+"))
    }

    #[test]
    fn both_forms_keep_everything_but_the_id() {
        let v4 = r#"0{"sid":"a","upgrades":["websocket"],"pingInterval":1,"pingTimeout":2,"maxPayload":3}"#;
        assert_eq!(sealed(v4).unwrap(), v4.replace(r#""a""#, r#""a+""#));
        assert_eq!(sealed(r#"11:0{"sid":"a"}"#).unwrap(), r#"13:0{"sid":"a+"}"#);
    }

    #[test]
    fn anything_else_is_not_let_through() {
        for body in ["", "0", "ok", "40{}", r#"0{"sid":1}"#, r#"0["sid"]"#, r#":0{"sid":"a"}"#, "x:0{}"] {
            assert_eq!(sealed(body), None, "{body}");
        }
    }
}
