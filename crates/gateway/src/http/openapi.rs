//! The description of the HTTP interface, at [`PATH`]: declared with each handler, put together by `utoipa`.

use std::collections::BTreeMap;

use trunkline_protocol::{Code, http::HttpError};
use utoipa::{
    IntoResponses, Modify, OpenApi, PartialSchema, ToSchema,
    openapi::{
        ContentBuilder, Ref, RefOr, Response, ResponseBuilder,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

/// Where it is.
pub(super) const PATH: &str = "/api/openapi.json";

/// What is said of the whole; the paths come from the handlers.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Trunkline",
        description = "The HTTP interface of a Trunkline cluster; any node answers any call. Everything besides goes over Socket.IO.",
        license(name = "MIT", identifier = "MIT")
    ),
    tags(
        (name = "users", description = "For users, with the token that they connect with."),
        (name = "back ends", description = "For back ends, with the API key. A POST with an Idempotency-Key is carried out once for 24 hours; \
            the repeat gets the first answer, marked `Idempotency-Replayed: true`."),
        (name = "open", description = "For whoever asks.")
    ),
    modifiers(&Security)
)]
pub(super) struct Description;

/// How callers say who they are.
struct Security;

impl Modify for Security {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let bearer = |description: &str| {
            let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description));
            SecurityScheme::Http(scheme.build())
        };
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", bearer("The user's token."));
        components.add_security_scheme("key", bearer("The key of `--api-key`."));
        let cookie =
            ApiKeyValue::with_description("token", "The user's token or session, named by `--session-cookie`.");
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
        let mut schemas = vec![(HttpError::name().into_owned(), HttpError::schema())];
        HttpError::schemas(&mut schemas);
        components.schemas.extend(schemas);
    }
}

/// How calls of users fail.
pub(super) struct UserFailures;

impl IntoResponses for UserFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let codes = [Code::Invalid, Code::Unauthenticated, Code::Forbidden, Code::Internal, Code::Unavailable];
        codes.into_iter().map(failure).collect()
    }
}

/// How calls of users that bring something fail.
pub(super) struct SendFailures;

impl IntoResponses for SendFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut responses = UserFailures::responses();
        responses.extend([failure(Code::TooLarge)]);
        responses
    }
}

/// How calls of back ends fail.
pub(super) struct BackEndFailures;

impl IntoResponses for BackEndFailures {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut responses = SendFailures::responses();
        responses.extend([Code::NotFound, Code::Conflict].map(failure));
        responses
    }
}

/// The status that a failure with this code has, and what is said of it.
fn failure(code: Code) -> (String, RefOr<Response>) {
    let description = match code {
        Code::Invalid => "The request is not what is asked for; `message` says what is wrong.",
        Code::Unauthenticated => "The credentials are missing, wrong or expired.",
        Code::Forbidden => "The caller may not do that.",
        Code::NotFound => "There is no such thing.",
        Code::TooLarge => "More than a limit allows.",
        Code::RateLimited => "More often than a limit allows.",
        Code::Conflict => "The Idempotency-Key names another request, or the first one is still under way.",
        Code::Unavailable => "What is needed for this is away just now: try again.",
        Code::Internal => "A fault of the server.",
    };
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(HttpError::name()))).build();
    let response = ResponseBuilder::new().description(description).content("application/json", content).build();
    (code.status().to_string(), response.into())
}
