//! What requests bring and how they are answered: JSON in, JSON out, `success` in each answer.

use axum::{
    Json,
    extract::{FromRequest, Request, rejection::JsonRejection},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::{Serialize, de::DeserializeOwned};
use trunkline_protocol::{Code, Failure};
use utoipa::ToSchema;

use super::{Shared, failure};

/// An answer, or why there is none.
pub(super) type Reply = Result<Response, Refused>;

/// A failure on its way out.
pub(super) struct Refused(Failure);

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        failure(self.0.code, &self.0.message)
    }
}

/// What was asked for, and `success` beside it.
#[derive(Serialize, ToSchema)]
pub(super) struct Answer<T> {
    /// Always true.
    success: bool,
    #[serde(flatten)]
    value: T,
}

impl<T> From<T> for Answer<T> {
    fn from(value: T) -> Self {
        Self { success: true, value }
    }
}

/// 200.
pub(super) fn ok<T: Serialize>(value: T) -> Reply {
    Ok(Json(Answer::from(value)).into_response())
}

/// 201, for what is stored.
pub(super) fn created<T: Serialize>(value: T) -> Reply {
    Ok((StatusCode::CREATED, Json(Answer::from(value))).into_response())
}

pub(super) fn internal() -> Failure {
    Failure::new(Code::Internal, "internal error")
}

/// A JSON body; what can't be read is answered as errors are.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Shared> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, shared: &Shared) -> Result<Self, Response> {
        match Json::<T>::from_request(request, shared).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(JsonRejection::BytesRejection(_)) => Err(failure(Code::TooLarge, "the body is too large")),
            Err(error) => Err(failure(Code::Invalid, &error.body_text())),
        }
    }
}
