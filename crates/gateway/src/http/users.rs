//! The interface for users, who show the same token as when they connect.

use axum::{
    extract::{FromRequestParts, Path, Query, State},
    http::request::Parts,
    response::Response,
};
use serde::Deserialize;
use serde_json::json;
use trunkline_hub::{Handshake, PeerAddress};
use trunkline_protocol::{
    Code, Failure,
    native::{Content, ConversationList, History, Message, MissedAsk, PresenceList},
};

use super::{
    Shared,
    reply::{Body, Reply, created, ok},
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

/// `POST /api/messages`: to a user, or to a conversation.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Send {
    #[serde(default)]
    receiver_id: Option<String>,
    #[serde(default)]
    recipient_user_id: Option<String>,
    #[serde(default)]
    conversation_id: Option<String>,
    /// Another word for `content`.
    #[serde(default)]
    text: Option<String>,
    #[serde(flatten)]
    content: Content,
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

pub(super) async fn send(State(shared): State<Shared>, user: User, Body(ask): Body<Send>) -> Reply {
    let message = ask.send(&shared, user.caller()).await?;
    // The first document's clients read `text` and `receiverId`.
    let (text, receiver) = (message.content.content.clone(), message.recipient_user_id.clone());
    let mut message = serde_json::to_value(message).map_err(|_| super::reply::internal())?;
    if let (Some(fields), Some(receiver)) = (message.as_object_mut(), receiver) {
        fields.insert("text".to_owned(), text.into());
        fields.insert("receiverId".to_owned(), receiver.into());
    }
    created(json!({ "message": message }))
}

pub(super) async fn conversations(State(shared): State<Shared>, user: User, ask: Asked<ConversationList>) -> Reply {
    ok(shared.0.domain.conversations(user.caller(), &ask.0).await?)
}

/// Which part of a conversation.
#[derive(Deserialize)]
pub(super) struct Range {
    #[serde(default)]
    after: Option<u64>,
    #[serde(default)]
    before: Option<u64>,
    #[serde(default)]
    limit: Option<usize>,
}

pub(super) async fn history(
    State(shared): State<Shared>,
    user: User,
    Path(conversation_id): Path<String>,
    ask: Asked<Range>,
) -> Reply {
    let Range { after, before, limit } = ask.0;
    ok(shared.0.domain.history(user.caller(), &History { conversation_id, after, before, limit }).await?)
}

pub(super) async fn missed(State(shared): State<Shared>, user: User, ask: Asked<MissedAsk>) -> Reply {
    let missed = shared.0.domain.missed(user.caller(), ask.0.limit).await?;
    let reply = ok(&missed);
    shared.0.domain.took(user.caller(), &missed).await;
    reply
}

pub(super) async fn online(State(shared): State<Shared>, _: User, ask: Asked<PresenceList>) -> Reply {
    ok(shared.0.domain.online_users(&ask.0).await?)
}

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
