//! The series as the analysis rendered them. The API does not trust these bytes: it checks them before it serves them.

use super::ApiHandle;
use bulkhead_proto::{
    shm::table::{CommitRecord, FoundSeries},
    wire::{
        event::MAX_SERIES,
        series::{OVERFLOW_SERIES, render_failure},
        time::now_ms,
    },
};
use std::{io::Write, sync::Arc};

/// How a series was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SeriesRead {
    /// Its object was written.
    Written,
    /// There is no such series.
    Missing,
    /// The memory does not verify, or what the analysis rendered was never a JSON object.
    Unreadable,
    /// The analysis could not render it, for this reason.
    RenderFailed(String),
}

impl ApiHandle {
    /// The state of a series as of the last commit: the JSON object that the analysis rendered, with `committed_seq`
    /// and `age_ms` added. `None` if there is no such series, or the analysis could not render it.
    #[must_use]
    pub fn series(&self, name: &str) -> Option<String> {
        let mut json = Vec::new();
        (self.write_series(name, &mut json) == SeriesRead::Written).then_some(())?;
        String::from_utf8(json).ok()
    }

    /// Appends the JSON object of a series to `out`, or nothing.
    pub(crate) fn write_series(&self, name: &str, out: &mut Vec<u8>) -> SeriesRead {
        let (view, last_good) = (self.0.link.view(), &self.0.last_good);
        let (object, record) = match view.public(name) {
            FoundSeries::Missing(_) => {
                last_good.forget(name);
                return SeriesRead::Missing;
            }
            FoundSeries::Unreadable(record) => match last_good.get(name) {
                Some(object) => (Some(object), record),
                None => return SeriesRead::Unreadable,
            },
            FoundSeries::Public(public, record) => {
                last_good.prune(record.reassigned, |name| view.may_contain(name));
                if let Some(reason) = render_failure(&public) {
                    return SeriesRead::RenderFailed(reason);
                }
                (last_good.verify(name, public), record)
            }
        };
        match object {
            Some(object) if write_with_age(&object, &record, now_ms(), out) => SeriesRead::Written,
            Some(_) | None => SeriesRead::Unreadable,
        }
    }

    /// The last commit.
    pub(crate) fn last_commit(&self) -> CommitRecord {
        self.0.link.view().record()
    }

    /// Whether there is such a series, or may be: its state is unknown, or events are pending.
    pub(crate) fn may_have_series(&self, name: &str) -> bool {
        // The stats first: what is not pending then is committed, and what is committed is seen afterwards.
        name.len() <= MAX_SERIES && (self.0.link.stats().pending > 0 || self.0.link.view().may_contain(name))
    }

    /// Whether events of some series are counted together, because `max_series` is reached.
    pub(crate) fn has_merged_series(&self) -> bool {
        self.0.link.view().may_contain(OVERFLOW_SERIES)
    }

    /// At most `limit` names of series that start with `prefix` and sort after `after`, in byte order.
    #[must_use]
    pub fn series_names(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<Arc<str>> {
        self.0.link.view().names(prefix, after, limit)
    }
}

/// Writes `object` with the members `committed_seq` and `age_ms` added.
fn write_with_age(object: &[u8], record: &CommitRecord, now_ms: u64, out: &mut Vec<u8>) -> bool {
    let Some(members) = object.trim_ascii_end().strip_suffix(b"}") else { return false };
    out.extend_from_slice(members);
    let comma = if members.trim_ascii() == b"{" { "" } else { "," };
    let (seq, age) = (record.seq, now_ms.saturating_sub(record.at_ms));
    // Writing to a Vec cannot fail.
    write!(out, "{comma}\"committed_seq\":{seq},\"age_ms\":{age}}}").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_proto::wire::ids::Seq;

    #[test]
    fn committed_seq_and_age_are_added_to_the_object() {
        let mut record = CommitRecord::default();
        (record.seq, record.at_ms) = (Seq(7), 100);
        for (object, json) in [
            ("{}", r#"{"committed_seq":7,"age_ms":23}"#),
            ("{ } \n", r#"{ "committed_seq":7,"age_ms":23}"#),
            (r#"{"a":{}}"#, r#"{"a":{},"committed_seq":7,"age_ms":23}"#),
        ] {
            let mut out = Vec::new();
            assert!(write_with_age(object.as_bytes(), &record, 123, &mut out));
            assert_eq!(String::from_utf8(out).unwrap(), json);
        }
    }
}
