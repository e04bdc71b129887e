//! The last valid public part of each series.

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The last public part of each series that was a valid JSON object.
#[derive(Debug, Default)]
pub(super) struct LastGoodSeries(Mutex<HashMap<Box<str>, Arc<[u8]>>>);

impl LastGoodSeries {
    /// `public` if it is a JSON object, otherwise the last valid one; `None` if there was never one.
    pub(super) fn verify(&self, name: &str, public: Arc<[u8]>) -> Option<Arc<[u8]>> {
        let known = self.entries().get(name).cloned();
        // A comparison is much cheaper than a parse, and most reads return the same bytes as the read before.
        if known.as_deref() == Some(&*public) {
            return known;
        }
        if !is_object(&public) {
            tracing::error!(
                series = name,
                "the public part of series {name:?} is not a JSON object: serving the last good copy; correct the analysis"
            );
            return known;
        }
        self.entries().insert(name.into(), Arc::clone(&public));
        Some(public)
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<[u8]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether these bytes are one JSON object in UTF-8.
fn is_object(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.deserialize_map(AnyObject).and_then(|()| reader.end()).is_ok()
}

struct AnyObject;

impl<'de> Visitor<'de> for AnyObject {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_but_an_object_is_replaced_by_the_last_good_copy() {
        let last_good = LastGoodSeries::default();
        let verify = |bytes: &[u8]| last_good.verify("s", bytes.into()).map(|object| object.to_vec());
        for bad in [&b""[..], b"[1]", b"{", b"{}x", b"{\"a\":}", b"{\"a\":\"\xff\"}", b"\"{}\""] {
            assert_eq!(verify(bad), None);
        }
        assert_eq!(verify(b" {\"a\":[1,{}]} ").unwrap(), b" {\"a\":[1,{}]} ");
        assert_eq!(verify(b"{").unwrap(), b" {\"a\":[1,{}]} ");
        assert_eq!(verify(b"{}").unwrap(), b"{}");
        assert!(last_good.verify("other", b"{"[..].into()).is_none());
    }
}
