//! Each kill and each death belong together, and nothing else went wrong.

use super::{
    Check, orders, poison,
    story::{self, Death},
};
use crate::records::{Got, Kill, Poison, Records};
use bulkhead_proto::wire::fault::FaultKind;
use bulkhead_tests::expected_death::{death_matches, detail_matches};
use std::collections::{HashMap, HashSet};

pub(super) fn check(records: &Records) -> Vec<Check> {
    vec![deaths(records), broken_off(records), end(records)]
}

/// By generation: a kill is one death by SIGKILL; whoever else dies before the end was poisoned or commanded to, and only
/// such a one may have been killed in vain.
fn deaths(records: &Records) -> Check {
    let mut check = Check::of("kills, each the death of that generation");
    let mut killed: HashMap<(&str, u64), usize> = HashMap::new();
    for kill in &records.kills {
        *killed.entry((&kill.worker, kill.generation)).or_default() += 1;
    }
    let (poisons, ordered) = (poison::by_seq(records), orders::obeyed(records));
    for death in story::deaths(records) {
        let times = killed.remove(&(death.worker, death.generation)).unwrap_or_default();
        let poison = death.seq.filter(|_| death.worker == "analytics").and_then(|seq| poisons.get(&seq));
        let right = if death.is_requested() {
            times <= 1 && is_commanded(&death, poison, &ordered) || times == 0 && death.stopped
        } else {
            let poisoned = poison.is_some_and(|poison| death_matches(poison.kind, death.cause, death.detail));
            times == 1 && death.is_kill() || times <= 1 && poisoned
        };
        check.holds(right, || format!("killed {times} times, and then {}", records.story[death.place].line));
    }
    for (who, times) in killed {
        check.holds(false, || format!("{who:?} was killed {times} times, and its death was not reported"));
    }
    let run = &records.run;
    let count = |worker| records.kills.iter().filter(|kill| kill.worker == worker).count();
    let (done, planned) = ((count("analytics"), count("api")), (run.kills, run.api_kills));
    check.holds(done == planned, || format!("kills of analysis and API: {done:?} of {planned:?}"));
    check
}

/// Whether a death that was asked for was commanded of that generation, and is told as that fault; or as what was in hand,
/// if that came first and looks the same from outside.
fn is_commanded(death: &Death<'_>, poison: Option<&Poison>, ordered: &HashSet<(u64, &str)>) -> bool {
    let Some((kind, how)) = death.command() else { return false };
    let told =
        |kind: FaultKind| detail_matches(kind, how) || kind == FaultKind::Kill && story::KILLS.contains(&how);
    death.worker == "analytics"
        && ordered.contains(&(death.generation, kind))
        && (kind.parse().is_ok_and(told) || poison.is_some_and(|poison| told(poison.kind)))
}

/// From a kill of the API to the activation of its successor: the only time in which a request may be broken off.
fn outages(records: &Records) -> Vec<(u64, u64)> {
    let back = |kill: &Kill| {
        let successor = records.story.iter().find(|told| {
            told.tells("worker_activated", "api") && told.number("generation") > Some(kill.generation)
        });
        successor.map_or(u64::MAX, |told| told.at)
    };
    records.kills.iter().filter(|kill| kill.worker == "api").map(|kill| (kill.at, back(kill))).collect()
}

fn broken_off(records: &Records) -> Check {
    let outages = outages(records);
    let mut check = Check::of("broken connections, each by a death of the API");
    let mut excused = |at: u64, end: u64, finding: &dyn Fn() -> String| {
        check.holds(outages.iter().any(|(from, to)| at <= *to && end >= *from), finding);
    };
    for request in records.requests.iter().filter(|request| request.answer.is_missing()) {
        excused(request.at, request.at + request.took, &|| format!("{request:?}"));
    }
    for read in records.reads.iter().filter(|read| matches!(read.got, Got::Lost(_))) {
        let sent = read.at + read.late;
        excused(sent, sent + read.took, &|| format!("{read:?}"));
    }
    check
}

fn end(records: &Records) -> Check {
    let mut check = Check::of("an orderly end that leaves nobody behind");
    check.holds(records.run.stopped, || "the supervisor's exit code says that its stop failed".to_owned());
    check.holds(records.run.left.is_empty(), || format!("{:?}", records.run.left));
    check
}
