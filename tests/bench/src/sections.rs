//! What is measured.

mod analysis;
mod commits;
mod ingest;
mod moving;
mod recovery;

use crate::{Plan, report::Findings};

/// A part of the whole that can be measured alone.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Its name, for `ONLY`.
    pub name: &'static str,
    /// Measures it.
    pub measure: fn(&Plan) -> anyhow::Result<Findings>,
}

/// All of them, in the order of the report.
pub const ALL: [Section; 6] = [
    Section { name: "throughput", measure: moving::throughput },
    Section { name: "roundtrip", measure: moving::round_trip },
    Section { name: "commit", measure: commits::measure },
    Section { name: "analysis", measure: analysis::measure },
    Section { name: "ingest", measure: ingest::measure },
    Section { name: "recovery", measure: recovery::measure },
];
