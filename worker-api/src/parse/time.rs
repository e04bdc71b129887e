//! Parses the times of events.

use bulkhead_proto::wire::{text::cut, time::EPOCH};
use jiff::civil::{Date, Time};

/// 0001-01-01T00:00:00Z, in Unix milliseconds: the first instant that RFC 3339 and every calendar library support.
const EARLIEST_MS: i64 = -62_135_596_800_000;

/// 9999-12-31T23:59:59.999Z, in Unix milliseconds: the last instant that RFC 3339 supports.
const LATEST_MS: i64 = 253_402_300_799_999;

/// The most bytes of a text that an error quotes.
const MAX_QUOTED: usize = 40;

/// Returns the same Unix milliseconds.
///
/// # Errors
/// When they are outside the years 1 to 9999.
pub(crate) fn check_range(ms: i64) -> Result<i64, String> {
    if (EARLIEST_MS..=LATEST_MS).contains(&ms) {
        Ok(ms)
    } else {
        Err(format!(
            "expected Unix milliseconds from {EARLIEST_MS} to {LATEST_MS} (the years 1 to 9999); found {ms}"
        ))
    }
}

/// Parses an RFC 3339 time and truncates it to milliseconds.
pub(super) fn from_rfc3339(text: &str) -> Result<i64, String> {
    let expected = || {
        format!(
            "expected a time such as \"2026-01-31T08:00:00Z\" (RFC 3339); found {:?}",
            cut(text, MAX_QUOTED)
        )
    };
    check_range(unix_ms(text.as_bytes()).ok_or_else(expected)?)
}

/// The Unix milliseconds of `YYYY-MM-DD(T| )hh:mm:ss[.f…](Z|±hh:mm)`. jiff's parser is not used: it accepts more forms,
/// limits the digits of the fraction, and ends 26 hours before the year 10000.
fn unix_ms(text: &[u8]) -> Option<i64> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T' | b't' | b' ', time @ ..] = text else {
        return None;
    };
    let [h1, h2, b':', n1, n2, b':', s1, s2, rest @ ..] = time else { return None };
    let year = number([y1, y2])? * 100 + number([y3, y4])?;
    let date = Date::new(year, small([m1, m2])?, small([d1, d2])?).ok()?;
    // A leap second, whose minute is not checked, counts as the second before.
    let second = small([s1, s2]).filter(|second| *second <= 60)?.min(59);
    let (ms, offset) = fraction_ms(rest)?;
    let time = Time::new(small([h1, h2])?, small([n1, n2])?, second, 0).ok()?;
    let since_epoch = date.to_datetime(time).duration_since(EPOCH).as_secs();
    Some((since_epoch - offset_seconds(offset)?) * 1000 + ms)
}

/// Splits off the fraction of a second, in milliseconds. Digits beyond the third are cut.
fn fraction_ms(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(text) = text.strip_prefix(b".") else { return Some((0, text)) };
    let length = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(length).filter(|(digits, _)| !digits.is_empty())?;
    let ms = digits.iter().chain(b"00").take(3).fold(0, |ms, digit| ms * 10 + i64::from(digit - b'0'));
    Some((ms, rest))
}

fn offset_seconds(text: &[u8]) -> Option<i64> {
    let (sign, [h1, h2, b':', m1, m2]) = (match text {
        [b'Z' | b'z'] => return Some(0),
        [b'+', offset @ ..] => (1, offset),
        [b'-', offset @ ..] => (-1, offset),
        _ => return None,
    }) else {
        return None;
    };
    let (hours, minutes) = (number([h1, h2])?, number([m1, m2])?);
    (hours <= 23 && minutes <= 59).then(|| sign * i64::from(hours * 60 + minutes) * 60)
}

/// The number of two digits.
fn number(digits: [&u8; 2]) -> Option<i16> {
    let [tens, ones] =
        digits.map(|digit| char::from(*digit).to_digit(10).and_then(|digit| i16::try_from(digit).ok()));
    Some(tens? * 10 + ones?)
}

fn small(digits: [&u8; 2]) -> Option<i8> {
    number(digits).and_then(|number| i8::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_proto::wire::time::rfc3339;
    use proptest::prelude::*;

    #[test]
    fn rfc3339_times_are_parsed_to_the_millisecond() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01t00:00:01.5z", 1500),
            ("1970-01-01 02:00:00.0019+02:00", 1),
            ("2001-01-01T00:47:00-00:30", 978_311_820_000),
            ("1970-01-01T23:59:00+23:59", 0),
            ("1970-01-01T00:00:00-00:00", 0),
            ("0001-01-01T00:00:00Z", EARLIEST_MS),
            ("9999-12-31T23:59:59Z", LATEST_MS - 999),
            ("9999-12-31T23:59:59.999999Z", LATEST_MS),
            ("9999-12-31T20:59:59.999-03:00", LATEST_MS),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000),
            ("1970-01-01T00:00:00.1234567890123Z", 123),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2016-12-31T23:59:60Z", 1_483_228_799_000),
            ("2016-12-31T23:59:60.5Z", 1_483_228_799_500),
        ] {
            assert_eq!(from_rfc3339(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "now",
            "0",
            "1970-01-01",
            "1970-01-01T00:00Z",
            "1970-01-01T00:00:00",
            "19700101T000000Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00,5Z",
            "1970-01-01T00:00:00+02",
            "1970-01-01T00:00:00+0200",
            "1970-01-01T00:00:00+24:00",
            "1970-01-01T00:00:00-23:60",
            "1970-01-01T00:00:00Z[UTC]",
            "1970-01-01T00:00:00Z ",
            "1970-02-30T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "1970-13-01T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:60:00Z",
            "1970-01-01T00:00:61Z",
            "1970-01-01T00:00:+1Z",
            "0000-12-31T23:59:59Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "-001-01-01T00:00:00Z",
            "1970-01-01T00:00:00Zé",
        ] {
            assert!(from_rfc3339(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_shown_time_is_parsed_to_itself(ms in EARLIEST_MS..=LATEST_MS) {
            prop_assert_eq!(from_rfc3339(&rfc3339(ms)), Ok(ms));
        }
    }
}
