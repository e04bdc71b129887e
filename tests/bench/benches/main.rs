//! `make bench`: measures, prints tables and writes `results/bench.json`.

use bulkhead_bench::{Plan, Report, peer, sections};

fn main() -> anyhow::Result<()> {
    if let Some(role) = peer::role() {
        return peer::run_role(&role);
    }
    let plan = Plan::from_env()?;
    let mut report = Report::begin(&plan);
    for section in sections::ALL {
        if plan.includes_section(section.name) {
            report.add((section.measure)(&plan)?);
        }
    }
    report.finish()
}
