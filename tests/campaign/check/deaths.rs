//! Each kill and each death belong together, and nothing else went wrong.

use super::{Check, poison};
use crate::records::{Got, Kill, Records, Told};
use bulkhead_tests::faults::cause_and_word;
use std::collections::HashMap;

/// Lines that tell of something that no kill of a worker excuses.
const ALARMS: [&str; 6] =
    ["worker_parked", "worker_given_up", "state_lost", "state_repaired", "seq_gap", "marks_failed"];

impl Told {
    /// The event that it tells, of which worker and which generation.
    fn of(&self) -> (&str, &str, Option<u64>) {
        let text = |field: &str| self.line[field].as_str().unwrap_or_default();
        (text("event_name"), text("worker"), self.line["generation"].as_u64())
    }

    fn cause_and_detail(&self) -> (&str, &str) {
        let text = |field: &str| self.line[field].as_str().unwrap_or_default();
        (text("cause"), text("detail"))
    }
}

pub(super) fn check(records: &Records) -> Vec<Check> {
    vec![deaths(records), alarms(records), broken_off(records), end(records)]
}

/// By generation: a kill is one death by SIGKILL; whoever else dies before the end was poisoned or commanded to, and only
/// such a one may have been killed in vain.
fn deaths(records: &Records) -> Check {
    let mut check = Check::of("kills, each the death of that generation");
    let mut killed: HashMap<(&str, u64), usize> = HashMap::new();
    for kill in &records.kills {
        *killed.entry((&kill.worker, kill.generation)).or_default() += 1;
    }
    let (poisons, mut commanded) = (poison::by_seq(records), commanded(records));
    for told in &records.story {
        let ("worker_died", worker, Some(generation)) = told.of() else { continue };
        let times = killed.remove(&(worker, generation)).unwrap_or_default();
        let right = match told.cause_and_detail() {
            // The orderly stop at the end, unless it is a fault.
            ("requested", detail) => {
                match detail.strip_prefix("fault ").and_then(|rest| rest.split(':').next()) {
                    Some(kind) => times <= 1 && commanded.get_mut(kind).is_some_and(take_one),
                    None => times == 0,
                }
            }
            ("signal", detail) if times == 1 && detail.starts_with("SIGKILL") => true,
            (cause, detail) => {
                let poison = told.line["seq"].as_u64().and_then(|seq| poisons.get(&seq));
                let wanted = poison.map(|poison| cause_and_word(poison.kind));
                times <= 1 && wanted.is_some_and(|(known, word)| cause == known && detail.contains(word))
            }
        };
        check.holds(right, || format!("killed {times} times, and then {}", told.line));
    }
    for (who, times) in killed {
        check.holds(false, || format!("{who:?} was killed {times} times, and its death was not reported"));
    }
    let run = &records.run;
    let count = |worker| records.kills.iter().filter(|kill| kill.worker == worker).count();
    let done = (count("analytics"), count("api"), records.orders.len());
    let planned = (run.kills, run.api_kills, run.orders);
    check.holds(done == planned, || {
        format!("kills of analysis and API, and commands: {done:?} of {planned:?}")
    });
    check
}

/// How many faults of each kind were commanded.
fn commanded(records: &Records) -> HashMap<&'static str, usize> {
    let mut commanded = HashMap::new();
    for order in records.orders.iter().filter(|order| order.obeyed) {
        *commanded.entry(order.kind.as_str()).or_default() += 1;
    }
    commanded
}

const fn take_one(count: &mut usize) -> bool {
    let any = *count > 0;
    *count -= any as usize;
    any
}

fn alarms(records: &Records) -> Check {
    let mut check = Check::of("lines of the log without an alarm");
    for told in &records.story {
        check.holds(!ALARMS.contains(&told.of().0), || told.line.to_string());
    }
    check
}

/// From a kill of the API to the activation of its successor: the only time in which a request may be broken off.
fn outages(records: &Records) -> Vec<(u64, u64)> {
    let back = |kill: &Kill| {
        let successor = records.story.iter().find(|told| {
            let (event, worker, generation) = told.of();
            event == "worker_activated" && worker == "api" && generation > Some(kill.generation)
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
