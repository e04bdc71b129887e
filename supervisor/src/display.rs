//! How values are shown to people: durations, sizes, numbers of things, errors.

use crate::limit_hint::limit_hint;
use bulkhead_proto::wire::ids::Seq;
use std::time::Duration;

/// Units of a quantity with their factors, smallest first.
pub(crate) type Units = &'static [(&'static str, u64)];

/// The units of a duration in the configuration, in milliseconds.
pub(crate) const DURATION_UNITS: Units =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 24 * 3_600_000)];

/// The units of a size, in bytes.
pub(crate) const SIZE_UNITS: Units = &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// A duration, rounded: `12 ms`, `3.4 s`, `5 min`, `3 h`, `2 d`.
pub(crate) fn format_duration(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min", duration.as_secs() / 60),
        3600..86_400 => format!("{} h", duration.as_secs() / 3600),
        _ => format!("{} d", duration.as_secs() / 86_400),
    }
}

/// A duration, exact and as the configuration spells it: `1500ms`, `5m`.
pub(crate) fn format_exact_duration(duration: Duration) -> String {
    in_largest_unit(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), DURATION_UNITS)
}

/// A size in bytes, exact and as the configuration spells it: `64MiB`.
pub(crate) fn format_size(bytes: u64) -> String {
    in_largest_unit(bytes, SIZE_UNITS)
}

/// An amount in the largest of these units that needs no fraction.
pub(crate) fn in_largest_unit(amount: u64, units: Units) -> String {
    let whole = units.iter().rev().find(|(_, scale)| amount != 0 && amount.is_multiple_of(*scale));
    let (unit, scale) = whole.copied().unwrap_or(units[0]);
    format!("{}{unit}", amount / scale)
}

/// `1 death`, `2 deaths`: a number with its noun, whose plural ends with "s".
pub(crate) fn format_count(count: impl TryInto<u64>, noun: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// What a message about a death adds for the event in flight; empty without one.
pub(crate) fn in_flight(seq: Option<Seq>) -> String {
    seq.map(|seq| format!(", event {seq} in flight")).unwrap_or_default()
}

/// An error and its causes in one line, each text once. Many errors already end with the text of their cause; anyhow's
/// `{:#}` would repeat it. At the end, the limit of this process that explains it.
pub(crate) fn error_chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = text + ": " + &cause;
        }
    }
    match error.chain().find_map(limit_hint) {
        Some(hint) => format!("{text}; {hint}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_proto::shm::{memory::MemoryError, segment::SegmentError};

    #[test]
    fn durations_are_as_exact_as_a_person_needs() {
        for (millis, shown) in
            [(12, "12 ms"), (3456, "3.5 s"), (61_000, "1 min"), (7_300_000, "2 h"), (200_000_000, "2 d")]
        {
            assert_eq!(format_duration(Duration::from_millis(millis)), shown);
        }
    }

    #[test]
    fn only_one_thing_is_singular() {
        assert_eq!(
            [0_u64, 1, 2].map(|count| format_count(count, "death")),
            ["0 deaths", "1 death", "2 deaths"]
        );
    }

    #[test]
    fn a_cause_that_the_error_already_contains_is_not_repeated() {
        let source = std::io::Error::from_raw_os_error(24);
        let error = SegmentError::System { kind: "events", action: "make it", source };
        let error = anyhow::Error::from(MemoryError::from(error)).context("cannot make the shared memory");
        assert_eq!(
            error_chain(&error),
            "cannot make the shared memory: segment events: cannot make it: Too many open files (os error 24); \
             the limit of open files is too low: see `ulimit -n`, or LimitNOFILE= of systemd"
        );
    }

    #[test]
    fn a_cause_that_the_error_does_not_contain_is_appended() {
        let error = anyhow::anyhow!("no such file").context("marks").context("cannot begin");
        assert_eq!(error_chain(&error), "cannot begin: marks: no such file");
    }
}
