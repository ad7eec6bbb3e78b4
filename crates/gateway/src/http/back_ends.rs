//! The interface for back ends, who show the API key: emits, messages and notifications.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    body::{self, Body as RawBody},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use sha2::{Digest, Sha256};
use trunkline_hub::{Encoded, RoomName, Targets};
use trunkline_protocol::{
    Code, Failure, ids,
    native::{Message, NotificationSend},
};
use utoipa::ToSchema;

use super::{
    MAX_BODY, Shared, failure,
    openapi::BackEndFailures,
    reply::{self, Body, Reply, created, ok},
    users::Send,
};
use crate::domain::Caller;

/// How long an answer is kept for a repeated request.
const ANSWERS_KEPT: Duration = Duration::from_secs(24 * 3600);

/// How long a request may take before a repeated one is carried out in its stead.
const UNDER_WAY: Duration = Duration::from_secs(60);

/// Rooms, users or exceptions in one emit.
const TARGETS: usize = 1000;

/// Users in one request for notifications.
const NOTIFIED: usize = 1000;

/// Names that Socket.IO keeps for itself.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// An event; to everyone in the namespace unless `rooms` or `users` say to whom.
#[derive(Deserialize, ToSchema)]
pub(super) struct Emit {
    /// `/` unless told.
    #[serde(default)]
    namespace: Option<String>,
    /// Whoever is in any of these; each socket hears it once.
    #[serde(default)]
    rooms: Vec<String>,
    /// All sockets of these.
    #[serde(default)]
    users: Vec<String>,
    /// But nobody in any of these rooms; a user's is `user:<id>`.
    #[serde(default)]
    except: Vec<String>,
    /// Its name.
    event: String,
    /// What the clients' handlers are called with.
    #[serde(default)]
    #[schema(value_type = Vec<serde_json::Value>)]
    args: Vec<Box<RawValue>>,
    /// A client that is busy may miss it.
    #[serde(default)]
    volatile: bool,
}

/// Nothing besides `success`.
#[derive(Serialize, ToSchema)]
pub(super) struct Done {}

/// Sends an event to clients on all nodes.
#[utoipa::path(
    post, path = "/api/v1/emit", tag = "back ends", security(("key" = [])), request_body = Emit,
    responses((status = 200, description = "It is on its way.", body = reply::Answer<Done>), BackEndFailures)
)]
pub(super) async fn emit(State(shared): State<Shared>, Body(ask): Body<Emit>) -> Reply {
    let namespace = ask.namespace.as_deref().unwrap_or("/");
    if !shared.0.realms.knows(namespace) {
        return Err(Failure::new(Code::NotFound, format!("there is no namespace `{namespace:.100}`")).into());
    }
    ids::check("event", &ask.event)?;
    if RESERVED.contains(&ask.event.as_str()) {
        return Err(Failure::invalid(format!("`{}` is an event of Socket.IO's own", ask.event)).into());
    }
    if ask.rooms.len() + ask.users.len() > TARGETS || ask.except.len() > TARGETS {
        return Err(Failure::new(Code::TooLarge, format!("more than {TARGETS} targets")).into());
    }
    let rooms = ask.rooms.iter().map(|room| RoomName::from(room.as_str()));
    let targets = Targets {
        rooms: rooms.chain(ask.users.iter().map(|user| ids::user_room(user).into())).collect(),
        except: ask.except.iter().map(|room| room.as_str().into()).collect(),
    };
    let mut event = Value::from(ask.event).to_string();
    for arg in &ask.args {
        event.push(',');
        event.push_str(arg.get());
    }
    shared.0.cluster.emit(namespace, Encoded::new(format!("[{event}]"), Vec::new()), &targets, ask.volatile);
    ok(Done {})
}

/// A message, and who it is from.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SendAs {
    /// Need not be a user who ever connected.
    sender_id: String,
    #[serde(flatten)]
    message: Send,
}

/// What sending answers.
#[derive(Serialize, ToSchema)]
pub(super) struct Sent {
    /// As it is stored.
    message: Message,
}

/// Stores a message in anybody's name and delivers it.
#[utoipa::path(
    post, path = "/api/v1/messages", tag = "back ends", security(("key" = [])), request_body = SendAs,
    responses((status = 201, description = "It is stored.", body = reply::Answer<Sent>), BackEndFailures)
)]
pub(super) async fn message(State(shared): State<Shared>, Body(ask): Body<SendAs>) -> Reply {
    ids::check_user("senderId", &ask.sender_id)?;
    let message = ask.message.send(&shared, Caller::user(&ask.sender_id)).await?;
    created(Sent { message })
}

