//! `X-Request-Id`: taken from the request or generated, sent back, and stored with the events of the request.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bulkhead_proto::wire::{event::MAX_REQUEST_ID, ids::Generation};
use std::sync::atomic::{AtomicU64, Ordering};

/// The header, in requests and responses.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of one request: 1 to 64 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id of the request that the current task handles; `None` outside of a handler.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The client's id, if it is valid.
    fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(HEADER)?;
        let valid =
            (1..=MAX_REQUEST_ID).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic);
        valid.then(|| Self(value.clone()))
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// Runs a future as part of the request with this id.
    pub(crate) fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }
}

/// Generates ids from the generation, which is never reused, and a counter. They are short because each event carries
/// one.
#[derive(Debug)]
pub(crate) struct RequestIds {
    generation: Generation,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) const fn new(generation: Generation) -> Self {
        Self { generation, next: AtomicU64::new(1) }
    }

    /// The client's id if it is valid, otherwise a new one.
    pub(crate) fn accept_or_generate(&self, headers: &HeaderMap) -> RequestId {
        RequestId::from_headers(headers).unwrap_or_else(|| self.generate())
    }

    fn generate(&self) -> RequestId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let text = format!("g{}-{number}", self.generation);
        // Letters, digits and a dash are always a valid header.
        RequestId(HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("-")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(id: &str) -> HeaderMap {
        HeaderMap::from_iter([(HEADER, HeaderValue::from_bytes(id.as_bytes()).unwrap())])
    }

    #[test]
    fn a_valid_id_is_taken_and_an_invalid_one_is_replaced() {
        let ids = RequestIds::new(Generation(7));
        let longest = "x".repeat(64);
        for valid in ["a", "3f2a-77/b_c.d~", &longest] {
            assert_eq!(ids.accept_or_generate(&headers(valid)).as_str(), valid);
        }
        let too_long = "x".repeat(65);
        for (number, invalid) in ["", "a b", "caf\u{e9}", &too_long].into_iter().enumerate() {
            assert_eq!(ids.accept_or_generate(&headers(invalid)).as_str(), format!("g7-{}", number + 1));
        }
        assert_eq!(ids.accept_or_generate(&HeaderMap::new()).as_str(), "g7-5");
    }
}
