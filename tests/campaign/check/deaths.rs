//! Each kill and each death belong together, and nothing else went wrong.

use super::Check;
use crate::records::{Got, Kill, Records, Told};
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
}

pub(super) fn check(records: &Records) -> Vec<Check> {
    vec![deaths(records), alarms(records), broken_off(records), end(records)]
}

/// By generation: a kill is one death by SIGKILL, and there is no other before the end.
fn deaths(records: &Records) -> Check {
    let mut check = Check::of("kills, each the death of that generation");
    let mut killed: HashMap<(&str, u64), usize> = HashMap::new();
    for kill in &records.kills {
        *killed.entry((&kill.worker, kill.generation)).or_default() += 1;
    }
    for told in &records.story {
        let ("worker_died", worker, Some(generation)) = told.of() else { continue };
        let (cause, detail) = (&told.line["cause"], told.line["detail"].as_str().unwrap_or_default());
        // The orderly stop at the end.
        if cause == "requested" {
            continue;
        }
        let times = killed.remove(&(worker, generation)).unwrap_or_default();
        let right = times == 1 && cause == "signal" && detail.starts_with("SIGKILL");
        check.holds(right, || format!("killed {times} times, and then {}", told.line));
    }
    for (who, times) in killed {
        check.holds(false, || format!("{who:?} was killed {times} times, and its death was not reported"));
    }
    let (run, count) =
        (&records.run, |worker| records.kills.iter().filter(|kill| kill.worker == worker).count());
    let planned = (count("analytics"), count("api")) == (run.kills, run.api_kills);
    check.holds(planned, || {
        format!("{} kills of {} + {} were carried out", records.kills.len(), run.kills, run.api_kills)
    });
    check
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
