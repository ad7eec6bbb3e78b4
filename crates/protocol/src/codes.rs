//! Error codes, and the shape in which a failure reaches a client.

use serde::{Deserialize, Serialize};

/// What went wrong, for a program to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub enum Code {
    /// The payload is not what the event asks for.
    Invalid,
    /// Nobody has said, credibly, who this is.
    Unauthenticated,
    /// This user may not do that.
    Forbidden,
    /// There is no such thing, or no such event.
    NotFound,
    /// More than a limit allows.
    TooLarge,
    /// More often than a limit allows.
    RateLimited,
    /// Somebody else was faster.
    Conflict,
    /// What is needed for this is away just now.
    Unavailable,
    /// A fault of the server.
    Internal,
}

impl Code {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// Whether the same request may succeed later.
    pub fn retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable)
    }

    /// The HTTP status that goes with it.
    pub fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }
}

/// A request that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// For a program.
    pub code: Code,
    /// For a person.
    pub message: String,
    /// What else the client needs to go on, beside the fields that every failure has. Boxed: few have it.
    pub details: Option<Box<Details>>,
}

/// Further fields of a failure's answer.
pub type Details = serde_json::Map<String, serde_json::Value>;

impl Failure {
    /// A failure with this code and text.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: None }
    }

    /// With the fields of `details`, an object, in the answer.
    #[must_use]
    pub fn with(mut self, details: &impl Serialize) -> Self {
        if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(details) {
            self.details = Some(Box::new(fields));
        }
        self
    }

    /// The payload is wrong; `message` says where and how.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::Invalid, message)
    }

    /// This user may not; `message` says what.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(Code::Forbidden, message)
    }
}

/// The answer to an event: `{success: true, …}` or `{success: false, error, message, retryable}`.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Ack<T> {
    /// It worked; `T`'s fields stand beside `success`.
    Ok {
        /// Always true.
        success: bool,
        /// What the event's ack adds.
        #[serde(flatten)]
        value: T,
    },
    /// It did not.
    Failed {
        /// Always false.
        success: bool,
        /// The code.
        error: Code,
        /// The text.
        message: String,
        /// Whether the same request may succeed later.
        retryable: bool,
        /// What else the client needs.
        #[serde(flatten)]
        details: Option<Box<Details>>,
    },
}

impl<T> From<Result<T, Failure>> for Ack<T> {
    fn from(result: Result<T, Failure>) -> Self {
        match result {
            Ok(value) => Self::Ok { success: true, value },
            Err(Failure { code, message, details }) => {
                Self::Failed { success: false, error: code, message, retryable: code.retryable(), details }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_success_carries_its_fields_beside_the_flag() {
        #[derive(Serialize)]
        struct Sent {
            seq: u64,
        }
        assert_eq!(serde_json::to_value(Ack::from(Ok(Sent { seq: 7 }))).unwrap(), json!({"success": true, "seq": 7}));
    }

    #[test]
    fn a_failure_says_what_and_whether_to_retry() {
        let ack: Ack<()> = Err(Failure::new(Code::Unavailable, "the store is away")).into();
        assert_eq!(
            serde_json::to_value(ack).unwrap(),
            json!({"success": false, "error": "unavailable", "message": "the store is away", "retryable": true})
        );
    }

    #[test]
    fn a_failure_carries_what_helps_to_go_on() {
        let current = crate::native::DocumentState { content: "theirs".into(), version: 3 };
        let ack: Ack<()> = Err(Failure::new(Code::Conflict, "edited meanwhile").with(&current)).into();
        let ack = serde_json::to_value(ack).unwrap();
        assert_eq!(
            (&ack["error"], &ack["version"], &ack["content"]),
            (&json!("conflict"), &json!(3), &json!("theirs"))
        );
    }

    #[test]
    fn a_code_is_spelled_alike_everywhere() {
        for code in [Code::Invalid, Code::NotFound, Code::TooLarge, Code::RateLimited, Code::Internal] {
            assert_eq!(serde_json::to_value(code).unwrap(), json!(code.as_str()));
        }
    }
}
