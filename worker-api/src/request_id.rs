//! `X-Request-Id`: taken or made, answered, and carried with the events of the request.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bulkhead_proto::wire::{event::MAX_REQUEST_ID, ids::Generation};
use std::sync::atomic::{AtomicU64, Ordering};

/// The header, both ways.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of one request: 1 to 64 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id of the request that this task answers, if it answers one.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// The id itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// Takes the client's id if it is a fit one.
    fn taken(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(HEADER)?;
        let fit =
            (1..=MAX_REQUEST_ID).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic);
        fit.then(|| Self(value.clone()))
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// Runs a future as part of the request with this id.
    pub(crate) fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }
}

/// Makes ids: the generation, which is never reused, and a running number. Short, as every event carries one.
#[derive(Debug)]
pub(crate) struct RequestIds {
    generation: Generation,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) const fn new(generation: Generation) -> Self {
        Self { generation, next: AtomicU64::new(1) }
    }

    /// The client's id, or a new one.
    pub(crate) fn take_or_make(&self, headers: &HeaderMap) -> RequestId {
        RequestId::taken(headers).unwrap_or_else(|| self.make())
    }

    fn make(&self) -> RequestId {
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
    fn a_fit_id_is_taken_and_any_other_is_replaced_by_a_new_one() {
        let ids = RequestIds::new(Generation(7));
        let longest = "x".repeat(64);
        for fit in ["a", "3f2a-77/b_c.d~", &longest] {
            assert_eq!(ids.take_or_make(&headers(fit)).as_str(), fit);
        }
        let too_long = "x".repeat(65);
        for (number, unfit) in ["", "a b", "caf\u{e9}", &too_long].into_iter().enumerate() {
            assert_eq!(ids.take_or_make(&headers(unfit)).as_str(), format!("g7-{}", number + 1));
        }
        assert_eq!(ids.take_or_make(&HeaderMap::new()).as_str(), "g7-5");
    }
}
