//! The checker: reconciles the records of a run. It reads nothing else.

mod alarms;
mod attempts;
mod deaths;
mod deploy_log;
mod deploys;
mod events;
mod fault_commands;
mod generations;
mod log;
mod quarantine;
mod reads;
mod replays;
mod seqs;

use crate::records::Records;
use deploy_log::Deploys;
use serde::Serialize;

/// The number of findings that a check keeps. All findings are counted.
const MAX_FINDINGS: usize = 20;

/// A check: a condition that must hold for each of many items.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    /// The items, and the condition that holds for them.
    pub what: &'static str,
    /// The number of items.
    pub examined: usize,
    /// The number of items for which the condition does not hold.
    pub wrong: usize,
    /// The first findings.
    pub findings: Vec<String>,
}

impl Check {
    fn of(what: &'static str) -> Self {
        Self { what, examined: 0, wrong: 0, findings: Vec::new() }
    }

    /// Checks one item; `finding` describes it if the condition does not hold.
    fn expect(&mut self, ok: bool, finding: impl FnOnce() -> String) {
        self.examined += 1;
        self.wrong += usize::from(!ok);
        if !ok && self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding());
        }
    }
}

/// Runs all checks.
pub(crate) fn all(records: &Records) -> Vec<Check> {
    let (counts, deploys) = (events::Counts::of(records), Deploys::of(records));
    let mut checks = vec![counts_are_sets(records)];
    checks.extend(counts.check(records));
    checks.extend(seqs::check(records, &counts));
    checks.extend(quarantine::check(records));
    checks.extend(attempts::check(records, &deploys));
    checks.extend(deaths::check(records, &deploys));
    checks.extend([fault_commands::check(records), generations::check(records)]);
    checks.push(alarms::check(records, &deploys));
    if records.run.deploys > 0 {
        checks.extend(deploys::check(records, &deploys));
        checks.push(replays::check(records, &deploys));
    }
    checks.extend(reads::check(records));
    checks
}

/// No series counted an event twice. Then the bits of its sum are the events that it counted.
fn counts_are_sets(records: &Records) -> Check {
    let mut check = Check::of("series whose count and sum match a set of distinct events");
    for series in &records.series {
        check.expect(series.each_counted_once(), || format!("{series:?}"));
    }
    check
}

#[cfg(test)]
mod tests;
