//! Names of series with a meaning of their own, and series that cannot be rendered.

use super::text::cut;

/// Names with this prefix are reserved. The API refuses them in requests, except names with [`FAULT_PREFIX`] when faults are
/// enabled.
pub const RESERVED_PREFIX: &str = "__";

/// An event of the series `__fault.KIND` induces that fault when the analysis applies the event.
pub const FAULT_PREFIX: &str = "__fault.";

/// The series that counts the events of all series beyond `max_series`.
pub const OVERFLOW_SERIES: &str = "__overflow__";

/// The longest reason of a failure to render, in bytes.
const MAX_REASON: usize = 1 << 10;

/// The first byte of a public part that is not a rendered object but the reason why there is none.
const FAILURE: u8 = b'!';

/// Writes the public part of a series that could not be rendered.
pub fn write_render_failure(reason: &str, into: &mut Vec<u8>) {
    into.clear();
    into.push(FAILURE);
    into.extend_from_slice(cut(reason, MAX_REASON).as_bytes());
}

/// Why a series could not be rendered; `None` if the public part says nothing of that kind. Untrusted.
#[must_use]
pub fn render_failure(public: &[u8]) -> Option<String> {
    let reason = public.strip_prefix(&[FAILURE])?;
    Some(cut(&String::from_utf8_lossy(reason), MAX_REASON).to_owned())
}
