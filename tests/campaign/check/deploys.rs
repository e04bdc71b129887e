//! Each bad deploy was judged as its program requires, quarantined few events or none, and harmed no client.

use super::{
    Check,
    deploy_log::{DeployLog, Deploys},
};
use crate::records::{Answer, Deploy, LogLine, ReadResult, Records};
use bulkhead_proto::wire::quarantine::Entry;
use bulkhead_tests::event_id::EventId;
use std::collections::{HashMap, HashSet};

/// The start of the detail of an entry of an isolated series.
const ISOLATED: &str = "the series is isolated: ";

pub(super) fn check(records: &Records, deploys: &Deploys<'_>) -> Vec<Check> {
    vec![
        judgements(records, deploys),
        quarantined(records, deploys),
        released(records, deploys),
        answers(records),
    ]
}

/// A wrong program is parked once, and not started again until the right one is put back. A program that fails at one
/// series has this series isolated instead.
fn judgements(records: &Records, deploys: &Deploys<'_>) -> Check {
    let mut check = Check::of("bad deploys, each parked once or with its failing series isolated");
    for log in &deploys.0 {
        let lines = || records.log[log.wrong.clone()].iter();
        let own = |event| move |line: &&LogLine| line.is(event) && deploys.of_line(line).is_some();
        let isolated: Vec<_> = lines().filter(own("series_isolated")).collect();
        let braked = lines().filter(own("worker_braked")).count();
        let ok = match &log.deploy.series {
            Some(series) => {
                let names =
                    |line: &LogLine| line.text("message").contains(&format!("{series:?} is isolated"));
                braked == 0 && isolated.len() == 1 && isolated.iter().all(|line| names(line))
            }
            None => isolated.is_empty() && braked == 1 && starts_nothing_after_the_brake(records, log),
        };
        check.expect(ok, || {
            format!("{:?} was braked {braked} times, and isolated {isolated:?}", log.deploy.program)
        });
    }
    let (found, recorded, planned) = (deploys.0.len(), records.deploys.len(), records.run.deploys);
    check.expect(found == planned && recorded == planned, || {
        format!("{recorded} of {planned} bad deploys were made, and {found} were logged")
    });
    let in_deploy = |index| deploys.0.iter().any(|log| log.whole.contains(&index));
    for (index, line) in records.log.iter().enumerate() {
        if ["worker_braked", "series_isolated", "events_released"].iter().any(|event| line.is(event)) {
            check.expect(in_deploy(index), || format!("no bad deploy explains {}", line.fields));
        }
    }
    check
}

fn starts_nothing_after_the_brake(records: &Records, log: &DeployLog<'_>) -> bool {
    let lines = || records.log[log.wrong.clone()].iter();
    let mut after = lines().skip_while(|line| !line.is("worker_braked"));
    !after.any(|line| line.is_event_of("worker_started", "analytics"))
}

/// The quarantined events are few enough, were sent, and are of the failing series if only one fails.
fn quarantined(records: &Records, deploys: &Deploys<'_>) -> Check {
    let mut check = Check::of("events quarantined by bad deploys: no more than allowed, each as it was sent");
    let mut sent: HashMap<u64, (EventId, String)> = HashMap::new();
    for request in records.requests.iter().filter(|request| request.poisons.is_empty()) {
        if let Some(first) = request.answer.first_seq() {
            sent.extend((first..).zip(request.ids().map(|id| (id, request.id()))));
        }
    }
    for log in &deploys.0 {
        let Deploy { program, quarantined, series, .. } = log.deploy;
        let most = program.max_quarantined().unwrap_or(usize::MAX);
        check.expect(quarantined.len() <= most, || {
            format!("{program:?} had {} events quarantined", quarantined.len())
        });
        for entry in quarantined {
            let of_series = |id: &EventId| series.as_ref().is_none_or(|series| *series == id.series());
            let ok = sent.get(&entry.seq.0).is_some_and(|(id, request)| {
                holds(entry, *id, request) && of_series(id) && died_in(entry, log)
            });
            check.expect(ok, || format!("{entry:?}"));
        }
    }
    check
}

/// Whether an entry holds this event, as it was sent.
fn holds(entry: &Entry, id: EventId, request: &str) -> bool {
    entry.event.as_ref().is_some_and(|event| {
        event.series == id.series()
            && event.value == Some(id.value() as f64)
            && event.request_id.as_deref() == Some(request)
            && event.label.is_none()
            && event.data.is_none()
    })
}

/// Whether the wrong program failed at the event, or its series was isolated.
fn died_in(entry: &Entry, log: &DeployLog<'_>) -> bool {
    let isolated = entry.attempts == 0;
    isolated == entry.detail.starts_with(ISOLATED)
        && !(isolated && log.deploy.program.is_parked())
        && log.generations.contains(&entry.generation.0)
}

/// Each event that failed was stored. Those that were not skipped were released, and the log says how many. At least one
/// event of an isolated series was stored without a death.
fn released(records: &Records, deploys: &Deploys<'_>) -> Check {
    let mut check = Check::of("bad deploys whose failed events are skipped or released, and logged");
    for log in &deploys.0 {
        let lines = || records.log[log.wrong.clone()].iter();
        let failed = lines().filter(|line| line.is("event_quarantined") && deploys.of_line(line).is_some());
        let failed: HashSet<u64> = failed.filter_map(|line| line.number("seq")).collect();
        let of_deaths = |entry: &&Entry| entry.attempts > 0;
        let kept = log.deploy.quarantined.iter().filter(of_deaths).map(|entry| entry.seq.0);
        let kept: HashSet<u64> = kept.collect();
        let count = |line: &LogLine| line.text("message").split_once(' ')?.0.parse::<usize>().ok();
        // A program that is put back at once waits for the release.
        let released = records.log[log.whole.clone()].iter().filter(|line| line.is("events_released"));
        let released: Option<Vec<usize>> = released.map(count).collect();
        let expected = failed.difference(&kept).count();
        let agrees = released
            .as_ref()
            .is_some_and(|counts| counts.len() <= 1 && counts.iter().sum::<usize>() == expected);
        let isolated = log.deploy.quarantined.len() - kept.len();
        let ok = kept.is_subset(&failed) && agrees && (isolated > 0) != log.deploy.program.is_parked();
        check.expect(ok, || {
            format!(
                "{:?}: {failed:?} failed, {kept:?} were kept and {isolated} isolated; the log says {released:?}",
                log.deploy.program
            )
        });
    }
    check
}

/// Until the events are replayed, each request of the clients gets its answer, and there are some.
fn answers(records: &Records) -> Check {
    let mut check = Check::of("requests and reads during bad deploys, each answered");
    for deploy in &records.deploys {
        let during = |at: u64| (deploy.at..deploy.replay.1).contains(&at);
        let requests = || records.requests.iter().filter(|request| during(request.at));
        let reads = || records.reads.iter().filter(|read| during(read.at + read.late));
        for request in requests() {
            let answered = matches!(request.answer, Answer::Accepted(..) | Answer::Full);
            check.expect(answered, || format!("{request:?}"));
        }
        for read in reads() {
            let answered = !matches!(read.got, ReadResult::Lost(_) | ReadResult::Wrong(_));
            check.expect(answered, || format!("{read:?}"));
        }
        let some = requests().any(|request| request.answer.first_seq().is_some()) && reads().next().is_some();
        check.expect(some, || format!("no client was served during {:?}", deploy.program));
    }
    check
}
