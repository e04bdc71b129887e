//! What goes out: one record of each death. The log, the report, the status, HTTP and the CLI render it.

use super::{RestartDecision, Stack};
use bulkhead_proto::wire::crash::Report;
use std::time::Duration;

/// One death. Each death has exactly one record, with a crash number of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct DeathRecord {
    /// The report, without its backtrace.
    pub report: Report,
    /// The frames of its backtrace: the thread that stores the report names them.
    pub stack: Stack,
    /// What happens to the worker next.
    pub next: RestartDecision,
    /// Time since the process was asked to stop, if it was.
    pub stop_duration: Option<Duration>,
    /// A requested stop that was completed without SIGKILL: its report is not stored, and it is not the last crash of the
    /// worker.
    pub orderly_stop: bool,
}
