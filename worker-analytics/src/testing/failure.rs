//! What a check found.

use crate::StateError;
use bulkhead_proto::{shm::table::MAX_CONTENT, wire::event::EventError};

/// The first event after which an analysis breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {event} (counted from 0), series {series:?}: {problem}")]
pub struct Failure {
    /// The index of the event in the slice, from 0.
    pub event: usize,
    /// The name of the series.
    pub series: String,
    /// The rule, and what was found.
    pub problem: Problem,
}

/// A rule that an analysis breaks. The error names the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The API would refuse the event.
    #[error("the API would refuse this event: {0}")]
    Event(EventError),
    /// The state cannot be stored, or is not read as it was.
    #[error("the state cannot be stored: {0}")]
    NotStorable(StateError),
    /// The rendered form is no JSON object. With the beginning of what it is, or the error of its serialisation.
    #[error("render must give a JSON object; it gave {0}")]
    NotAnObject(String),
    /// The series does not fit its place in shared memory.
    #[error("state {state} and rendered form {rendered} bytes: together at most {MAX_CONTENT} are allowed")]
    TooLarge {
        /// The length of the encoded state, in bytes.
        state: usize,
        /// The length of the rendered form as JSON, in bytes.
        rendered: usize,
    },
    /// The state differs when events are applied again. Keep everything in the state, and compute it from the events
    /// alone.
    #[error("the state differs: {0}")]
    StateDiffers(StateError),
    /// The rendered form differs although the state is the same.
    #[error("the rendered form differs: {0}")]
    RenderedDiffers(StateError),
}
