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
