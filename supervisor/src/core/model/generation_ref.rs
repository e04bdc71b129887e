//! The name of one generation, for log lines and records.

use bulkhead_proto::wire::ids::Generation;
use std::fmt;

/// One generation of a worker, for log lines and reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationRef {
    /// The worker's name.
    pub worker: String,
    /// Its generation.
    pub generation: Generation,
    /// Its process id, once spawned.
    pub pid: Option<u32>,
}

/// `analytics generation 7 (pid 4121)`
impl fmt::Display for GenerationRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} generation {}", self.worker, self.generation)?;
        self.pid.map_or(Ok(()), |pid| write!(f, " (pid {pid})"))
    }
}
