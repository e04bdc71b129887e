//! Each accepted fault command ends the generation that got it.

use super::{Check, log};
use crate::records::{FaultCommand, Records};
use std::collections::HashSet;

/// The generations that were commanded to die, with the kind of the fault.
pub(super) fn accepted(records: &Records) -> HashSet<(u64, &'static str)> {
    let accepted = |command: &FaultCommand| Some((command.generation?, command.kind.as_str()));
    records.fault_commands.iter().filter_map(accepted).collect()
}

/// The number of accepted commands is as planned, however often commands were refused. Each generation that
/// got a command has died since, of whatever came first, but not of the shutdown.
pub(super) fn check(records: &Records) -> Check {
    let mut check = Check::of("faults commanded, each the end of its generation");
    let deaths = log::deaths(records);
    let (mut accepted, planned) = (0, records.run.fault_commands);
    for command in &records.fault_commands {
        let Some(generation) = command.generation else { continue };
        accepted += 1;
        let died = deaths.iter().any(|death| {
            (death.worker, death.generation) == ("analytics", generation)
                && death.at >= command.at
                && !death.stopped
        });
        check.expect(died, || format!("{command:?} did not end its generation"));
    }
    check.expect(accepted == planned, || format!("{accepted} of {planned} fault commands were accepted"));
    check
}
