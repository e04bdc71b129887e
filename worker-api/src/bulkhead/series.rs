//! The series as the analysis rendered them. What it wrote is not trusted: it is checked before it is served.

use super::{Bulkhead, now_ms};
use bulkhead_proto::shm::table::CommitRecord;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::{
    collections::HashMap,
    fmt,
    io::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The last public part of each series that was found to be a JSON object.
#[derive(Debug, Default)]
pub(super) struct Checked(Mutex<HashMap<Box<str>, Arc<[u8]>>>);

impl Checked {
    /// `public` if it is a JSON object, else what was good last, if anything ever was.
    fn pass(&self, name: &str, public: Arc<[u8]>) -> Option<Arc<[u8]>> {
        let known = self.known().get(name).cloned();
        // A comparison is much cheaper than a parse, and most reads are of what was read before.
        if known.as_deref() == Some(&*public) {
            return known;
        }
        if !is_object(&public) {
            tracing::error!(
                series = name,
                "what the analysis wrote is no JSON object; serving the last good copy"
            );
            return known;
        }
        self.known().insert(name.into(), Arc::clone(&public));
        Some(public)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<[u8]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bulkhead {
    /// The answer about a series as of the last commit: a JSON object, as the analysis rendered it, with
    /// `committed_seq` and `age_ms` added. None if there is no such series.
    #[must_use]
    pub fn series(&self, name: &str) -> Option<String> {
        let mut answer = Vec::new();
        self.write_series(name, &mut answer).then_some(())?;
        String::from_utf8(answer).ok()
    }

    /// Appends the answer about a series to `into`. False, and nothing appended, if there is no such series.
    pub(crate) fn write_series(&self, name: &str, into: &mut Vec<u8>) -> bool {
        let Some((public, record)) = self.0.link.view().public(name) else { return false };
        let Some(object) = self.0.checked.pass(name, public) else { return false };
        extend_object(&object, &record, now_ms(), into)
    }

    /// Whether nothing can be said of a series, not even that there is none: what the analysis left does not verify.
    pub(crate) fn is_unreadable(&self, name: &str) -> bool {
        self.0.link.view().is_unreadable(name)
    }

    /// The names of at most `limit` series that begin with `prefix` and come after `after`, in order of their bytes.
    #[must_use]
    pub fn series_names(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<Arc<str>> {
        self.0.link.view().names(prefix, after, limit)
    }
}

/// Writes `object` with the two members that say how old it is.
fn extend_object(object: &[u8], record: &CommitRecord, now_ms: u64, into: &mut Vec<u8>) -> bool {
    let Some(members) = object.trim_ascii_end().strip_suffix(b"}") else { return false };
    into.extend_from_slice(members);
    let comma = if members.trim_ascii() == b"{" { "" } else { "," };
    let (seq, age) = (record.seq, now_ms.saturating_sub(record.at_ms));
    // Writing to a Vec cannot fail.
    write!(into, "{comma}\"committed_seq\":{seq},\"age_ms\":{age}}}").is_ok()
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
    use bulkhead_proto::wire::ids::Seq;

    #[test]
    fn only_an_object_passes_and_else_the_last_good_copy() {
        let checked = Checked::default();
        let pass = |bytes: &[u8]| checked.pass("s", bytes.into()).map(|good| good.to_vec());
        for bad in [&b""[..], b"[1]", b"{", b"{}x", b"{\"a\":}", b"{\"a\":\"\xff\"}", b"\"{}\""] {
            assert_eq!(pass(bad), None);
        }
        assert_eq!(pass(b" {\"a\":[1,{}]} ").unwrap(), b" {\"a\":[1,{}]} ");
        assert_eq!(pass(b"{").unwrap(), b" {\"a\":[1,{}]} ");
        assert_eq!(pass(b"{}").unwrap(), b"{}");
        assert!(checked.pass("other", b"{"[..].into()).is_none());
    }

    #[test]
    fn the_age_is_added_as_two_members() {
        let mut record = CommitRecord::default();
        (record.seq, record.at_ms) = (Seq(7), 100);
        for (object, answer) in [
            ("{}", r#"{"committed_seq":7,"age_ms":23}"#),
            ("{ } \n", r#"{ "committed_seq":7,"age_ms":23}"#),
            (r#"{"a":{}}"#, r#"{"a":{},"committed_seq":7,"age_ms":23}"#),
        ] {
            let mut into = Vec::new();
            assert!(extend_object(object.as_bytes(), &record, 123, &mut into));
            assert_eq!(String::from_utf8(into).unwrap(), answer);
        }
    }
}
