//! Times as events may state them.

use bulkhead_proto::wire::text::cut;
use jiff::Timestamp;

/// 0001-01-01T00:00:00Z, the first instant that RFC 3339 and every calendar library agree on, in Unix milliseconds.
const EARLIEST_MS: i64 = -62_135_596_800_000;

/// 9999-12-30T22:00:00.999Z, in Unix milliseconds: the last one that jiff renders in every time zone.
const LATEST_MS: i64 = 253_402_207_200_999;

/// The longest text that is quoted back, in bytes.
const MAX_QUOTED: usize = 40;

/// Passes Unix milliseconds on if they lie in the years 1 to 9999.
pub(super) fn in_range(ms: i64) -> Result<i64, String> {
    if (EARLIEST_MS..=LATEST_MS).contains(&ms) {
        Ok(ms)
    } else {
        Err(format!(
            "Unix milliseconds from {EARLIEST_MS} to {LATEST_MS} (the years 1 to 9999) are wanted; found {ms}"
        ))
    }
}

/// Reads an RFC 3339 time; parts of a millisecond are cut off.
pub(super) fn from_rfc3339(text: &str) -> Result<i64, String> {
    let wanted = || {
        format!(
            "a time such as \"2026-01-31T08:00:00Z\" (RFC 3339) is wanted; found {:?}",
            cut(text, MAX_QUOTED)
        )
    };
    // jiff reads more forms than the RFC has (no separators, no minutes in the offset, `[zone]`): one way is enough.
    if !has_rfc3339_shape(text.as_bytes()) {
        return Err(wanted());
    }
    in_range(text.parse::<Timestamp>().map_err(|_| wanted())?.as_millisecond())
}

/// `YYYY-MM-DDThh:mm:ss[.f…](Z|±hh:mm)`; the values are for jiff to judge.
fn has_rfc3339_shape(text: &[u8]) -> bool {
    let Some((head, rest)) = text.split_at_checked(19) else { return false };
    let fits = |pattern: &[u8], text: &[u8]| {
        pattern.len() == text.len()
            && pattern.iter().zip(text).all(|(wanted, found)| match wanted {
                b'0' => found.is_ascii_digit(),
                b'T' => matches!(found, b'T' | b't' | b' '),
                b'+' => matches!(found, b'+' | b'-'),
                b'Z' => matches!(found, b'Z' | b'z'),
                other => found == other,
            })
    };
    let offset = match rest.strip_prefix(b".") {
        None => rest,
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
    };
    fits(b"0000-00-00T00:00:00", head) && (fits(b"Z", offset) || fits(b"+00:00", offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_times_are_read_to_the_millisecond() {
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
