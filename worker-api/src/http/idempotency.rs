//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): lets a client repeat a request safely.
//!
//! The key is used verbatim, including quotes. [`bulkhead_proto::shm::ring::IdempotencyIndex`] defines which keys are
//! remembered and for how long.

use super::problem::{Problem, ProblemKind};
use crate::parse::BodyFormat;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bulkhead_proto::shm::ring::{IdempotencyKey, KeyedRequest, MAX_IDEMPOTENCY_KEY};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// Keys with this prefix are reserved for the service.
pub(crate) const RESERVED_KEY_PREFIX: &str = "__";

/// The response repeats the response to the first request with this key. Nothing was appended now.
pub(crate) const REPLAYED_HEADER: (HeaderName, HeaderValue) =
    (HeaderName::from_static("idempotency-replayed"), HeaderValue::from_static("true"));

/// What a request with a key asks for. Its digest tells whether another request has the same key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keyed<'a> {
    /// Events: the body, as it was sent. Values that the service fills in, such as the time of an event without one, are not
    /// part of it.
    Events(BodyFormat, &'a [u8]),
    /// The removal of this series.
    Removal(&'a str),
}

/// The request's key, if it has one, with a digest of the request.
///
/// # Errors
/// When the header is present more than once or does not hold a valid key.
pub(crate) fn keyed_request(headers: &HeaderMap, asked: Keyed<'_>) -> Result<Option<KeyedRequest>, Problem> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad_key("found the header more than once"));
    }
    let Some(key) = IdempotencyKey::new(value.as_bytes())
        .filter(|key| !key.as_bytes().starts_with(RESERVED_KEY_PREFIX.as_bytes()))
    else {
        return Err(bad_key(&format!("found {} bytes: {value:?}", value.len())));
    };
    Ok(Some(KeyedRequest { key, digest: digest(asked) }))
}

fn bad_key(found: &str) -> Problem {
    let detail = format!(
        "expected one Idempotency-Key of 1 to {MAX_IDEMPOTENCY_KEY} visible ASCII characters that does not start with {RESERVED_KEY_PREFIX}; {found}"
    );
    Problem::new(ProblemKind::BadRequest, detail)
}

/// SipHash with a fixed key, because later versions compare these digests too. It detects mistakes, not attacks: a
/// client that constructs a collision only deceives itself.
fn digest(asked: Keyed<'_>) -> u128 {
    let (kind, bytes) = match asked {
        Keyed::Events(BodyFormat::Json, body) => (1, body),
        Keyed::Events(BodyFormat::Ndjson, body) => (2, body),
        Keyed::Removal(series) => (3, series.as_bytes()),
    };
    let mut hasher = SipHasher13::new();
    hasher.write_u8(kind);
    hasher.write(bytes);
    hasher.finish128().as_u128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_stable_and_differs_between_kinds_and_contents() {
        let json = digest(Keyed::Events(BodyFormat::Json, b"{}"));
        assert_eq!(json, 60_518_372_447_633_028_953_036_868_792_864_797_136);
        assert_ne!(json, digest(Keyed::Events(BodyFormat::Ndjson, b"{}")));
        assert_ne!(json, digest(Keyed::Events(BodyFormat::Json, b"{ }")));
        assert_ne!(json, digest(Keyed::Removal("{}")));
    }
}
