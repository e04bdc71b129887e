//! Time as the heart sees it: two clocks, read by the shell once a turn.

use bincode::{Decode, Encode};
use std::time::Duration;

/// An instant on a monotonic clock, in milliseconds since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Millis(pub u64);

impl Millis {
    /// This instant, moved on by a span. Saturates.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The span since an earlier instant; zero when that one is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// What the clocks say during one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For every decision: never jumps back.
    pub mono: Millis,
    /// For people alone: Unix milliseconds, may jump either way.
    pub unix_ms: u64,
}
