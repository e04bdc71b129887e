//! The last valid public part of each series.

use serde_json::value::RawValue;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// The most bytes of all copies. Beyond it, the copies are given up, and made anew by the next reads.
const MAX_BYTES: usize = 64 << 20;

/// The copies, and the sum of their lengths.
#[derive(Debug, Default)]
struct Copies {
    objects: HashMap<Box<str>, Arc<[u8]>>,
    bytes: usize,
}

impl Copies {
    fn insert(&mut self, name: &str, object: Arc<[u8]>) {
        self.remove(name);
        if self.bytes + object.len() > MAX_BYTES {
            *self = Self::default();
        }
        self.bytes += object.len();
        self.objects.insert(name.into(), object);
    }

    fn remove(&mut self, name: &str) {
        self.bytes -= self.objects.remove(name).map_or(0, |object| object.len());
    }

    fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        self.objects.retain(|name, _| exists(name));
        self.bytes = self.objects.values().map(|object| object.len()).sum();
    }
}

/// The last public part of each series that was a valid JSON object, of the series that were read.
#[derive(Debug, Default)]
pub(super) struct LastGoodSeries {
    entries: Mutex<Copies>,
    /// `reassigned` of the commit after which the entries were last compared with the series that exist.
    pruned_at: AtomicU64,
}

impl LastGoodSeries {
    /// `public` if it is a JSON object, otherwise the last valid one; `None` if there was never one.
    pub(super) fn verify(&self, name: &str, public: Arc<[u8]>) -> Option<Arc<[u8]>> {
        let known = self.get(name);
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
        self.entries().insert(name, Arc::clone(&public));
        Some(public)
    }

    /// Forgets the series that do not exist any more, if any was removed since the last call. `reassigned` is that of the
    /// commit that was read.
    pub(super) fn prune(&self, reassigned: u64, exists: impl Fn(&str) -> bool) {
        if self.pruned_at.swap(reassigned, Ordering::Relaxed) != reassigned {
            self.entries().retain(exists);
        }
    }

    /// The series does not exist any more. A later one of that name is another one.
    pub(super) fn forget(&self, name: &str) {
        self.entries().remove(name);
    }

    /// The last valid one.
    pub(super) fn get(&self, name: &str) -> Option<Arc<[u8]>> {
        self.entries().objects.get(name).cloned()
    }

    fn entries(&self) -> MutexGuard<'_, Copies> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether these bytes are one JSON object in UTF-8.
fn is_object(bytes: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(bytes).is_ok_and(|json| json.get().starts_with('{'))
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
        last_good.forget("s");
        assert_eq!(verify(b"{"), None);
    }

    #[test]
    fn the_copies_are_bounded() {
        let last_good = LastGoodSeries::default();
        let object: Arc<[u8]> = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_BYTES / 3)).into_bytes().into();
        for name in ["a", "b", "b", "b"] {
            last_good.verify(name, Arc::clone(&object));
        }
        assert!(last_good.get("a").is_some() && last_good.get("b").is_some());
        last_good.verify("c", Arc::clone(&object));
        assert_eq!(["a", "b", "c"].map(|name| last_good.get(name).is_some()), [false, false, true]);
    }

    #[test]
    fn series_that_do_not_exist_any_more_take_no_memory() {
        let last_good = LastGoodSeries::default();
        for name in ["a", "b"] {
            last_good.verify(name, b"{}"[..].into());
        }
        last_good.prune(0, |_| false);
        assert_eq!(last_good.entries().objects.len(), 2, "no slot got another series");
        last_good.prune(1, |name| name == "b");
        assert_eq!(last_good.entries().objects.keys().map(|name| &**name).collect::<Vec<_>>(), ["b"]);
    }
}
