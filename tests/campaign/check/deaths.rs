//! Each kill causes one death, each death has a known cause, and the shutdown is clean.

use super::{
    Check,
    deploy_log::Deploys,
    fault_commands,
    log::{self, Death},
    quarantine,
};
use crate::records::{Kill, PoisonEvent, ReadResult, Records};
use bulkhead_proto::wire::fault::FaultKind;
use bulkhead_tests::expected_death::{death_matches, detail_matches};
use std::collections::{HashMap, HashSet};

pub(super) fn check(records: &Records, deploys: &Deploys<'_>) -> Vec<Check> {
    vec![deaths(records, deploys), broken_connections(records), clean_shutdown(records)]
}

/// Each kill is one death of that generation by SIGKILL. Any other death before the shutdown was caused by a
/// poison event, a fault command or a bad deploy; only then may a kill have had no effect.
fn deaths(records: &Records, deploys: &Deploys<'_>) -> Check {
    let mut check = Check::of("kills, each the death of that generation");
    let mut killed: HashMap<(&str, u64), usize> = HashMap::new();
    for kill in &records.kills {
        *killed.entry((&kill.worker, kill.generation)).or_default() += 1;
    }
    let (poisons, commanded) = (quarantine::by_seq(records), fault_commands::accepted(records));
    for death in log::deaths(records) {
        let times = killed.remove(&(death.worker, death.generation)).unwrap_or_default();
        let poison = death.seq.filter(|_| death.worker == "analytics").and_then(|seq| poisons.get(&seq));
        let ok = if deploys.explain(&death) {
            times == 0
        } else if death.is_requested() {
            times <= 1 && is_commanded(&death, times == 1, poison, &commanded) || times == 0 && death.stopped
        } else {
            let poisoned = poison.is_some_and(|poison| death_matches(poison.kind, death.cause, death.detail));
            times == 1 && death.is_kill() || times <= 1 && poisoned
        };
        check.expect(ok, || format!("killed {times} times, then logged {}", records.log[death.index].fields));
    }
    for (generation, times) in killed {
        check.expect(false, || {
            format!("{generation:?} was killed {times} times, but its death was not logged")
        });
    }
    let run = &records.run;
    let count = |worker| records.kills.iter().filter(|kill| kill.worker == worker).count();
    let (done, planned) = ((count("analytics"), count("api")), (run.kills, run.api_kills));
    check.expect(done == planned, || {
        format!("kills of the analysis and the API: {done:?}, planned {planned:?}")
    });
    check
}

/// Whether a requested death was commanded for that generation and is logged as that fault. The event in
/// flight may be logged instead if it came first and looks the same from outside, and so may a kill.
fn is_commanded(
    death: &Death<'_>,
    killed: bool,
    poison: Option<&PoisonEvent>,
    commanded: &HashSet<(u64, &str)>,
) -> bool {
    let Some((kind, how)) = death.command() else { return false };
    let kill_came_first = killed && log::SIGKILL_DETAILS.contains(&how);
    let is_logged_as = |kind: FaultKind| {
        detail_matches(kind, how) || kind == FaultKind::Kill && log::SIGKILL_DETAILS.contains(&how)
    };
    death.worker == "analytics"
        && commanded.contains(&(death.generation, kind))
        && (kill_came_first
            || kind.parse().is_ok_and(is_logged_as)
            || poison.is_some_and(|poison| is_logged_as(poison.kind)))
}

/// The times from a kill of the API to the activation of its successor. Only then may a connection break.
fn outages(records: &Records) -> Vec<(u64, u64)> {
    let next_activation = |kill: &Kill| {
        let successor = records.log.iter().find(|line| {
            line.is_event_of("worker_activated", "api") && line.number("generation") > Some(kill.generation)
        });
        successor.map_or(u64::MAX, |line| line.at)
    };
    records
        .kills
        .iter()
        .filter(|kill| kill.worker == "api")
        .map(|kill| (kill.at, next_activation(kill)))
        .collect()
}

fn broken_connections(records: &Records) -> Check {
    let outages = outages(records);
    let mut check = Check::of("broken connections, each during an outage of the API");
    let mut excused = |from: u64, to: u64, finding: &dyn Fn() -> String| {
        check.expect(outages.iter().any(|(begin, end)| from <= *end && to >= *begin), finding);
    };
    for request in records.requests.iter().filter(|request| request.answer.is_unanswered()) {
        excused(request.at, request.at + request.took, &|| format!("{request:?}"));
    }
    for read in records.reads.iter().filter(|read| matches!(read.got, ReadResult::Lost(_))) {
        let sent = read.at + read.late;
        excused(sent, sent + read.took, &|| format!("{read:?}"));
    }
    check
}

fn clean_shutdown(records: &Records) -> Check {
    let mut check = Check::of("a clean shutdown that leaves no process");
    check.expect(records.run.stopped, || "the supervisor's exit code reports a failed shutdown".to_owned());
    check.expect(records.run.left_processes.is_empty(), || format!("{:?}", records.run.left_processes));
    check
}
