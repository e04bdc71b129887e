//! `Idempotency-IdempotencyKey` (draft-ietf-httpapi-idempotency-key-header-07): a request that may be sent again.
//!
//! The key is taken as it comes, quotes included. Which keys are known, and for how long: [`bulkhead_proto::shm::ring::IdempotencyIndex`].

use crate::{
    parse::Form,
    problem::{Kind, Problem},
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bulkhead_proto::shm::ring::{IdempotencyKey, KeyedRequest, MAX_IDEMPOTENCY_KEY};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Keys that begin so are our own, and no client's.
pub(crate) const OWN: &str = "__";

/// Says that an answer is that of the first request with this key, and that nothing was done now.
pub(crate) const REPLAYED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("idempotency-replayed"), HeaderValue::from_static("true"));

/// The request's key, if it has one, and the digest that tells this request from others.
///
/// # Errors
/// When the header is there and holds no key, or is there twice.
pub(crate) fn request(headers: &HeaderMap, form: Form, body: &[u8]) -> Result<Option<KeyedRequest>, Problem> {
    let mut values = headers.get_all(KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad_key("found the header more than once"));
    }
    let Some(key) =
        IdempotencyKey::new(value.as_bytes()).filter(|key| !key.as_bytes().starts_with(OWN.as_bytes()))
    else {
        return Err(bad_key(&format!("found {} bytes: {value:?}", value.len())));
    };
    Ok(Some(KeyedRequest { key, digest: digest(form, body) }))
}

fn bad_key(found: &str) -> Problem {
    let detail = format!(
        "one Idempotency-Key of 1 to {MAX_IDEMPOTENCY_KEY} visible ASCII characters is wanted, not beginning with {OWN}; {found}"
    );
    Problem::new(Kind::BadRequest, detail)
}

/// Over the body as it was sent: what is left to us, as the time of an event without one, is no part of the request.
///
/// SipHash with a fixed key, for digests are compared by later programs too: it tells mistakes apart. Who looks for a
/// collision deceives himself alone.
fn digest(form: Form, body: &[u8]) -> u128 {
    let mut hasher = SipHasher13::new();
    hasher.write_u8(match form {
        Form::Json => 1,
        Form::Ndjson => 2,
    });
    hasher.write(body);
    hasher.finish128().as_u128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_same_in_every_version_and_tells_forms_and_bodies_apart() {
        assert_eq!(digest(Form::Json, b"{}"), 60_518_372_447_633_028_953_036_868_792_864_797_136);
        assert_ne!(digest(Form::Json, b"{}"), digest(Form::Ndjson, b"{}"));
        assert_ne!(digest(Form::Json, b"{}"), digest(Form::Json, b"{ }"));
    }
}
