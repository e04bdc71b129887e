//! Parses the times of events.

use bulkhead_proto::wire::text::cut;
use jiff::Timestamp;

/// 0001-01-01T00:00:00Z, in Unix milliseconds: the first instant that RFC 3339 and every calendar library support.
const EARLIEST_MS: i64 = -62_135_596_800_000;

/// 9999-12-30T22:00:00.999Z, in Unix milliseconds: the last instant that jiff can format in every time zone.
const LATEST_MS: i64 = 253_402_207_200_999;

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
    // jiff accepts more forms than RFC 3339: no separators, a comma, no minutes in the offset, `[zone]`.
    let time = text.parse::<Timestamp>().ok().filter(|_| is_rfc3339(text.as_bytes()));
    check_range(time.ok_or_else(expected)?.as_millisecond())
}

/// Whether a time that jiff parses has the form `YYYY-MM-DDThh:mm:ss[.f…](Z|±hh:mm)`.
fn is_rfc3339(text: &[u8]) -> bool {
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    let separated = separators.iter().all(|&(index, separator)| text.get(index) == Some(&separator));
    let has_offset = matches!(
        text,
        [.., b'Z' | b'z'] | [.., b'+' | b'-', b'0'..=b'9', b'0'..=b'9', b':', b'0'..=b'9', b'0'..=b'9']
    );
    separated && has_offset && !text.contains(&b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_times_are_parsed_to_the_millisecond() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01t00:00:01.5z", 1500),
            ("1970-01-01 02:00:00.0019+02:00", 1),
            ("2001-01-01T00:47:00-00:30", 978_311_820_000),
            ("0001-01-01T00:00:00Z", EARLIEST_MS),
            ("9999-12-30T22:00:00.999Z", LATEST_MS),
            ("2016-12-31T23:59:60Z", 1_483_228_799_000),
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
            "1970-01-01T00:00:00+02",
            "1970-01-01T00:00:00Z[UTC]",
            "1970-02-30T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "0000-12-31T23:59:59Z",
            "-001-01-01T00:00:00Z",
            "1970-01-01T00:00:00Zé",
            "9999-12-31T23:59:59Z",
        ] {
            assert!(from_rfc3339(text).is_err(), "{text}");
        }
    }
}
