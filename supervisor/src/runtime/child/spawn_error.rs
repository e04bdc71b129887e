//! Why a process could not be started.

use crate::display::error_chain;

/// A process could not be started.
#[derive(Debug)]
pub(in crate::runtime) struct SpawnError {
    /// The error, for people.
    pub(in crate::runtime) text: String,
    /// Whether a retry cannot help.
    pub(in crate::runtime) config: bool,
}

impl From<anyhow::Error> for SpawnError {
    fn from(error: anyhow::Error) -> Self {
        Self { text: error_chain(&error), config: false }
    }
}
