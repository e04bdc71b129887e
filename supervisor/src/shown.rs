//! Events and times for people: in what is set aside, and in crash reports.

use bulkhead_proto::wire::{event::Event, quarantine::EventView};
use jiff::Timestamp;
use serde::Serializer;

/// The event of these bytes; none if they are none.
pub(crate) fn event(payload: &[u8]) -> Option<EventView> {
    let event = Event::decode(payload).ok()?;
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Some(EventView {
        series: event.series.to_owned(),
        value: event.value,
        ts: time(event.ts_ms),
        arrived: time(event.arrived_ms),
        label: owned(event.label),
        data: owned(event.data),
        request_id: owned(event.request_id),
    })
}

/// RFC 3339, UTC, to the millisecond, so that columns line up; the epoch for what no calendar holds.
pub(crate) fn time(ms: i64) -> String {
    format!("{:.3}", Timestamp::from_millisecond(ms).unwrap_or_default())
}

/// Now, likewise.
pub(crate) fn now() -> String {
    time(Timestamp::now().as_millisecond())
}

/// A time in JSON, likewise.
pub(crate) fn serialize_time<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_to_the_millisecond_always() {
        assert_eq!(time(1_700_000_000_120), "2023-11-14T22:13:20.120Z");
        assert_eq!(time(1_700_000_000_000), "2023-11-14T22:13:20.000Z");
        assert_eq!(time(i64::MAX), "1970-01-01T00:00:00.000Z");
        assert_eq!(now().len(), time(0).len());
    }
}
