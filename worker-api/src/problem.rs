//! Errors as answers: RFC 9457 `application/problem+json`, each with a stable `type`.

use crate::parse::BadEvents;
use axum::{
    body::Body,
    extract::rejection::{PathRejection, QueryRejection},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bulkhead_proto::wire::text::escape_controls_in_json;
use serde::Serialize;
use std::borrow::Cow;

/// How long a refused writer should wait before it tries again, in seconds (`Retry-After`): a running analysis frees
/// space many times a second, and one that is down needs longer than a client should hold its breath anyway.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// What a client without the right token is told (RFC 6750, section 3).
const TOKEN_MISSING: HeaderValue = HeaderValue::from_static("Bearer");
const TOKEN_INVALID: HeaderValue = HeaderValue::from_static("Bearer error=\"invalid_token\"");

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $status:ident $name:literal $title:literal),+ $(,)?) => {
        /// The kinds of problem. Their names are a contract: programs tell errors apart by them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $($(#[$doc])* $kind),+
        }

        impl Kind {
            /// The `type`: a URN that never changes.
            #[must_use]
            pub const fn urn(self) -> &'static str {
                match self {
                    $(Self::$kind => concat!("urn:bulkhead:problem:", $name)),+
                }
            }

            /// The `title`: the same for every problem of this kind.
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

kinds! {
    /// An event is malformed or out of its bounds; nothing of the request was accepted.
    BadEvent = BAD_REQUEST "bad-event" "An event is not acceptable",
    /// Path or query are malformed.
    BadRequest = BAD_REQUEST "bad-request" "The request is not understood",
    /// The body did not arrive whole.
    BrokenBody = BAD_REQUEST "broken-body" "The body ended early",
    /// A changing request without a token.
    TokenMissing = UNAUTHORIZED "token-missing" "A token is wanted",
    /// A changing request with another token than ours.
    TokenInvalid = UNAUTHORIZED "token-invalid" "This token is not valid",
    /// No such route, series or worker.
    NotFound = NOT_FOUND "not-found" "There is no such thing",
    /// The route exists, but not for this method.
    MethodNotAllowed = METHOD_NOT_ALLOWED "method-not-allowed" "This method is not for this path",
    /// The request took too long.
    Timeout = REQUEST_TIMEOUT "timeout" "The request took too long",
    /// Path and query are too long.
    UriTooLong = URI_TOO_LONG "uri-too-long" "Path and query are too long",
    /// This client's address has as many connections as it may.
    TooManyConnections = TOO_MANY_REQUESTS "too-many-connections" "Too many connections",
    /// It cannot be done now.
    Conflict = CONFLICT "conflict" "It cannot be done now",
    /// The body is longer than `max_body`.
    BodyTooLarge = PAYLOAD_TOO_LARGE "body-too-large" "The body is too large",
    /// The batch could never fit the ring.
    BatchTooLarge = PAYLOAD_TOO_LARGE "batch-too-large" "The batch could never be accepted",
    /// The body's media type or encoding is not spoken here.
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" "This kind of body is not understood",
    /// The `Idempotency-Key` was used for another request.
    IdempotencyKeyReused = UNPROCESSABLE_ENTITY "idempotency-key-reused" "The Idempotency-Key is another request's",
    /// A handler panicked.
    Internal = INTERNAL_SERVER_ERROR "internal" "Something is wrong here, not with the request",
    /// The ring is full; nothing of the request was accepted.
    Full = SERVICE_UNAVAILABLE "full" "Too much is pending",
    /// The supervisor does not answer, or there is no memory for another large body.
    Unavailable = SERVICE_UNAVAILABLE "unavailable" "Not available now",
}

/// An error as the client sees it.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    index: Option<usize>,
    field: Option<String>,
}

impl Problem {
    /// A problem of that kind; `detail` says to a person what was wanted, what was found, and what to do.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), index: None, field: None }
    }

    /// The event of that index, from 0, is out of its bounds.
    pub(crate) fn bad_event(index: usize, detail: impl Into<String>) -> Self {
        Self { index: Some(index), ..Self::new(Kind::BadEvent, detail) }
    }

    /// What it says to a person.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// Which kind it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }
}

impl From<PathRejection> for Problem {
    fn from(bad: PathRejection) -> Self {
        Self::new(Kind::BadRequest, bad.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(bad: QueryRejection) -> Self {
        Self::new(Kind::BadRequest, bad.body_text())
    }
}

impl From<BadEvents> for Problem {
    fn from(BadEvents { index, field, detail }: BadEvents) -> Self {
        Self { kind: Kind::BadEvent, detail, index, field }
    }
}

/// The members of RFC 9457, section 3.1, then ours.
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
        // Texts and numbers alone always have a JSON form.
        let body = harmless(&members).unwrap_or_default();
        let mut response = with_type(status, "application/problem+json", body);
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = if self.kind == Kind::TokenInvalid { TOKEN_INVALID } else { TOKEN_MISSING };
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// An answer with a body of that media type.
pub(crate) fn with_type(status: StatusCode, media: &'static str, body: impl Into<Body>) -> Response {
    const CONTENT_TYPE: HeaderName = header::CONTENT_TYPE;
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

/// An answer whose body is this value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<Response, Problem> {
    let body = harmless(value).map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    Ok(with_type(StatusCode::OK, "application/json", body))
}

/// JSON that does nothing to a terminal: texts in it come from clients and workers.
fn harmless(value: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string(value)?;
    Ok(match escape_controls_in_json(&text) {
        Cow::Owned(visible) => visible,
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
    async fn a_bad_event_names_index_and_field() {
        let bad = BadEvents { index: Some(3), field: Some("value".into()), detail: "no".into() };
        let (head, members) = body(bad.into()).await;
        assert_eq!(head.status(), 400);
        assert_eq!(head.headers()["content-type"], "application/problem+json");
        assert_eq!(
            members,
            serde_json::json!({
                "type": "urn:bulkhead:problem:bad-event", "title": "An event is not acceptable", "status": 400,
                "detail": "no", "index": 3, "field": "value",
            })
        );
    }

    #[tokio::test]
    async fn a_full_ring_says_when_to_come_back_and_names_no_event() {
        let (head, members) = body(Problem::new(Kind::Full, "later")).await;
        assert_eq!(
            (head.status().as_u16(), &head.headers()["retry-after"]),
            (503, &HeaderValue::from_static("1"))
        );
        assert!(members.get("index").is_none() && members.get("field").is_none());
    }
}
