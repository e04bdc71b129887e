//! The encoding of one event in the ring: a fixed head, then its texts. The removal of a series is encoded as an event, too: it
//! has a number and a place among the events.

use std::str;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, little_endian as le};

/// The longest series name, in bytes.
pub const MAX_SERIES: usize = 128;
/// The longest label, in bytes.
pub const MAX_LABEL: usize = 128;
/// The longest `data`, in bytes of JSON text. The API accepts less: up to `api.max_event`.
pub const MAX_DATA: usize = 1 << 20;
/// The longest request id, in bytes.
pub const MAX_REQUEST_ID: usize = 64;
/// The length of the beginning of an encoded event that says when it was accepted, in bytes.
pub const HEAD_BYTES: usize = size_of::<Head>();
/// The longest encoded event, in bytes.
pub const MAX_EVENT: usize = largest_event(MAX_DATA);

/// The length of the longest encoded event whose `data` has at most `data` bytes, in bytes.
#[must_use]
pub const fn largest_event(data: usize) -> usize {
    HEAD_BYTES + MAX_SERIES + MAX_LABEL + MAX_REQUEST_ID + data
}

/// When an event or a removal was accepted, in Unix milliseconds, by the first [`HEAD_BYTES`] of it. `None` if there are fewer
/// bytes.
#[must_use]
pub fn arrived_ms(bytes: &[u8]) -> Option<i64> {
    Head::ref_from_prefix(bytes).ok().map(|(head, _)| head.arrived_ms.get())
}

/// One accepted event. It borrows the bytes from which it was decoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event<'a> {
    /// The series to which the event belongs, 1..=[`MAX_SERIES`] bytes.
    pub series: &'a str,
    /// The value; finite. An event with data may have none.
    pub value: Option<f64>,
    /// When the event happened, in Unix milliseconds.
    pub ts_ms: i64,
    /// When the event was accepted, in Unix milliseconds.
    pub arrived_ms: i64,
    /// The label, at most [`MAX_LABEL`] bytes.
    pub label: Option<&'a str>,
    /// Any JSON, as text, at most [`MAX_DATA`] bytes.
    pub data: Option<&'a str>,
    /// The id of the request that sent the event, at most [`MAX_REQUEST_ID`] bytes.
    pub request_id: Option<&'a str>,
}

impl<'a> Event<'a> {
    /// An event with a value, without label, data and request, of the beginning of 1970.
    #[must_use]
    pub const fn new(series: &'a str, value: f64) -> Self {
        Self {
            series,
            value: Some(value),
            ts_ms: 0,
            arrived_ms: 0,
            label: None,
            data: None,
            request_id: None,
        }
    }

    /// An event with data and no value, without label and request, of the beginning of 1970.
    #[must_use]
    pub const fn without_value(series: &'a str, data: &'a str) -> Self {
        Self { value: None, data: Some(data), ..Self::new(series, 0.0) }
    }
}

/// Why an event could not be encoded or decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// A text is too long, or the name of the series is empty.
    #[error("{field} has {found} bytes; {least} to {most} are allowed")]
    Length {
        /// The field.
        field: &'static str,
        /// The length of the text, in bytes.
        found: usize,
        /// The least length, in bytes.
        least: usize,
        /// The greatest length, in bytes.
        most: usize,
    },
    /// The value is infinite or not a number.
    #[error("value is not finite")]
    NotFinite,
    /// There is neither a value nor data.
    #[error("an event without data needs a value")]
    NoValue,
    /// The number of bytes differs from what the head says.
    #[error("the event has {found} bytes, but its head says {wanted}")]
    Size {
        /// The length according to the head, in bytes.
        wanted: usize,
        /// The number of bytes.
        found: usize,
    },
    /// A text is not UTF-8.
    #[error("{0} is not UTF-8")]
    Encoding(&'static str),
    /// The bytes are the removal of a series.
    #[error("the removal of a series is not an event")]
    Removal,
}

/// What a record of the ring asks of the analysis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input<'a> {
    /// Apply an event.
    Event(Event<'a>),
    /// Remove a series.
    Removal(Removal<'a>),
}

/// The removal of a series: of its state after all events before the removal. A later event begins the series anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal<'a> {
    /// The series, 1..=[`MAX_SERIES`] bytes.
    pub series: &'a str,
    /// When the removal was accepted, in Unix milliseconds.
    pub arrived_ms: i64,
    /// The id of the request, at most [`MAX_REQUEST_ID`] bytes.
    pub request_id: Option<&'a str>,
}

impl<'a> Removal<'a> {
    /// Appends the encoded removal to `into`.
    ///
    /// # Errors
    /// If a text is out of its bounds. `into` is unchanged then.
    pub fn encode(&self, into: &mut Vec<u8>) -> Result<(), EventError> {
        let Self { series, arrived_ms, request_id } = *self;
        let event = Event { arrived_ms, ts_ms: arrived_ms, request_id, ..Event::new(series, 0.0) };
        event.encode_as(REMOVES, into)
    }

    const fn of(event: &Event<'a>) -> Self {
        Self { series: event.series, arrived_ms: event.arrived_ms, request_id: event.request_id }
    }
}

impl<'a> Input<'a> {
    /// Decodes an input. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// If the bytes are not exactly one input within its bounds.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, EventError> {
        let (event, flags) = Event::decode_with_flags(bytes)?;
        if flags & REMOVES == 0 {
            return Ok(Self::Event(event));
        }
        Ok(Self::Removal(Removal::of(&event)))
    }

    /// When it was accepted, in Unix milliseconds.
    #[must_use]
    pub const fn arrived_ms(&self) -> i64 {
        match self {
            Self::Event(event) => event.arrived_ms,
            Self::Removal(removal) => removal.arrived_ms,
        }
    }
}

