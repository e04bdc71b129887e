//! Small valid records, and the findings after something in them is changed.

use crate::{
    check,
    plan::Kind,
    records::{Answer, Kill, LogLine, Read, ReadResult, Records, Request, Run, Stats},
};
use bulkhead_tests::event_id::{EventId, SeriesTotals};
use serde_json::json;
use std::collections::BTreeMap;

/// A log line about a generation.
pub(super) fn log_line(at: u64, event: &str, worker: &str, generation: u64) -> LogLine {
    let line = json!({ "level": "INFO", "event_name": event, "worker": worker, "generation": generation });
    LogLine { at, fields: line }
}

/// A generation is started and activated.
pub(super) fn start_lines(at: u64, worker: &str, generation: u64) -> [LogLine; 2] {
    ["worker_started", "worker_activated"].map(|event| log_line(at, event, worker, generation))
}

/// A generation dies; this is crash number `crash`.
pub(super) fn death_line(
    at: u64,
    worker: &str,
    generation: u64,
    crash: u64,
    [cause, detail]: [&str; 2],
) -> LogLine {
    let mut line = log_line(at, "worker_died", worker, generation);
    (line.fields["crash"], line.fields["cause"]) = (crash.into(), cause.into());
    line.fields["detail"] = detail.into();
    line.fields["level"] = if cause == "requested" { "INFO" } else { "ERROR" }.into();
    line
}

pub(super) const KILLED: [&str; 2] = ["signal", "SIGKILL"];

/// Each worker is killed once, and recovers.
pub(super) fn first_lines() -> Vec<LogLine> {
    let mut log: Vec<LogLine> = [start_lines(0, "api", 1), start_lines(0, "analytics", 2)].concat();
    log.extend([death_line(106, "api", 1, 1, KILLED), death_line(107, "analytics", 2, 2, KILLED)]);
    log.extend([start_lines(120, "api", 3), start_lines(120, "analytics", 4)].concat());
    log
}

/// The shutdown, after this number of crashes and with this generation of the analysis.
pub(super) fn shutdown_lines(crashes: u64, analytics: u64) -> [LogLine; 3] {
    let stopped = ["requested", "the supervisor is stopping; exit code 0"];
    [
        LogLine { at: 900, fields: json!({ "level": "INFO", "event_name": "supervisor_stopping" }) },
        death_line(901, "api", 3, crashes + 1, stopped),
        death_line(902, "analytics", analytics, crashes + 2, stopped),
    ]
}

/// The index of the log line with this event name and generation.
pub(super) fn index(records: &Records, event: &str, generation: u64) -> usize {
    let is_wanted = |line: &LogLine| line.is(event) && line.number("generation") == Some(generation);
    records.log.iter().position(is_wanted).unwrap()
}

/// The fields of that log line.
pub(super) fn line_mut<'a>(
    records: &'a mut Records,
    event: &str,
    generation: u64,
) -> &'a mut serde_json::Value {
    let index = index(records, event, generation);
    &mut records.log[index].fields
}

/// Ten accepted events, five events whose answer was lost and that were counted, one read of each kind, one
/// kill of each worker.
pub(super) fn valid_records() -> Records {
    let request = |at, first, count, answer| Request {
        at,
        took: 10,
        writer: 0,
        first,
        count,
        poisons: Vec::new(),
        answer,
    };
    let stats = Stats { accepted: 15, analysed: 15, quarantined: 0, pending: 0 };
    let early = Stats { accepted: 10, analysed: 4, quarantined: 0, pending: 6 };
    let read = |at, got| Read { at, late: 0, took: 10, reader: 0, window: Some(0), got };
    let kill = |at, worker: &str, generation| Kill { at, worker: worker.into(), generation, pid: 1 };
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for number in 0..15 {
        let id = EventId { writer: 0, number };
        *sums.entry(id.series()).or_default() += id.value();
    }
    let series: Vec<SeriesTotals> =
        sums.into_iter().map(|(series, sum)| SeriesTotals { series, count: 1, sum: Some(sum) }).collect();
    let first = series[0].clone();
    Records {
        run: Run {
            seed: 1,
            events: 15,
            kills: 1,
            api_kills: 1,
            poisons: 0,
            fault_commands: 0,
            deploys: 0,
            windows: vec![Kind::Quiet],
            took_us: 1_000,
            stats,
            stopped: true,
            left_processes: Vec::new(),
        },
        requests: vec![
            request(0, 0, 10, Answer::Full),
            request(20, 0, 10, Answer::Accepted(1, 10)),
            request(100, 10, 5, Answer::Lost("broken".into())),
        ],
        reads: vec![
            read(40, ReadResult::Absent(first.series.clone())),
            read(60, ReadResult::Stats(early)),
            read(80, ReadResult::Series(vec![first])),
            read(100, ReadResult::Lost("broken".into())),
        ],
        kills: vec![kill(105, "api", 1), kill(105, "analytics", 2)],
        fault_commands: Vec::new(),
        deploys: Vec::new(),
        quarantined: Vec::new(),
        log: [first_lines(), shutdown_lines(2, 4).to_vec()].concat(),
        series,
    }
}

/// The checks that fail after a change of valid records.
pub(super) fn findings_after(corrupt: impl FnOnce(&mut Records)) -> Vec<&'static str> {
    let mut records = valid_records();
    corrupt(&mut records);
    check::all(&records).into_iter().filter(|check| check.wrong > 0).map(|check| check.what).collect()
}

#[track_caller]
pub(super) fn expect_finding(what: &str, corrupt: impl FnOnce(&mut Records)) {
    let findings = findings_after(corrupt);
    assert!(findings.iter().any(|check| check.starts_with(what)), "{what:?} is not among {findings:?}");
}
