//! The role of a worker.

use super::vocabulary::vocabulary;

vocabulary! {
    /// What a worker is for.
    Role("role") {
        /// Accepts events over HTTP and answers queries.
        Api = "api",
        /// Applies the analysis to events and commits the state.
        Analytics = "analytics",
        /// Any other program. It does not use this crate.
        Plain = "plain",
    }
}
