//! What is measured.

mod commits;
mod moving;

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
pub const ALL: [Section; 3] = [
    Section { name: "throughput", measure: moving::throughput },
    Section { name: "roundtrip", measure: moving::round_trip },
    Section { name: "commit", measure: commits::measure },
];
