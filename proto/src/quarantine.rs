//! Events that were set aside, as files: one `SEQ.json` each in a folder that the supervisor alone writes. The API holds
//! that folder read-only, by its fd.

use crate::{
    event::MAX_EVENT,
    folder::{self, Numbered, Order},
    ids::{CrashId, Generation, Seq},
    words::{Cause, During},
};
use serde::{Deserialize, Serialize};

/// The most events that are kept. Beyond it nothing more is set aside, and so nothing skipped.
pub const MAX_ENTRIES: usize = 10_000;

/// One event that was set aside, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The event's number.
    pub seq: Seq,
    /// When it was set aside: RFC 3339, UTC.
    pub at: String,
    /// The worker that died of it.
    pub worker: String,
    /// The last generation that did.
    pub generation: Generation,
    /// The number of that death's report.
    pub crash: CrashId,
    /// Why that one died.
    pub cause: Cause,
    /// More of why.
    pub detail: String,
    /// What that one was doing with the event.
    pub during: During,
    /// So many generations died of it.
    pub attempts: u32,
    /// The event as it was sent; none if its bytes are no event.
    pub event: Option<Shown>,
    /// The event's bytes in the ring, in hexadecimal: what a replay appends again. Lists leave them out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bytes: String,
}

/// An event for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// Its series.
    pub series: String,
    /// Its value.
    pub value: f64,
    /// When it happened: RFC 3339, UTC.
    pub ts: String,
    /// When it was accepted: RFC 3339, UTC.
    pub arrived: String,
    /// Its label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its data, as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The request that brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Entry {
    /// The event's bytes, as they were in the ring. None when the file was tampered with.
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

impl Numbered for Entry {
    type Number = Seq;
    /// An event as bytes and as JSON, where a character may take six, and its report.
    const MAX_FILE: u64 = 16 * MAX_EVENT as u64;
    const ORDER: Order = Order::OldestFirst;

    fn number(&self) -> Seq {
        self.seq
    }

    /// Without the bytes.
    fn brief(self) -> Self {
        Self { bytes: String::new(), ..self }
    }
}

/// The folder, for reading.
pub type Folder = folder::Folder<Entry>;

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
            during: During::Apply,
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
