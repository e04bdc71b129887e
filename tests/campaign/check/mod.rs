//! Reconciles what was recorded, from the records alone.

mod alarms;
mod charges;
mod deaths;
mod events;
mod lives;
mod orders;
mod poison;
mod reads;
mod seqs;
mod story;

use crate::records::Records;
use serde::Serialize;

/// So many findings are told of each check; their number is told in any case.
const TOLD: usize = 20;

/// Something that must hold of each of many things.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    /// What holds.
    pub what: &'static str,
    /// Of how many things.
    pub examined: usize,
    /// Of how many of them it does not.
    pub wrong: usize,
    /// The first ones.
    pub findings: Vec<String>,
}

impl Check {
    fn of(what: &'static str) -> Self {
        Self { what, examined: 0, wrong: 0, findings: Vec::new() }
    }

    /// Looks at one thing; the text is for when it does not hold.
    fn holds(&mut self, right: bool, finding: impl FnOnce() -> String) {
        self.examined += 1;
        self.wrong += usize::from(!right);
        if !right && self.findings.len() < TOLD {
            self.findings.push(finding());
        }
    }
}

/// All checks.
pub(crate) fn all(records: &Records) -> Vec<Check> {
    let counted = events::Counts::of(records);
    let mut checks = vec![counts_are_sets(records)];
    checks.extend(counted.check(records));
    checks.extend(seqs::check(records, &counted));
    checks.extend(poison::check(records));
    checks.extend(charges::check(records));
    checks.extend(deaths::check(records));
    checks.extend([orders::check(records), lives::check(records), alarms::check(records)]);
    checks.extend(reads::check(records));
    checks
}

/// That a series has counted no event twice: what makes the bits of its sum the events that it has counted.
fn counts_are_sets(records: &Records) -> Check {
    let mut check = Check::of("series whose count and sum are those of distinct events");
    for counted in &records.series {
        check.holds(counted.each_counted_once(), || format!("{counted:?}"));
    }
    check
}

#[cfg(test)]
mod tests;
