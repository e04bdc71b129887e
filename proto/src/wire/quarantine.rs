//! Quarantined events: one file `SEQ.json` per event, in a directory that only the supervisor writes. The API reads it through
//! an inherited read-only fd.

use super::{
    cause::{Cause, Operation},
    event::{Event, Input, MAX_EVENT, Removal},
    ids::{CrashId, Generation, Seq},
    record_store::{Order, Record, RecordStore},
    time::rfc3339,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The most events in quarantine. When it is full, no further event is quarantined, and so none is skipped.
pub const MAX_ENTRIES: usize = 100_000;

/// One quarantined event, and the reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The seq of the event.
    pub seq: Seq,
    /// When the event was quarantined: RFC 3339, UTC.
    pub at: String,
    /// The name of the worker that died.
    pub worker: String,
    /// The last generation whose death was attributed to the event.
    pub generation: Generation,
    /// The report of that death.
    pub crash: CrashId,
    /// The cause of that death.
    pub cause: Cause,
    /// Details of that cause.
    pub detail: String,
    /// What that generation was doing with the event.
    pub during: Operation,
    /// The number of deaths that were attributed to the event.
    pub attempts: u32,
    /// The event as it was sent; `None` if the bytes cannot be decoded.
    pub event: Option<EventView>,
    /// The bytes of the event in the ring, in hexadecimal. A replay appends them again. Lists omit them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bytes: String,
}

/// An event as people see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventView {
    /// The name of the series.
    pub series: String,
    /// Whether it is the removal of the series instead of an event.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removal: bool,
    /// The value.
    pub value: f64,
    /// When the event happened: RFC 3339, UTC.
    pub ts: String,
    /// When the event was accepted: RFC 3339, UTC.
    pub arrived: String,
    /// The label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The data, as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The id of the request that sent the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl EventView {
    /// Decodes an event; `None` if the bytes are not one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (event, removal) = match Input::decode(bytes).ok()? {
            Input::Event(event) => (event, false),
            Input::Removal(Removal { series, arrived_ms, request_id }) => {
                (Event { ts_ms: arrived_ms, arrived_ms, request_id, ..Event::new(series, 0.0) }, true)
            }
        };
        Some(Self {
            series: event.series.to_owned(),
            removal,
            value: event.value,
            ts: rfc3339(event.ts_ms),
            arrived: rfc3339(event.arrived_ms),
            label: event.label.map(str::to_owned),
            data: event.data.map(str::to_owned),
            request_id: event.request_id.map(str::to_owned),
        })
    }
}

/// On one line, for people. The texts of the event are not escaped.
impl fmt::Display for EventView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { series, removal, value, ts, arrived, label, data, request_id } = self;
        if *removal {
            write!(f, "removal of series {series}, arrived {arrived}")?;
        } else {
            // Debug prints `1e300` instead of 300 digits, but `1.0` for 1.
            let value = format!("{value:?}");
            let value = value.strip_suffix(".0").unwrap_or(&value);
            write!(f, "series {series}, value {value}, ts {ts}, arrived {arrived}")?;
        }
        for (name, part) in [("label", label), ("data", data), ("request", request_id)] {
            if let Some(part) = part {
                write!(f, ", {name} {part}")?;
            }
        }
        Ok(())
    }
}

impl Entry {
    /// The bytes of the event, as they were in the ring. `None` if `bytes` is not hexadecimal.
    #[must_use]
    pub fn payload(&self) -> Option<Vec<u8>> {
        let (pairs, rest) = self.bytes.as_bytes().as_chunks::<2>();
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
        if rest.is_empty() { bytes.collect() } else { None }
    }

    /// Bytes in hexadecimal.
    #[must_use]
    pub fn hex(bytes: &[u8]) -> String {
        let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
        bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }
}

impl Record for Entry {
    type Number = Seq;
    /// Room for the event in hexadecimal and as JSON (a character may take six bytes), and for the other fields.
    const MAX_FILE: u64 = 16 * MAX_EVENT as u64;
    const ORDER: Order = Order::OldestFirst;

    fn number(&self) -> Seq {
        self.seq
    }

    /// Without the bytes.
    fn summary(self) -> Self {
        Self { bytes: String::new(), ..self }
    }
}

/// Which quarantined events a bulk command concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only events of series whose name begins so.
    pub series: Option<String>,
    /// Only events whose last death had this cause.
    pub cause: Option<Cause>,
}

impl Filter {
    /// Whether the event is meant. An event whose bytes cannot be decoded has no series.
    #[must_use]
    pub fn matches(&self, entry: &Entry) -> bool {
        let series = entry.event.as_ref().map(|event| event.series.as_str());
        let begins = |prefix: &String| series.is_some_and(|series| series.starts_with(prefix));
        self.series.as_ref().is_none_or(begins) && self.cause.is_none_or(|cause| entry.cause == cause)
    }
}

/// The directory of the quarantined events, for reading.
pub type EntryStore = RecordStore<Entry>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_decoded_with_times_for_people() {
        let event = Event {
            series: "orders",
            value: 1.5,
            ts_ms: 0,
            arrived_ms: 1_700_000_000_120,
            label: Some("tea"),
            data: None,
            request_id: Some("r-1"),
        };
        let mut bytes = Vec::new();
        event.encode(&mut bytes).unwrap();
        assert_eq!(
            EventView::decode(&bytes).unwrap().to_string(),
            "series orders, value 1.5, ts 1970-01-01T00:00:00.000Z, arrived 2023-11-14T22:13:20.120Z, label tea, request r-1"
        );
        assert_eq!(EventView::decode(&bytes[1..]), None);
    }

    #[test]
    fn a_removal_is_shown_as_one() {
        let removal = Removal { series: "orders", arrived_ms: 0, request_id: Some("r-1") };
        let mut bytes = Vec::new();
        removal.encode(&mut bytes).unwrap();
        let view = EventView::decode(&bytes).unwrap();
        assert_eq!(
            view.to_string(),
            "removal of series orders, arrived 1970-01-01T00:00:00.000Z, request r-1"
        );
        let json = serde_json::to_value(&view).unwrap();
        assert_eq!((&json["removal"], &json["series"]), (&true.into(), &"orders".into()));
    }

    #[test]
    fn values_are_short_at_any_magnitude() {
        let view = EventView {
            series: "x".into(),
            removal: false,
            value: 0.0,
            ts: String::new(),
            arrived: String::new(),
            label: None,
            data: None,
            request_id: None,
        };
        for (value, shown) in
            [(0.0, "0"), (42.0, "42"), (-1.5, "-1.5"), (1e300, "1e300"), (-1.5e-320, "-1.5e-320")]
        {
            let text = EventView { value, ..view.clone() }.to_string();
            assert!(text.contains(&format!("value {shown},")), "{text}");
        }
    }

    #[test]
    fn bytes_come_back_from_their_hexadecimal_form() {
        let entry = |bytes: &str| Entry {
            seq: Seq(1),
            at: "2026-11-22T20:00:00Z".into(),
            worker: "analytics".into(),
            generation: Generation(7),
            crash: CrashId(3),
            cause: Cause::Signal,
            detail: "SIGSEGV".into(),
            during: Operation::Apply,
            attempts: 2,
            event: None,
            bytes: bytes.into(),
        };
        assert_eq!(Entry::hex(&[0, 0x7f, 0xff]), "007fff");
        assert_eq!(entry("007fff").payload(), Some(vec![0, 0x7f, 0xff]));
        for bytes in ["0", "0g", "é"] {
            assert_eq!(entry(bytes).payload(), None, "{bytes}");
        }
    }
}
