//! The values of an event's fields, each with its bounds.

use super::time;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::{borrow::Cow, fmt};

/// The most nesting levels of `data`. The analysis that parses it must not reach its parser's limit (serde_json: 128).
const MAX_DEPTH: usize = 64;

/// A string of `MIN` to `MAX` bytes, borrowed from the body unless it contains escapes.
pub(super) struct BoundedText<'de, const MIN: usize, const MAX: usize>(pub(super) Cow<'de, str>);

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for BoundedText<'de, MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = from.deserialize_str(TextVisitor { min: MIN, max: MAX })?;
        Ok(Self(text))
    }
}

struct TextVisitor {
    min: usize,
    max: usize,
}

impl TextVisitor {
    fn check_length<E: Error>(&self, found: usize) -> Result<(), E> {
        if (self.min..=self.max).contains(&found) {
            return Ok(());
        }
        let Self { min, max } = self;
        Err(E::custom(format_args!("expected a string of {min} to {max} bytes; found {found} bytes")))
    }
}

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a string of {} to {} bytes", self.min, self.max)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        self.check_length(text.len())?;
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        self.check_length(text.len())?;
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// A number. serde_json refuses overflow (`1e999`), and JSON has neither NaN nor infinity.
pub(super) struct FiniteNumber(pub(super) f64);

impl<'de> Deserialize<'de> for FiniteNumber {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_f64(NumberVisitor).map(Self)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a finite number")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<f64, E> {
        if number.is_finite() { Ok(number) } else { Err(E::custom("expected a finite number")) }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<f64, E> {
        Ok(number as f64)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<f64, E> {
        Ok(number as f64)
    }
}

/// A time in Unix milliseconds, from RFC 3339 text or an integer.
pub(super) struct UnixMs(pub(super) i64);

impl<'de> Deserialize<'de> for UnixMs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TimeVisitor).map(Self)
    }
}

struct TimeVisitor;

impl Visitor<'_> for TimeVisitor {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an RFC 3339 string or integer Unix milliseconds")
    }

    fn visit_i64<E: Error>(self, ms: i64) -> Result<i64, E> {
        time::check_range(ms).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, ms: u64) -> Result<i64, E> {
        self.visit_i64(i64::try_from(ms).unwrap_or(i64::MAX))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<i64, E> {
        time::from_rfc3339(text).map_err(E::custom)
    }
}

/// Returns the JSON text of `data` if its size and depth are within the bounds and every parser accepts its escapes.
pub(super) fn check_data_bounds(text: &str, max_bytes: usize) -> Result<&str, String> {
    if text.len() > max_bytes {
        let found = text.len();
        return Err(format!(
            "data may have at most {max_bytes} bytes of JSON (`api.max_event`); found {found}"
        ));
    }
    if has_lone_surrogate(text) {
        return Err("a \\u escape is half of a surrogate pair, which is not a character".into());
    }
    match nesting_depth(text) {
        0..=MAX_DEPTH => Ok(text),
        depth => Err(format!("data may be nested at most {MAX_DEPTH} levels deep; found {depth}")),
    }
}

/// Whether the JSON text contains an escape of half a surrogate pair. serde_json accepts it in what it does not decode,
/// and the analysis would then fail on it. In valid JSON, backslashes occur in strings only.
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

/// The value of an escape such as `\u00e9`, given what follows its backslash.
fn utf16_unit(escape: &[u8]) -> Option<u16> {
    let digits = escape.strip_prefix(b"u")?.get(..4)?;
    u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

/// How many levels deep a valid JSON text is nested.
fn nesting_depth(json: &str) -> usize {
    let (mut current, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                current += 1;
                deepest = deepest.max(current);
            }
            b']' | b'}' => current = current.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
