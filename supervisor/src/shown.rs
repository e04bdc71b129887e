//! Events for people: in what is set aside, and in crash reports.

use bulkhead_proto::{event::Event, quarantine::Shown};
use jiff::Timestamp;

/// The event of these bytes; none if they are none.
pub(crate) fn event(payload: &[u8]) -> Option<Shown> {
    let event = Event::decode(payload).ok()?;
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Some(Shown {
        series: event.series.to_owned(),
        value: event.value,
        ts: time(event.ts_ms),
        arrived: time(event.arrived_ms),
        label: owned(event.label),
        data: owned(event.data),
        request_id: owned(event.request_id),
    })
}

/// RFC 3339, UTC; the epoch for what no calendar holds.
pub(crate) fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or_default().to_string()
}
