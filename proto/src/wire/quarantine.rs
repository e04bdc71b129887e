//! Quarantined events: one file `SEQ.json` per event, in a directory that only the supervisor writes. The API reads it through
//! an inherited read-only fd.

use super::{
    cause::{Cause, Operation},
    event::{Event, Input, MAX_EVENT, Removal},
    ids::{CrashId, Generation, Seq},
    record_store::{Order, Record, RecordStore},
    text::cut,
    time::rfc3339,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The most events in quarantine. When it is full, no further event is quarantined, and so none is skipped.
pub const MAX_ENTRIES: usize = 100_000;

/// The most bytes of all files of the quarantine: some 2,000 events of the largest size.
pub const MAX_BYTES: u64 = 4 << 30;

/// The most bytes of an event's `data` in a crash report, in a file of the quarantine, and in a list.
pub const MAX_EXCERPT: usize = 4096;

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
    /// The event as it was sent; `None` if the bytes cannot be decoded. Files and lists have an excerpt of long data.
    pub event: Option<EventView>,
    /// All bytes of the event in the ring, in hexadecimal. A replay appends them again. Lists omit them.
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
    /// The value, if the event has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// When the event happened: RFC 3339, UTC.
    pub ts: String,
    /// When the event was accepted: RFC 3339, UTC.
    pub arrived: String,
    /// The label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The data, as JSON text; in an excerpt, the beginning of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The length of all the data in bytes, if `data` is only its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_bytes: Option<u64>,
    /// The id of the request that sent the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl EventView {
    /// Decodes an event; `None` if the bytes are not one.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Self::with_data(bytes, usize::MAX)
    }

    /// Decodes an event, with at most [`MAX_EXCERPT`] bytes of its data; `None` if the bytes are not one.
    #[must_use]
    pub fn decode_excerpt(bytes: &[u8]) -> Option<Self> {
        Self::with_data(bytes, MAX_EXCERPT)
    }

    fn with_data(bytes: &[u8], most: usize) -> Option<Self> {
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
            data: event.data.map(|data| cut(data, most).to_owned()),
            data_bytes: event.data.map(str::len).filter(|length| *length > most).map(|length| length as u64),
            request_id: event.request_id.map(str::to_owned),
        })
    }
}

/// On one line, for people. The texts of the event are not escaped.
impl fmt::Display for EventView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { series, removal, value, ts, arrived, label, data, data_bytes, request_id } = self;
        if *removal {
            write!(f, "removal of series {series}, arrived {arrived}")?;
        } else {
            write!(f, "series {series}, {}, ts {ts}, arrived {arrived}", short_value(*value))?;
        }
        let rest = data_bytes.map(|bytes| format!("… ({bytes} bytes in all)")).unwrap_or_default();
        for (name, part, rest) in [("label", label, ""), ("data", data, &*rest), ("request", request_id, "")]
        {
            if let Some(part) = part {
                write!(f, ", {name} {part}{rest}")?;
            }
        }
        Ok(())
    }
}

/// Debug prints `1e300` instead of 300 digits, but `1.0` for 1.
fn short_value(value: Option<f64>) -> String {
    let Some(value) = value else { return "no value".to_owned() };
    let value = format!("value {value:?}");
    value.strip_suffix(".0").unwrap_or(&value).to_owned()
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

    /// The entry with all the data of its event instead of an excerpt.
    #[must_use]
    pub fn complete(self) -> Self {
        let is_excerpt = self.event.as_ref().is_some_and(|event| event.data_bytes.is_some());
        let whole = is_excerpt.then(|| EventView::decode(&self.payload()?)).flatten();
        Self { event: whole.or(self.event), ..self }
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
    /// The bytes in hexadecimal, an excerpt of the event as JSON (a character may take six bytes), and the other fields.
    const MAX_FILE: u64 = 2 * MAX_EVENT as u64 + 16 * MAX_EXCERPT as u64;
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
mod tests;
