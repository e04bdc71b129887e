//! The values of an event's fields, each with its bounds.

use super::time;
use bulkhead_proto::wire::event::MAX_DATA;
use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};
use std::{borrow::Cow, fmt};

/// How deep `data` may be nested: what a user's analysis parses must not exhaust its parser's limit (serde_json: 128).
const MAX_DEPTH: usize = 64;

/// A text of `least` to `most` bytes, borrowed from the body unless it holds escapes.
#[derive(Clone, Copy)]
pub(super) struct Text {
    pub(super) least: usize,
    pub(super) most: usize,
}

impl Text {
    fn bounded<E: Error>(self, found: usize) -> Result<(), E> {
        if (self.least..=self.most).contains(&found) {
            return Ok(());
        }
        let Self { least, most } = self;
        Err(E::custom(format_args!("a text of {least} to {most} bytes is wanted; this one has {found}")))
    }
}

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text of {} to {} bytes", self.least, self.most)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        self.bounded(text.len())?;
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        self.bounded(text.len())?;
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// A text of at most `most` bytes, or null for none.
#[derive(Clone, Copy)]
pub(super) struct OptionalText {
    pub(super) most: usize,
}

impl<'de> DeserializeSeed<'de> for OptionalText {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for OptionalText {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text of at most {} bytes, or null", self.most)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        Text { least: 0, most: self.most }.deserialize(from).map(Some)
    }
}

/// A number; serde_json refuses what overflows (`1e999`), and JSON knows neither NaN nor infinity.
pub(super) struct Finite;

impl<'de> DeserializeSeed<'de> for Finite {
    type Value = f64;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<f64, D::Error> {
        from.deserialize_f64(self)
    }
}

impl Visitor<'_> for Finite {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a finite number")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<f64, E> {
        if number.is_finite() { Ok(number) } else { Err(E::custom("a finite number is wanted")) }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<f64, E> {
        Ok(number as f64)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<f64, E> {
        Ok(number as f64)
    }
}

/// A point in time: RFC 3339 text, integer Unix milliseconds, or null for "when it arrived".
pub(super) struct Timestamp;

impl<'de> DeserializeSeed<'de> for Timestamp {
    type Value = Option<i64>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl Visitor<'_> for Timestamp {
    type Value = Option<i64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an RFC 3339 text or integer Unix milliseconds")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, ms: i64) -> Result<Self::Value, E> {
        time::in_range(ms).map(Some).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, ms: u64) -> Result<Self::Value, E> {
        self.visit_i64(i64::try_from(ms).unwrap_or(i64::MAX))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        time::from_rfc3339(text).map(Some).map_err(E::custom)
    }
}

/// Passes the JSON text of `data` on if it is short and flat enough, and any parser will read it.
pub(super) fn bounded_data(text: &str) -> Result<&str, String> {
    if text.len() > MAX_DATA {
        return Err(format!("at most {MAX_DATA} bytes of JSON are wanted; these are {}", text.len()));
    }
    if has_lone_surrogate(text) {
        return Err("a \\u escape is half of a surrogate pair, which is no character".into());
    }
    match depth(text) {
        0..=MAX_DEPTH => Ok(text),
        depth => Err(format!("JSON nested at most {MAX_DEPTH} deep is wanted; this is {depth} deep")),
    }
}

/// Whether an escape in a JSON text is one half of a surrogate pair without the other. serde_json lets it pass in what it
/// does not decode, and then an analysis would stumble over it. Valid JSON has backslashes in strings alone.
fn has_lone_surrogate(json: &str) -> bool {
    let mut rest = json.as_bytes();
    while let Some(backslash) = memchr::memchr(b'\\', rest) {
        rest = rest.get(backslash + 1..).unwrap_or_default();
        let taken = match utf16_unit(rest) {
            Some(0xd800..=0xdbff) => match rest.split_at_checked(5) {
                Some((_, [b'\\', low @ ..])) if matches!(utf16_unit(low), Some(0xdc00..=0xdfff)) => 11,
                _ => return true,
            },
            Some(0xdc00..=0xdfff) => return true,
            Some(_) | None => 1,
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    false
}

/// The number of an escape such as `\u00e9`, behind its backslash.
fn utf16_unit(escape: &[u8]) -> Option<u16> {
    let digits = escape.strip_prefix(b"u")?.get(..4)?;
    u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

/// How deep a valid JSON text is nested.
fn depth(json: &str) -> usize {
    let (mut now, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                now += 1;
                deepest = deepest.max(now);
            }
            b']' | b'}' => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
