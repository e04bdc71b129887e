//! Wall-clock times: Unix milliseconds between the processes, RFC 3339 in UTC for people and programs.
//!
//! A field of Unix milliseconds becomes RFC 3339 in JSON by `#[serde(with = "…::wire::time")]`.

use jiff::{SignedDuration, Timestamp, civil::DateTime};
use serde::{Deserialize as _, Deserializer, Serializer};
use std::time::{SystemTime, UNIX_EPOCH};

/// The Unix epoch, in UTC.
pub const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// Date and time of day in UTC; `None` outside the years -9999 to 9999. (`Timestamp` ends 26 hours before the year 10000,
/// because it can be shown in any time zone.)
#[must_use]
pub fn utc(unix_ms: i64) -> Option<DateTime> {
    EPOCH.checked_add(SignedDuration::from_millis(unix_ms)).ok()
}

/// The current time, in Unix milliseconds; 0 before 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The current time in Unix milliseconds, in the type of an event's `arrived_ms`.
#[must_use]
pub fn arrival_ms() -> i64 {
    i64::try_from(now_ms()).unwrap_or(i64::MAX)
}

/// A time in Unix milliseconds as RFC 3339, always with milliseconds so that columns align. A time outside the calendar
/// is shown as the epoch.
#[must_use]
pub fn rfc3339(unix_ms: impl TryInto<i64>) -> String {
    let time = unix_ms.try_into().ok().and_then(utc);
    format!("{:.3}Z", time.unwrap_or(EPOCH))
}

/// Serializes Unix milliseconds in the format of [`rfc3339`].
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(unix_ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*unix_ms))
}

/// Deserializes RFC 3339 into Unix milliseconds. A time before 1970 becomes 0.
///
/// # Errors
/// The text is not a time.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Timestamp::deserialize(deserializer).map(|time| u64::try_from(time.as_millisecond()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_always_have_milliseconds() {
        assert_eq!(rfc3339(1_700_000_000_120_i64), "2023-11-14T22:13:20.120Z");
        assert_eq!(rfc3339(1_700_000_000_000_u64), "2023-11-14T22:13:20.000Z");
        assert_eq!(rfc3339(-1_i64), "1969-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(253_402_300_799_999_i64), "9999-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(-62_135_596_800_000_i64), "0001-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(now_ms()).len(), rfc3339(0).len());
    }

    #[test]
    fn a_time_outside_the_calendar_is_shown_as_the_epoch() {
        for shown in [rfc3339(i64::MAX), rfc3339(u64::MAX)] {
            assert_eq!(shown, "1970-01-01T00:00:00.000Z");
        }
    }

    #[test]
    fn a_field_in_milliseconds_is_rfc3339_in_json() {
        #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        struct Death {
            #[serde(with = "super")]
            at: u64,
        }
        let death = Death { at: 1_700_000_000_120 };
        let json = serde_json::to_string(&death).unwrap();
        assert_eq!(json, r#"{"at":"2023-11-14T22:13:20.120Z"}"#);
        assert_eq!(serde_json::from_str::<Death>(&json).unwrap(), death);
        assert!(serde_json::from_str::<Death>(r#"{"at":"yesterday"}"#).is_err());
    }
}
