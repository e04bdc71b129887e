//! Parses events directly from the bytes of a request body, without a value tree and without an allocation per event.
//!
//! All or nothing: the first error ends the parse, with the event's index and the field's name.

mod batch;
mod event;
mod scalar;
mod time;

use batch::{BatchParser, ErrorLocation};
use bulkhead_proto::wire::{
    event::{Event, EventError},
    text::cut,
};
use event::{EventArray, EventObject};
use serde::{Deserializer as _, de::DeserializeSeed};
use serde_json::value::RawValue;
use std::borrow::Cow;

pub(crate) use batch::BatchContext;
pub(crate) use event::check_reserved_series;
pub(crate) use time::check_range as check_ts;

/// The longest `detail` of an error, in bytes: a parser message may quote the whole offending text.
const MAX_DETAIL: usize = 512;

/// The layout of the events in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFormat {
    /// `application/json`: one object, or an array of objects.
    Json,
    /// `application/x-ndjson`: one object per line; blank lines are skipped.
    Ndjson,
}

/// Why a body was refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BatchError {
    /// The index of the offending event, from 0, if one is known.
    pub(crate) index: Option<usize>,
    /// The name of the offending field, if one is known.
    pub(crate) field: Option<String>,
    /// For a person: what was expected, what was found, and where.
    pub(crate) detail: String,
}

/// Parses all events of `body`, at least one, and passes each to `sink`.
///
/// # Errors
/// At the first error, also one of `sink`. The caller must then discard what `sink` received.
pub(crate) fn parse(
    body: &[u8],
    format: BodyFormat,
    context: &BatchContext<'_>,
    sink: &mut impl FnMut(&Event<'_>) -> Result<(), EventError>,
) -> Result<(), BatchError> {
    // Checked once for the whole body, so that the parser need not check each string again.
    let text = str::from_utf8(body).map_err(|error| not_utf8(body, error.valid_up_to(), format, context))?;
    let mut parser = BatchParser { context, sink, count: 0, location: ErrorLocation::default() };
    parser.parse(text, format)?;
    match parser.count {
        0 => Err(invalid_batch("expected at least one event; found none".into())),
        _ => Ok(()),
    }
}

/// Checks a text that is to be an event's `data`.
///
/// # Errors
/// When it is not one JSON value within the bounds.
pub(crate) fn check_data(text: &str, max_bytes: usize) -> Result<(), String> {
    scalar::check_data_bounds(text, max_bytes)?;
    serde_json::from_str::<&RawValue>(text).map(drop).map_err(|error| format!("data is not JSON: {error}"))
}

/// The error for a body that is not UTF-8. The valid part is parsed to find the event and the field.
fn not_utf8(body: &[u8], valid: usize, format: BodyFormat, context: &BatchContext<'_>) -> BatchError {
    let detail = format!("the body must be UTF-8; found an invalid byte at offset {valid}");
    let text = body.get(..valid).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default();
    let mut parser = BatchParser {
        context,
        sink: &mut |_: &Event<'_>| Ok(()),
        count: 0,
        location: ErrorLocation::default(),
    };
    match parser.parse(text, format) {
        Err(error) => BatchError { detail, ..error },
        Ok(()) => invalid_batch(detail),
    }
}

fn invalid_batch(detail: String) -> BatchError {
    BatchError { index: None, field: None, detail }
}

impl<S: FnMut(&Event<'_>) -> Result<(), EventError>> BatchParser<'_, '_, S> {
    fn parse(&mut self, text: &str, format: BodyFormat) -> Result<(), BatchError> {
        match format {
            BodyFormat::Json => self.parse_json(text),
            BodyFormat::Ndjson => self.parse_lines(text),
        }
    }

    fn parse_json(&mut self, text: &str) -> Result<(), BatchError> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let outcome = match text.trim_start_matches([' ', '\t', '\r', '\n']).as_bytes().first() {
            None => return Ok(()),
            Some(b'[') => reader.deserialize_seq(EventArray(self)),
            Some(_) => EventObject(self).deserialize(&mut reader),
        };
        outcome.and_then(|()| reader.end()).map_err(|error| self.batch_error(&error, 0))
    }

    fn parse_lines(&mut self, text: &str) -> Result<(), BatchError> {
        let mut start = 0;
        let ends = memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]);
        for (number, end) in ends.enumerate() {
            let line = text.get(start..end).unwrap_or_default();
            start = end.saturating_add(1);
            if line.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r')) {
                continue;
            }
            let mut reader = serde_json::Deserializer::from_str(line);
            EventObject(self)
                .deserialize(&mut reader)
                .and_then(|()| reader.end())
                .map_err(|error| self.batch_error(&error, number))?;
        }
        Ok(())
    }

    fn batch_error(&mut self, error: &serde_json::Error, lines_before: usize) -> BatchError {
        let location = std::mem::take(&mut self.location);
        BatchError {
            index: location.index,
            field: location.field.map(Cow::into_owned),
            detail: with_position(error, lines_before),
        }
    }
}

/// The parser's message, prefixed with its position in the whole body.
fn with_position(error: &serde_json::Error, lines_before: usize) -> String {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let message = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
    format!("line {}, column {column}: {}", line + lines_before, cut(message, MAX_DETAIL))
}

#[cfg(test)]
mod tests;
