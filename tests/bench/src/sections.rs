//! The sections of the bench.

mod analysis;
mod commit;
mod ingest;
mod large_events;
mod recovery;
mod series;
mod transports;

use crate::{Plan, report::SectionResult};

/// A section, which can be measured alone.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// The name, for `ONLY`.
    pub name: &'static str,
    /// Measures the section.
    pub measure: fn(&Plan) -> anyhow::Result<SectionResult>,
}

/// All sections, in the order of the report.
pub const ALL: [Section; 8] = [
    Section { name: "throughput", measure: transports::throughput },
    Section { name: "roundtrip", measure: transports::round_trip },
    Section { name: "commit", measure: commit::measure },
    Section { name: "analysis", measure: analysis::measure },
    Section { name: "series", measure: series::measure },
    Section { name: "ingest", measure: ingest::measure },
    Section { name: "large", measure: large_events::measure },
    Section { name: "recovery", measure: recovery::measure },
];
