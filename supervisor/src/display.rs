//! How values are shown to people: events, sizes, errors.

use bulkhead_proto::wire::{event::Event, quarantine::EventView, time::rfc3339};

/// Units of a size with their factors, smallest first.
const SIZE_UNITS: &[(&str, u64)] = &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Decodes an event; `None` if the bytes are not one.
pub(crate) fn event(payload: &[u8]) -> Option<EventView> {
    let event = Event::decode(payload).ok()?;
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Some(EventView {
        series: event.series.to_owned(),
        value: event.value,
        ts: rfc3339(event.ts_ms),
        arrived: rfc3339(event.arrived_ms),
        label: owned(event.label),
        data: owned(event.data),
        request_id: owned(event.request_id),
    })
}

/// A size in bytes, in the largest unit that needs no fraction: `64MiB`.
#[must_use]
pub(crate) fn format_size(bytes: u64) -> String {
    in_largest_unit(bytes, SIZE_UNITS)
}

/// An amount in the largest of these units that needs no fraction. `units` are sorted, smallest first, and not empty.
pub(crate) fn in_largest_unit(amount: u64, units: &[(&str, u64)]) -> String {
    let whole = units.iter().rev().find(|(_, scale)| amount != 0 && amount.is_multiple_of(*scale));
    let (unit, scale) = whole.copied().unwrap_or(units[0]);
    format!("{}{unit}", amount / scale)
}

/// An error and its causes in one line, each text once. Many errors already end with the text of their cause; anyhow's
/// `{:#}` would repeat it.
#[must_use]
pub(crate) fn error_chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = text + ": " + &cause;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_proto::shm::{memory::MemoryError, segment::SegmentError};

    #[test]
    fn a_cause_that_the_error_already_contains_is_not_repeated() {
        let source = std::io::Error::from_raw_os_error(24);
        let error = SegmentError::System { kind: "events", action: "make it", source };
        let error = anyhow::Error::from(MemoryError::from(error)).context("cannot make the shared memory");
        assert_eq!(
            error_chain(&error),
            "cannot make the shared memory: segment events: cannot make it: Too many open files (os error 24)"
        );
    }

    #[test]
    fn a_cause_that_the_error_does_not_contain_is_appended() {
        let error = anyhow::anyhow!("no such file").context("marks").context("cannot begin");
        assert_eq!(error_chain(&error), "cannot begin: marks: no such file");
    }
}
