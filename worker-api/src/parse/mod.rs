//! From a request's body to events: straight from its bytes, without a value tree and without an allocation an event.
//!
//! All or nothing: the first thing that is wrong ends the reading, with the event's index and the field's name.

mod event;
mod scalar;
mod time;

use bulkhead_proto::wire::{event::Event, text::cut};
use event::{OneEvent, Sequence};
use serde::de::DeserializeSeed;
use serde_json::value::RawValue;

pub(crate) use event::admit_reserved;

/// The longest `detail` of a refusal, in bytes: a parser's message may quote the whole offending text.
const MAX_DETAIL: usize = 512;

/// How the events are laid out in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `application/json`: one object, or an array of them.
    Json,
    /// `application/x-ndjson`: an object a line; blank lines are skipped.
    Ndjson,
}

/// What holds for every event of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'r> {
    /// When the request arrived, Unix milliseconds: the `ts` of events without one.
    pub(crate) arrived_ms: i64,
    /// The id of the request.
    pub(crate) request_id: Option<&'r str>,
    /// Whether `__fault.KIND` series are let through.
    pub(crate) faults: bool,
}

/// Why a body was refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadEvents {
    /// The offending event, from 0, when there is one.
    pub(crate) index: Option<usize>,
    /// The offending field's name, when there is one.
    pub(crate) field: Option<String>,
    /// For people: what was wanted, what was found, and where.
    pub(crate) detail: String,
}

/// Reads all events of `body` and hands each to `sink`; says how many there were (at least one).
///
/// # Errors
/// At the first thing that is wrong. What the sink got until then must be thrown away by the caller.
pub(crate) fn parse(
    body: &[u8],
    form: Form,
    rules: &Rules<'_>,
    sink: &mut impl FnMut(&Event<'_>),
) -> Result<usize, BadEvents> {
    // Checked once, over the whole body: the parser then need not look at each text again.
    let text = str::from_utf8(body).map_err(|error| not_utf8(body, error.valid_up_to(), form, rules))?;
    let mut intake = Intake { rules, sink, count: 0, place: Place::default() };
    intake.read(text, form)?;
    match intake.count {
        0 => Err(whole("at least one event is wanted; there is none".into())),
        count => Ok(count),
    }
}

/// Checks a time stated in Unix milliseconds.
///
/// # Errors
/// When it is outside the years 1 to 9999.
pub(crate) fn check_ts(ms: i64) -> Result<(), String> {
    time::in_range(ms).map(drop)
}

/// Checks a text that is to be an event's `data`.
///
/// # Errors
/// When it is not one JSON value within its bounds.
pub(crate) fn check_data(text: &str) -> Result<(), String> {
    scalar::bounded_data(text)?;
    serde_json::from_str::<&RawValue>(text).map(drop).map_err(|error| format!("data is not JSON: {error}"))
}

/// Why a body that is no text is refused: what can be read of it tells the event and the field.
fn not_utf8(body: &[u8], valid: usize, form: Form, rules: &Rules<'_>) -> BadEvents {
    let detail = format!("the body must be UTF-8; it is not behind byte {valid}");
    let text = body.get(..valid).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default();
    let mut intake = Intake { rules, sink: &mut |_: &Event<'_>| {}, count: 0, place: Place::default() };
    match intake.read(text, form) {
        Err(cut_off) => BadEvents { detail, ..cut_off },
        Ok(()) => whole(detail),
    }
}

fn whole(detail: String) -> BadEvents {
    BadEvents { index: None, field: None, detail }
}

/// Where in the body the reading is.
#[derive(Debug, Default)]
struct Place {
    index: Option<usize>,
    field: Option<String>,
    /// A field of the contract: kept apart from `field` so that good events cost no allocation.
    known: Option<&'static str>,
}

/// The state of one reading.
struct Intake<'r, 's, S> {
    rules: &'r Rules<'r>,
    sink: &'s mut S,
    count: usize,
    place: Place,
}

impl<S: FnMut(&Event<'_>)> Intake<'_, '_, S> {
    fn read(&mut self, text: &str, form: Form) -> Result<(), BadEvents> {
        match form {
            Form::Json => self.json(text),
            Form::Ndjson => self.lines(text),
        }
    }

    fn json(&mut self, text: &str) -> Result<(), BadEvents> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let outcome = match text.trim_start_matches([' ', '\t', '\r', '\n']).as_bytes().first() {
            None => return Ok(()),
            Some(b'[') => Sequence(self).deserialize(&mut reader),
            Some(_) => OneEvent(self).deserialize(&mut reader),
        };
        outcome.and_then(|()| reader.end()).map_err(|error| self.refusal(&error, 0))
    }

    fn lines(&mut self, text: &str) -> Result<(), BadEvents> {
        let mut start = 0;
        let ends = memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]);
        for (number, end) in ends.enumerate() {
            let line = text.get(start..end).unwrap_or_default();
            start = end.saturating_add(1);
            if line.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
                continue;
            }
            let mut reader = serde_json::Deserializer::from_str(line);
            OneEvent(self)
                .deserialize(&mut reader)
                .and_then(|()| reader.end())
                .map_err(|error| self.refusal(&error, number))?;
        }
        Ok(())
    }

    fn refusal(&mut self, error: &serde_json::Error, lines_before: usize) -> BadEvents {
        let place = std::mem::take(&mut self.place);
        BadEvents {
            index: place.index,
            field: place.field.or_else(|| place.known.map(str::to_owned)),
            detail: located(error, lines_before),
        }
    }
}

/// The parser's message with its place in front, counted over the whole body.
fn located(error: &serde_json::Error, lines_before: usize) -> String {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let message = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
    format!("line {}, column {column}: {}", line + lines_before, cut(message, MAX_DETAIL))
}

#[cfg(test)]
mod tests;
