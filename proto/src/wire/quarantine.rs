//! Quarantined events: one file `SEQ.json` per event, in a directory that only the supervisor writes. The API reads it through
//! an inherited read-only fd.

use super::{
    cause::{Cause, Operation},
    event::MAX_EVENT,
    ids::{CrashId, Generation, Seq},
    record_store::{Order, Record, RecordStore},
};
use serde::{Deserialize, Serialize};

/// The most events in quarantine. When it is full, no further event is quarantined, and so none is skipped.
pub const MAX_ENTRIES: usize = 10_000;

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

/// The directory of the quarantined events, for reading.
pub type EntryStore = RecordStore<Entry>;

#[cfg(test)]
mod tests {
    use super::*;

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
