//! The interface for users, who show the same token as when they connect.

use axum::{
    extract::{FromRequestParts, Path, Query, State},
    http::request::Parts,
    response::Response,
};
use serde::{Deserialize, Serialize};
use trunkline_hub::{Handshake, PeerAddress};
use trunkline_protocol::{
    Code, Failure,
    native::{
        Content, ConversationList, ConversationPage, History, HistoryPage, Message, Missed, MissedAsk, PresenceList,
        PresencePage, UserPresence,
    },
};
use utoipa::ToSchema;

use super::{
    Shared,
    openapi::{SendFailures, UserFailures},
    reply::{Answer, Body, Reply, created, ok},
};
use crate::domain::Caller;

/// Who sent the request.
pub(super) struct User(String);

impl User {
    fn caller(&self) -> Caller<'_> {
        Caller::user(&self.0)
    }
}

impl FromRequestParts<Shared> for User {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Response> {
        let address = parts.extensions.get::<PeerAddress>().map(|peer| peer.0);
        let handshake = Handshake::new(&parts.headers, &parts.uri.to_string(), address);
        let identity = shared.0.domain.authenticator().authenticate(&handshake, false).await;
        let identity = identity.map_err(|error| super::failure(error.code(), &error.to_string()))?;
        Ok(Self(identity.user))
    }
}

/// A message to a user, or to a conversation.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Send {
    /// The user whom it is for.
    #[serde(default)]
    receiver_id: Option<String>,
    /// Another word for `receiverId`.
    #[serde(default)]
    recipient_user_id: Option<String>,
    /// Or the conversation.
    #[serde(default)]
    conversation_id: Option<String>,
    /// Another word for `content`.
    #[serde(default)]
    text: Option<String>,
    #[serde(flatten)]
    content: Content,
    /// Makes a repeat harmless.
    #[serde(default)]
    client_message_id: Option<String>,
}

impl Send {
    /// Sends it as `caller`.
    pub(super) async fn send(self, shared: &Shared, caller: Caller<'_>) -> Result<Message, Failure> {
        let (domain, id) = (&shared.0.domain, self.client_message_id);
        let mut content = self.content;
        if let Some(text) = self.text {
            content.content = text;
        }
        let sent = match (self.receiver_id.or(self.recipient_user_id), self.conversation_id) {
            (Some(user), None) => domain.post_private(caller, &user, content, id).await,
            (None, Some(conversation)) => domain.post(caller, &conversation, content, id).await,
            _ => Err(Failure::invalid("expected either conversationId or receiverId")),
        };
        sent.map(|(message, _)| message)
    }
}

/// What sending answers.
#[derive(Serialize, ToSchema)]
pub(super) struct Sent {
    /// As it is stored.
    message: SentMessage,
}

/// A message with what the `online-users` document's clients read beside.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SentMessage {
    #[serde(flatten)]
    message: Message,
    /// Of a message to a user: its `content`.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Of a message to a user: whom it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    receiver_id: Option<String>,
}

impl From<Message> for Sent {
    fn from(message: Message) -> Self {
        let receiver_id = message.recipient_user_id.clone();
        let text = receiver_id.as_ref().map(|_| message.content.content.clone());
        Self { message: SentMessage { message, text, receiver_id } }
    }
}

/// Stores a message and delivers it.
#[utoipa::path(
    post, path = "/api/messages", tag = "users", security(("token" = []), ("cookie" = [])), request_body = Send,
    responses((status = 201, description = "It is stored.", body = Answer<Sent>), SendFailures)
)]
pub(super) async fn send(State(shared): State<Shared>, user: User, Body(ask): Body<Send>) -> Reply {
    created(Sent::from(ask.send(&shared, user.caller()).await?))
}

/// The conversations that the user takes part in, the latest first.
#[utoipa::path(
    get, path = "/api/conversations", tag = "users", security(("token" = []), ("cookie" = [])), params(ConversationList),
    responses((status = 200, description = "A page of them.", body = Answer<ConversationPage>), UserFailures)
)]
pub(super) async fn conversations(State(shared): State<Shared>, user: User, ask: Asked<ConversationList>) -> Reply {
    ok(shared.0.domain.conversations(user.caller(), &ask.0).await?)
}

/// Which part of a conversation; the latest messages without `after` and `before`.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Range {
    /// Only what came after this `seq`.
    #[serde(default)]
    after: Option<u64>,
    /// Only what came before this `seq`.
    #[serde(default)]
    before: Option<u64>,
    /// How many, 50 unless told, 500 at the most.
    #[serde(default)]
    limit: Option<usize>,
}

/// A page of a conversation.
#[utoipa::path(
    get, path = "/api/conversations/{id}/messages", tag = "users", security(("token" = []), ("cookie" = [])),
    params(("id" = String, Path, description = "The conversation."), Range),
    responses((status = 200, description = "In ascending `seq`.", body = Answer<HistoryPage>), UserFailures)
)]
pub(super) async fn history(
    State(shared): State<Shared>,
    user: User,
    Path(conversation_id): Path<String>,
    ask: Asked<Range>,
) -> Reply {
    let Range { after, before, limit } = ask.0;
    ok(shared.0.domain.history(user.caller(), &History { conversation_id, after, before, limit }).await?)
}

/// What arrived while the user had no device: direct messages and notifications. Once answered they count as delivered.
#[utoipa::path(
    get, path = "/api/messages/missed", tag = "users", security(("token" = []), ("cookie" = [])), params(MissedAsk),
    responses((status = 200, description = "The oldest first.", body = Answer<Missed>), UserFailures)
)]
pub(super) async fn missed(State(shared): State<Shared>, user: User, ask: Asked<MissedAsk>) -> Reply {
    let missed = shared.0.domain.missed(user.caller(), ask.0.limit).await?;
    let reply = ok(&missed);
    shared.0.domain.took(user.caller(), &missed).await;
    reply
}

/// Who is online.
#[utoipa::path(
    get, path = "/api/users", tag = "users", security(("token" = []), ("cookie" = [])), params(PresenceList),
    responses((status = 200, description = "A page of them, and how many there are.", body = Answer<PresencePage>), UserFailures)
)]
pub(super) async fn online(State(shared): State<Shared>, _: User, ask: Asked<PresenceList>) -> Reply {
    ok(shared.0.domain.online_users(&ask.0).await?)
}

/// Whether a user is online.
#[utoipa::path(
    get, path = "/api/users/{id}", tag = "users", security(("token" = []), ("cookie" = [])),
    params(("id" = String, Path, description = "The user.")),
    responses((status = 200, description = "Known of any user, also of one who was never seen.", body = Answer<UserPresence>), UserFailures)
)]
pub(super) async fn presence(State(shared): State<Shared>, _: User, Path(id): Path<String>) -> Reply {
    let user = shared.0.domain.presence_of(&[id]).await?.users.pop();
    ok(user.ok_or_else(super::reply::internal)?)
}

/// The query of a URL; what can't be read is `invalid`.
pub(super) struct Asked<T>(T);

impl<T: serde::de::DeserializeOwned> FromRequestParts<Shared> for Asked<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Response> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(error) => Err(super::failure(Code::Invalid, &error.body_text())),
        }
    }
}