/// A notification for one user or several.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Notify {
    /// Whom to.
    #[serde(default)]
    user_id: Option<String>,
    /// Or to all of these, 1,000 at the most.
    #[serde(default)]
    user_ids: Vec<String>,
    /// A headline.
    title: String,
    /// A text.
    message: String,
    /// What the application likes, `info` unless told.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    /// What the application likes.
    #[serde(default)]
    data: Option<Value>,
}

/// What notifying answers.
#[derive(Serialize, ToSchema)]
pub(super) struct Notified {
    /// The first one's id.
    id: Option<String>,
    /// One for each user, in the order of their ids.
    notifications: Vec<NotifiedUser>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NotifiedUser {
    user_id: String,
    /// The notification's.
    id: String,
}

/// Notifies users: at once on their devices, or else kept until they ask what they missed.
#[utoipa::path(
    post, path = "/api/v1/notifications", tag = "back ends", security(("key" = [])), request_body = Notify,
    responses((status = 201, description = "They are on their way, or kept.", body = reply::Answer<Notified>), BackEndFailures)
)]
pub(super) async fn notify(State(shared): State<Shared>, Body(ask): Body<Notify>) -> Reply {
    let users: BTreeSet<_> = ask.user_ids.into_iter().chain(ask.user_id).collect();
    if users.is_empty() {
        return Err(Failure::invalid("expected userId or userIds").into());
    }
    if users.len() > NOTIFIED {
        return Err(Failure::new(Code::TooLarge, format!("userIds has more than {NOTIFIED} entries")).into());
    }
    for user in &users {
        ids::check_user("userIds", user)?;
    }
    let data = ask.data.map(|data| serde_json::value::to_raw_value(&data)).transpose();
    let data = data.map_err(|_| reply::internal())?;
    let mut sent = Vec::with_capacity(users.len());
    for user_id in users {
        let notification = NotificationSend {
            user_id: user_id.clone(),
            title: ask.title.clone(),
            message: ask.message.clone(),
            kind: ask.kind.clone(),
            data: data.clone(),
        };
        let id = shared.0.domain.notify_as(None, notification).await?.id;
        sent.push(NotifiedUser { user_id, id });
    }
    created(Notified { id: sent.first().map(|first| first.id.clone()), notifications: sent })
}

/// What a repeated request is answered with.
#[derive(Deserialize, Serialize)]
struct Answer {
    /// Of path and body: a key names one request.
    request: String,
    /// Absent while the first one is under way.
    status: Option<u16>,
    body: String,
}

/// Carries out a request with an `Idempotency-Key` once, and answers repeated ones as the first.
///
/// What failed for a reason that passes may be tried again under the same key.
pub(super) async fn once(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let Some(key) = request.headers().get("idempotency-key").cloned() else { return next.run(request).await };
    let Some(key) = key.to_str().ok().filter(|key| ids::check("Idempotency-Key", key).is_ok()) else {
        return failure(Code::Invalid, "Idempotency-Key must have 1 to 256 printable characters");
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = body::to_bytes(body, MAX_BODY).await else {
        return failure(Code::TooLarge, "the body is too large");
    };
    let digest = Sha256::new().chain_update(parts.uri.path()).chain_update([0]).chain_update(&body).finalize();
    let fingerprint: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let (memos, name) = (shared.0.domain.memos(), format!("request:{key}"));
    let begun = Answer { request: fingerprint.clone(), status: None, body: String::new() };
    let known = memos.claim(&name, &json!(begun).to_string(), UNDER_WAY).await;
    match known {
        Ok(None) => {}
        Ok(Some(known)) => return repeated(&known, &fingerprint),
        Err(_) => return failure(Code::Unavailable, "whether this was done before can't be found out now, try again"),
    }
    let response = next.run(Request::from_parts(parts, RawBody::from(body))).await;
    let (parts, body) = response.into_parts();
    let body = body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let passing = parts.status.is_server_error() || parts.status == StatusCode::TOO_MANY_REQUESTS;
    let noted = if passing {
        memos.forget(&name).await
    } else {
        let body = String::from_utf8_lossy(&body).into_owned();
        let answer = Answer { request: fingerprint, status: Some(parts.status.as_u16()), body };
        memos.put(&name, &json!(answer).to_string(), ANSWERS_KEPT).await
    };
    if let Err(error) = noted {
        tracing::warn!(%error, "the answer to a request could not be kept");
    }
    Response::from_parts(parts, RawBody::from(body))
}

fn repeated(known: &str, fingerprint: &str) -> Response {
    let Ok(answer) = serde_json::from_str::<Answer>(known) else {
        return failure(Code::Internal, "internal error");
    };
    if answer.request != fingerprint {
        return failure(Code::Conflict, "this Idempotency-Key was used for another request");
    }
    let Some(status) = answer.status.and_then(|status| StatusCode::from_u16(status).ok()) else {
        return failure(Code::Conflict, "the first request with this Idempotency-Key is still under way");
    };
    let mut response = (status, answer.body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    response
}
