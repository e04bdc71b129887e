//! Names of series with a meaning of their own.

/// Names with this prefix are reserved. The API refuses them in requests, except names with [`FAULT_PREFIX`] when faults are
/// enabled.
pub const RESERVED_PREFIX: &str = "__";

/// An event of the series `__fault.KIND` induces that fault when the analysis applies the event.
pub const FAULT_PREFIX: &str = "__fault.";

/// The series that counts the events of all series beyond `max_series`.
pub const OVERFLOW_SERIES: &str = "__overflow__";
