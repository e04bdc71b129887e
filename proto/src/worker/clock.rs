//! The wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// The current time in Unix milliseconds.
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
