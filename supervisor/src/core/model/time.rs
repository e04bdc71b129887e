//! Time as the core sees it: two clocks, read by the runtime once for each transition.

use bincode::{Decode, Encode};
use std::time::Duration;

/// An instant on a monotonic clock, in milliseconds since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Millis(pub u64);

impl Millis {
    /// This instant plus a duration. Saturates.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The duration since an earlier instant; zero if that instant is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// The clock readings of one transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For all decisions; never jumps back.
    pub mono: Millis,
    /// For display only: Unix milliseconds, may jump.
    pub unix_ms: u64,
}

/// Formats a duration for people: `12 ms`, `3.4 s`, `5 min`, `3 h`, `2 d`.
#[must_use]
pub fn span(span: Duration) -> String {
    match span.as_secs() {
        0 => format!("{} ms", span.as_millis()),
        1..60 => format!("{:.1} s", span.as_secs_f64()),
        60..3600 => format!("{} min", span.as_secs() / 60),
        3600..86_400 => format!("{} h", span.as_secs() / 3600),
        _ => format!("{} d", span.as_secs() / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_as_exact_as_a_person_needs() {
        for (millis, shown) in
            [(12, "12 ms"), (3456, "3.5 s"), (61_000, "1 min"), (7_300_000, "2 h"), (200_000_000, "2 d")]
        {
            assert_eq!(span(Duration::from_millis(millis)), shown);
        }
    }
}