/// The fixed head of an encoded event. The texts follow in this order: series, label, request id, data. `flags`
/// distinguishes an absent label, data or request id from an empty one, an event without a value from one with the value 0, and a
/// removal from an event.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Head {
    value: le::F64,
    ts_ms: le::I64,
    arrived_ms: le::I64,
    /// The lower half of the length of `data`.
    data_len_low: le::U16,
    flags: u8,
    series_len: u8,
    label_len: u8,
    request_len: u8,
    /// The upper half. Up to layout 4 these bytes were reserved, and 0.
    data_len_high: le::U16,
}

const HAS_LABEL: u8 = 1;
const HAS_DATA: u8 = 2;
const HAS_REQUEST: u8 = 4;
const REMOVES: u8 = 8;
const HAS_NO_VALUE: u8 = 16;

fn bounded(field: &'static str, text: &str, least: usize, most: usize) -> Result<usize, EventError> {
    let found = text.len();
    if (least..=most).contains(&found) {
        Ok(found)
    } else {
        Err(EventError::Length { field, found, least, most })
    }
}

/// [`bounded`] has checked that the length fits the field: saturation is never reached.
fn short(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

/// The halves of a length that [`bounded`] has checked, the lower one first.
fn halves(length: usize) -> [le::U16; 2] {
    let [low, above, high, top] = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    [[low, above], [high, top]].map(le::U16::from_bytes)
}

impl Head {
    fn data_len(&self) -> usize {
        usize::from(self.data_len_high.get()) << 16 | usize::from(self.data_len_low.get())
    }
}

impl<'a> Event<'a> {
    /// Appends the encoded event to `into`.
    ///
    /// # Errors
    /// If a text is out of its bounds, or the value is not finite, or missing without data. `into` is unchanged then.
    pub fn encode(&self, into: &mut Vec<u8>) -> Result<(), EventError> {
        self.encode_as(0, into)
    }

    fn encode_as(&self, flags: u8, into: &mut Vec<u8>) -> Result<(), EventError> {
        let (label, data) = (self.label.unwrap_or_default(), self.data.unwrap_or_default());
        let request = self.request_id.unwrap_or_default();
        let [data_len_low, data_len_high] = halves(bounded("data", data, 0, MAX_DATA)?);
        let head = Head {
            value: self.value.unwrap_or_default().into(),
            ts_ms: self.ts_ms.into(),
            arrived_ms: self.arrived_ms.into(),
            series_len: short(bounded("series", self.series, 1, MAX_SERIES)?),
            label_len: short(bounded("label", label, 0, MAX_LABEL)?),
            request_len: short(bounded("request id", request, 0, MAX_REQUEST_ID)?),
            data_len_low,
            data_len_high,
            flags: flags
                | flag(self.label, HAS_LABEL)
                | flag(self.data, HAS_DATA)
                | flag(self.request_id, HAS_REQUEST)
                | if self.value.is_none() { HAS_NO_VALUE } else { 0 },
        };
        self.check_value()?;
        into.reserve(HEAD_BYTES + self.series.len() + label.len() + request.len() + data.len());
        into.extend_from_slice(head.as_bytes());
        for text in [self.series, label, request, data] {
            into.extend_from_slice(text.as_bytes());
        }
        Ok(())
    }

    fn check_value(&self) -> Result<(), EventError> {
        match self.value {
            Some(value) if !value.is_finite() => Err(EventError::NotFinite),
            None if self.data.is_none() => Err(EventError::NoValue),
            Some(_) | None => Ok(()),
        }
    }

    /// Decodes an event. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// If the bytes are not exactly one event within its bounds.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, EventError> {
        match Input::decode(bytes)? {
            Input::Event(event) => Ok(event),
            Input::Removal(_) => Err(EventError::Removal),
        }
    }

    fn decode_with_flags(bytes: &'a [u8]) -> Result<(Self, u8), EventError> {
        let too_short = EventError::Size { wanted: HEAD_BYTES, found: bytes.len() };
        let (head, mut texts) = Head::ref_from_prefix(bytes).map_err(|_| too_short)?;
        let lengths =
            [head.series_len.into(), head.label_len.into(), head.request_len.into(), head.data_len()];
        let wanted = HEAD_BYTES + lengths.iter().sum::<usize>();
        if wanted != bytes.len() {
            return Err(EventError::Size { wanted, found: bytes.len() });
        }
        let mut next = |field, length: usize, least, most| {
            let (text, rest) = texts.split_at(length);
            texts = rest;
            let text = str::from_utf8(text).map_err(|_| EventError::Encoding(field))?;
            bounded(field, text, least, most)?;
            Ok(text)
        };
        let [series_len, label_len, request_len, data_len] = lengths;
        let event = Self {
            value: Some(head.value.get()).filter(|_| head.flags & HAS_NO_VALUE == 0),
            ts_ms: head.ts_ms.get(),
            arrived_ms: head.arrived_ms.get(),
            series: next("series", series_len, 1, MAX_SERIES)?,
            label: Some(next("label", label_len, 0, MAX_LABEL)?).filter(|_| head.flags & HAS_LABEL != 0),
            request_id: Some(next("request id", request_len, 0, MAX_REQUEST_ID)?)
                .filter(|_| head.flags & HAS_REQUEST != 0),
            data: Some(next("data", data_len, 0, MAX_DATA)?).filter(|_| head.flags & HAS_DATA != 0),
        };
        event.check_value()?;
        Ok((event, head.flags))
    }
}

const fn flag(text: Option<&str>, bit: u8) -> u8 {
    if text.is_some() { bit } else { 0 }
}

#[cfg(test)]
mod tests;
