//! Sound records, small enough to know them by heart, and what is found once something in them is wrong.

use crate::{
    check,
    plan::Kind,
    records::{Answer, Got, Kill, Read, Records, Request, Run, Stats, Told},
};
use bulkhead_tests::event_id::{EventId, SeriesTotals};
use serde_json::json;
use std::collections::BTreeMap;

/// A line that tells this of a generation.
pub(super) fn told(at: u64, event: &str, worker: &str, generation: u64) -> Told {
    let line = json!({ "level": "INFO", "event_name": event, "worker": worker, "generation": generation });
    Told { at, line }
}

/// A generation is started and activated.
pub(super) fn born(at: u64, worker: &str, generation: u64) -> [Told; 2] {
    ["worker_started", "worker_activated"].map(|event| told(at, event, worker, generation))
}

/// It dies, and is the crash of this number.
pub(super) fn died(at: u64, worker: &str, generation: u64, crash: u64, [cause, detail]: [&str; 2]) -> Told {
    let mut told = told(at, "worker_died", worker, generation);
    (told.line["crash"], told.line["cause"]) = (crash.into(), cause.into());
    told.line["detail"] = detail.into();
    told.line["level"] = if cause == "requested" { "INFO" } else { "ERROR" }.into();
    told
}

pub(super) const KILLED: [&str; 2] = ["signal", "SIGKILL"];

/// Each worker is killed once, and comes back.
pub(super) fn beginning() -> Vec<Told> {
    let mut story: Vec<Told> = [born(0, "api", 1), born(0, "analytics", 2)].concat();
    story.extend([died(106, "api", 1, 1, KILLED), died(107, "analytics", 2, 2, KILLED)]);
    story.extend([born(120, "api", 3), born(120, "analytics", 4)].concat());
    story
}

/// The orderly stop: behind this many crashes, and with this generation of the analysis.
pub(super) fn ending(crashes: u64, analytics: u64) -> [Told; 3] {
    let stopped = ["requested", "the supervisor is stopping; exit code 0"];
    [
        Told { at: 900, line: json!({ "level": "INFO", "event_name": "supervisor_stopping" }) },
        died(901, "api", 3, crashes + 1, stopped),
        died(902, "analytics", analytics, crashes + 2, stopped),
    ]
}

/// Where the log tells this of a generation.
pub(super) fn place(records: &Records, event: &str, generation: u64) -> usize {
    let found = |told: &Told| told.is(event) && told.number("generation") == Some(generation);
    records.story.iter().position(found).unwrap()
}

/// The line that does so.
pub(super) fn line<'a>(records: &'a mut Records, event: &str, generation: u64) -> &'a mut serde_json::Value {
    let place = place(records, event, generation);
    &mut records.story[place].line
}

/// Ten events accepted, five of unknown fate that are counted, one read of each kind, one kill of each worker.
pub(super) fn sound() -> Records {
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
            orders: 0,
            windows: vec![Kind::Quiet],
            took_us: 1_000,
            stats,
            stopped: true,
            left: Vec::new(),
        },
        requests: vec![
            request(0, 0, 10, Answer::Full),
            request(20, 0, 10, Answer::Accepted(1, 10)),
            request(100, 10, 5, Answer::Lost("broken".into())),
        ],
        reads: vec![
            read(40, Got::Absent(first.series.clone())),
            read(60, Got::Stats(early)),
            read(80, Got::Series(vec![first])),
            read(100, Got::Lost("broken".into())),
        ],
        kills: vec![kill(105, "api", 1), kill(105, "analytics", 2)],
        orders: Vec::new(),
        set_aside: Vec::new(),
        story: [beginning(), ending(2, 4).to_vec()].concat(),
        series,
    }
}

/// What is found wrong after a change of sound records.
pub(super) fn found(plant: impl FnOnce(&mut Records)) -> Vec<&'static str> {
    let mut records = sound();
    plant(&mut records);
    check::all(&records).into_iter().filter(|check| check.wrong > 0).map(|check| check.what).collect()
}

#[track_caller]
pub(super) fn finds(what: &str, plant: impl FnOnce(&mut Records)) {
    let found = found(plant);
    assert!(found.iter().any(|check| check.starts_with(what)), "{what:?} is not among {found:?}");
}
