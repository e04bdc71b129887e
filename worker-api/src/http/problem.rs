//! Error responses: RFC 9457 `application/problem+json`, each with a stable `type`.

use crate::parse::BatchError;
use axum::{
    body::Body,
    extract::rejection::{PathRejection, QueryRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bulkhead_proto::wire::text::escape_controls_in_json;
use serde::Serialize;
use std::borrow::Cow;

/// How long a client should wait before it tries again, in seconds (`Retry-After`). A running analysis frees space many
/// times a second; if it is down, a longer wait in the client does not help.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// The encodings of request bodies, for the response to any other.
const ACCEPT_ENCODING: HeaderValue = HeaderValue::from_static("gzip, zstd, identity");

/// `WWW-Authenticate` of the response to a request without a token, and with a wrong one (RFC 6750, section 3).
const CHALLENGE_MISSING: HeaderValue = HeaderValue::from_static("Bearer");
const CHALLENGE_INVALID: HeaderValue = HeaderValue::from_static("Bearer error=\"invalid_token\"");

/// The most bytes of a header that an error quotes: it becomes part of a log line.
pub(super) const MAX_QUOTED: usize = 64;

macro_rules! problem_kinds {
    ($($(#[$doc:meta])* $kind:ident = $status:ident $name:literal $title:literal),+ $(,)?) => {
        /// The kinds of problem. Their URNs are a contract: clients distinguish errors by them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ProblemKind {
            $($(#[$doc])* $kind),+
        }

        impl ProblemKind {
            /// The `type`: a URN that never changes.
            #[must_use]
            pub const fn urn(self) -> &'static str {
                match self {
                    $(Self::$kind => concat!("urn:bulkhead:problem:", $name)),+
                }
            }

            /// The `title`: the same for each problem of this kind.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$kind => $title),+
                }
            }

            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self {
                    $(Self::$kind => StatusCode::$status),+
                }
            }
        }
    };
}

problem_kinds! {
    /// An event is malformed or out of bounds. No event of the request was accepted.
    BadEvent = BAD_REQUEST "bad-event" "An event is invalid",
    /// The path, the query or a header is malformed.
    BadRequest = BAD_REQUEST "bad-request" "The request is invalid",
    /// The body was not received completely, or cannot be decompressed.
    BrokenBody = BAD_REQUEST "broken-body" "The body is incomplete or corrupt",
    /// The request changes state and has no token.
    TokenMissing = UNAUTHORIZED "token-missing" "A token is required",
    /// The request changes state and has a wrong token.
    TokenInvalid = UNAUTHORIZED "token-invalid" "The token is invalid",
    /// A web page of another site may not change state.
    CrossOrigin = FORBIDDEN "cross-origin" "Web pages of other sites may not change state",
    /// No such route, series, record or worker.
    NotFound = NOT_FOUND "not-found" "Not found",
    /// The route does not support this method.
    MethodNotAllowed = METHOD_NOT_ALLOWED "method-not-allowed" "Method not allowed",
    /// The request took too long.
    Timeout = REQUEST_TIMEOUT "timeout" "The request took too long",
    /// Path and query are too long.
    UriTooLong = URI_TOO_LONG "uri-too-long" "Path and query are too long",
    /// The client's address has reached its connection limit.
    TooManyConnections = TOO_MANY_REQUESTS "too-many-connections" "Too many connections",
    /// The request conflicts with the current state.
    Conflict = CONFLICT "conflict" "The request conflicts with the current state",
    /// The body is longer than `max_body`.
    BodyTooLarge = PAYLOAD_TOO_LARGE "body-too-large" "The body is too large",
    /// The batch is larger than the ring can ever hold.
    BatchTooLarge = PAYLOAD_TOO_LARGE "batch-too-large" "The batch is too large",
    /// The media type or encoding of the body is not supported.
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" "The body type is not supported",
    /// The `Host` is not a name of this service.
    HostNotAllowed = MISDIRECTED_REQUEST "host-not-allowed" "The Host is not allowed",
    /// The `Idempotency-Key` was used for a different request.
    IdempotencyKeyReused = UNPROCESSABLE_ENTITY "idempotency-key-reused" "The Idempotency-Key belongs to another request",
    /// A handler panicked, or another internal error.
    Internal = INTERNAL_SERVER_ERROR "internal" "Internal error",
    /// The analysis could not render the series. Its state is committed.
    RenderFailed = INTERNAL_SERVER_ERROR "render-failed" "The series cannot be rendered",
    /// The request has a transfer coding besides `chunked`.
    UnsupportedTransferCoding = NOT_IMPLEMENTED "unsupported-transfer-coding" "The transfer coding is not supported",
    /// The ring is full. No event of the request was accepted.
    Full = SERVICE_UNAVAILABLE "full" "The ring is full",
    /// The supervisor does not answer, a file or state cannot be read, or no memory is left for another large body.
    Unavailable = SERVICE_UNAVAILABLE "unavailable" "Temporarily unavailable",
}

/// An error response.
#[derive(Debug)]
pub struct Problem {
    kind: ProblemKind,
    detail: String,
    index: Option<usize>,
    field: Option<String>,
    /// The response lists the supported encodings. It must not for a media type that is not supported (RFC 7694, 3).
    accept_encoding: bool,
}

impl Problem {
    /// A problem of this kind. `detail` explains to a person what was expected, what was found, and what to do.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), index: None, field: None, accept_encoding: false }
    }

    /// The body has this encoding, which is not supported.
    pub(crate) fn unsupported_encoding(found: &str) -> Self {
        let detail = format!("expected one Content-Encoding of gzip, zstd or identity; found {found:?}");
        Self { accept_encoding: true, ..Self::new(ProblemKind::UnsupportedMediaType, detail) }
    }

    /// The problem of a request that did a part before.
    pub(crate) fn after(self, done: &str) -> Self {
        Self { detail: format!("{done}, then: {}", self.detail), ..self }
    }

    /// The event with this index, from 0, is out of bounds.
    pub(crate) fn bad_event(index: usize, detail: impl Into<String>) -> Self {
        Self { index: Some(index), ..Self::new(ProblemKind::BadEvent, detail) }
    }

    /// The explanation for a person.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The kind of the problem.
    #[must_use]
    pub const fn kind(&self) -> ProblemKind {
        self.kind
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::new(ProblemKind::BadRequest, rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(ProblemKind::BadRequest, rejection.body_text())
    }
}

impl From<BatchError> for Problem {
    fn from(BatchError { index, field, detail }: BatchError) -> Self {
        Self { index, field, ..Self::new(ProblemKind::BadEvent, detail) }
    }
}

/// The members of RFC 9457, section 3.1, then our extensions.
#[derive(Serialize)]
struct Members<'p> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'p str,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'p str>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let members = Members {
            r#type: self.kind.urn(),
            title: self.kind.title(),
            status: status.as_u16(),
            detail: &self.detail,
            index: self.index,
            field: self.field.as_deref(),
        };
        // Strings and numbers always serialize.
        let body = terminal_safe_json(&members).unwrap_or_default();
        let mut response = typed_response(status, "application/problem+json", body);
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if self.accept_encoding {
            response.headers_mut().insert(header::ACCEPT_ENCODING, ACCEPT_ENCODING);
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge =
                if self.kind == ProblemKind::TokenInvalid { CHALLENGE_INVALID } else { CHALLENGE_MISSING };
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// A response with a body of this media type.
pub(crate) fn typed_response(status: StatusCode, media: &'static str, body: impl Into<Body>) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static(media))], body.into()).into_response()
}

/// A response with this value as its JSON body.
pub(crate) fn json_response(value: &impl Serialize) -> Result<Response, Problem> {
    let body =
        terminal_safe_json(value).map_err(|error| Problem::new(ProblemKind::Internal, error.to_string()))?;
    Ok(typed_response(StatusCode::OK, "application/json", body))
}

/// JSON with escaped control characters, because it holds texts from clients and workers and may be shown on a
/// terminal.
fn terminal_safe_json(value: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string(value)?;
    Ok(match escape_controls_in_json(&text) {
        Cow::Owned(escaped) => escaped,
        Cow::Borrowed(_) => text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn body(problem: Problem) -> (Response<()>, serde_json::Value) {
        let (head, body) = problem.into_response().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (Response::from_parts(head, ()), serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn a_bad_event_problem_names_index_and_field() {
        let rejection = BatchError { index: Some(3), field: Some("value".into()), detail: "no".into() };
        let (head, members) = body(rejection.into()).await;
        assert_eq!(head.status(), 400);
        assert_eq!(head.headers()["content-type"], "application/problem+json");
        assert_eq!(
            members,
            serde_json::json!({
                "type": "urn:bulkhead:problem:bad-event", "title": "An event is invalid", "status": 400,
                "detail": "no", "index": 3, "field": "value",
            })
        );
    }

    #[tokio::test]
    async fn a_full_ring_problem_has_retry_after_and_names_no_event() {
        let (head, members) = body(Problem::new(ProblemKind::Full, "later")).await;
        assert_eq!(
            (head.status().as_u16(), &head.headers()["retry-after"]),
            (503, &HeaderValue::from_static("1"))
        );
        assert!(members.get("index").is_none() && members.get("field").is_none());
    }
}
