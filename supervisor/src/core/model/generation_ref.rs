//! The name of one generation, for log lines and records.

use bulkhead_proto::wire::ids::Generation;

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
