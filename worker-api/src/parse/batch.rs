//! The state of one parse of a request body.

use std::borrow::Cow;

/// What applies to every event of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchContext<'r> {
    /// When the request arrived, in Unix milliseconds: the `ts` of events without one.
    pub(crate) arrived_ms: i64,
    /// The id of the request.
    pub(crate) request_id: Option<&'r str>,
    /// Whether `__fault.KIND` series are accepted.
    pub(crate) faults: bool,
    /// The longest `data`, in bytes.
    pub(crate) max_data: usize,
}

/// The event and field that are being parsed.
#[derive(Debug, Default)]
pub(super) struct ErrorLocation {
    pub(super) index: Option<usize>,
    /// A known name is borrowed, so that valid events need no allocation.
    pub(super) field: Option<Cow<'static, str>>,
}

/// The state of one parse.
pub(super) struct BatchParser<'r, 's, S> {
    pub(super) context: &'r BatchContext<'r>,
    pub(super) sink: &'s mut S,
    pub(super) count: usize,
    pub(super) location: ErrorLocation,
}
