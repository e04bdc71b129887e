//! The checker finds what is planted.

use super::*;
use crate::{
    plan::Kind,
    records::{Answer, Got, Kill, Order, Poison, Read, Request, Run, Stats, Told},
};
use bulkhead_proto::words::FaultKind;
use bulkhead_tests::ids::{Counted, EventId};
use serde_json::json;
use std::collections::BTreeMap;

/// Ten events accepted, five of unknown fate that are counted, one read of each kind, one kill of each worker.
fn sound() -> Records {
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
    let told = |at, event: &str, worker: &str, generation: u64| Told {
        at,
        line: json!({
            "event_name": event, "worker": worker, "generation": generation,
            "cause": "signal", "detail": "SIGKILL",
        }),
    };
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for number in 0..15 {
        let id = EventId { writer: 0, number };
        *sums.entry(id.series()).or_default() += id.value();
    }
    let series: Vec<Counted> =
        sums.into_iter().map(|(series, sum)| Counted { series, count: 1, sum: Some(sum) }).collect();
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
        story: vec![
            told(106, "worker_died", "api", 1),
            told(107, "worker_died", "analytics", 2),
            told(120, "worker_activated", "api", 3),
        ],
        series,
    }
}

/// What is found wrong after a change of sound records.
fn found(plant: impl FnOnce(&mut Records)) -> Vec<&'static str> {
    let mut records = sound();
    plant(&mut records);
    all(&records).into_iter().filter(|check| check.wrong > 0).map(|check| check.what).collect()
}

#[track_caller]
fn finds(what: &str, plant: impl FnOnce(&mut Records)) {
    let found = found(plant);
    assert!(found.iter().any(|check| check.starts_with(what)), "{what:?} is not among {found:?}");
}

#[test]
fn nothing_is_found_in_sound_records() {
    assert_eq!(found(|_| {}), Vec::<&str>::new());
    let nothing_of_the_lost = |records: &mut Records| {
        records.series.truncate(10);
        (records.run.stats.accepted, records.run.stats.analysed) = (10, 10);
    };
    assert_eq!(found(nothing_of_the_lost), Vec::<&str>::new(), "what was lost may not have been accepted");
}

#[test]
fn a_lost_a_doubled_and_a_torn_event_are_found() {
    finds("events answered 2xx", |records| drop(records.series.remove(3)));
    finds("series whose count and sum", |records| records.series[3].count = 2);
    finds("series whose count and sum", |records| {
        (records.series[3].count, records.series[3].sum) = (2, Some(2));
    });
    finds("series whose count and sum", |records| records.series[3].sum = None);
    finds("requests whose answer was lost", |records| drop(records.series.pop()));
    finds("series that count nothing else", |records| {
        (records.series[3].count, records.series[3].sum) = (2, Some(3));
    });
    finds("requests answered 202", |records| drop(records.requests.pop()));
    finds("requests answered 202", |records| records.requests[0].answer = Answer::Wrong("500".into()));
}

/// The request whose answer was lost has a key, and was accepted before or behind that.
fn sent_again(records: &mut Records) {
    let lost = &mut records.requests[2];
    let again = Request { at: 125, answer: Answer::Accepted(11, 15), ..lost.clone() };
    lost.answer = Answer::Retried("broken".into());
    records.requests.push(again);
}

#[test]
fn a_request_that_was_sent_again_and_counted_torn_twice_or_not_at_all_is_found() {
    assert_eq!(found(sent_again), Vec::<&str>::new());
    finds("requests with a key", |records| {
        sent_again(records);
        records.series.pop();
    });
    finds("totals", |records| {
        sent_again(records);
        records.run.stats.accepted = 20;
    });
    finds("requests answered 202", |records| {
        sent_again(records);
        records.requests.pop();
    });
}

#[test]
fn seqs_that_are_given_twice_or_never_are_found() {
    finds("seqs of answers", |records| records.requests[1].answer = Answer::Accepted(1, 9));
    finds("seqs of answers", |records| {
        records.requests[2].answer = Answer::Accepted(10, 14);
    });
    finds("totals", |records| records.requests[1].answer = Answer::Accepted(7, 16));
    finds("totals", |records| records.run.stats.pending = 1);
}

#[test]
fn deaths_that_nobody_caused_and_kills_without_a_death_are_found() {
    finds("kills", |records| drop(records.kills.pop()));
    finds("kills", |records| drop(records.story.remove(1)));
    finds("kills", |records| records.story[1].line["detail"] = "SIGSEGV".into());
    finds("lines of the log", |records| records.story[2].line["event_name"] = "state_lost".into());
    finds("broken connections", |records| records.requests[2].at = 500);
    finds("broken connections", |records| records.reads[3].at = 10);
    finds("an orderly end", |records| records.run.left.push("1".into()));
}

/// A poison event comes behind the others of the request that was answered; it took a life, and another was commanded.
fn poisoned(records: &mut Records) {
    let poison = Poison { before: EventId { writer: 0, number: 10 }, kind: FaultKind::Segv };
    let entry = json!({
        "seq": 11, "at": "", "worker": "analytics", "generation": 5, "crash": 3, "cause": "signal", "detail": "SIGSEGV",
        "during": "apply", "attempts": 2,
        "event": { "series": "__fault.segv", "value": 1.0, "ts": "", "arrived": "", "label": poison.label() },
    });
    records.set_aside.push(serde_json::from_value(entry).unwrap());
    (records.run.poisons, records.run.orders) = (1, 1);
    (records.run.stats.accepted, records.run.stats.quarantined) = (16, 1);
    records.requests[1].poisons.push(poison);
    records.requests[1].answer = Answer::Accepted(1, 11);
    records.reads[1].got = Got::Stats(Stats { accepted: 11, analysed: 4, quarantined: 0, pending: 7 });
    records.orders.push(Order { at: 300, kind: FaultKind::Abort, obeyed: true });
    for (generation, cause, detail) in
        [(5, "signal", "SIGSEGV"), (6, "signal", "SIGSEGV"), (7, "requested", "fault abort: SIGABRT")]
    {
        let line = json!({
            "event_name": "worker_died", "worker": "analytics", "generation": generation, "seq": 11,
            "cause": cause, "detail": detail,
        });
        records.story.push(Told { at: 300, line });
    }
}

#[test]
fn poison_that_is_not_set_aside_and_others_that_are_are_found() {
    assert_eq!(found(poisoned), Vec::<&str>::new());
    let finds = |what: &str, plant: fn(&mut Records)| {
        finds(what, |records| {
            poisoned(records);
            plant(records);
        });
    };
    finds("poison events answered 2xx", |records| records.set_aside.clear());
    finds("poison events answered 2xx", |records| records.run.poisons = 2);
    finds("events set aside", |records| records.set_aside.push(records.set_aside[0].clone()));
    finds("events set aside", |records| records.set_aside[0].detail = "SIGBUS".into());
    finds("events set aside", |records| records.set_aside[0].event.as_mut().unwrap().label = None);
    finds("events set aside", |records| records.requests[1].poisons.clear());
    finds("totals", |records| records.run.stats.quarantined = 0);
    finds("poison events that took", |records| records.story.push(records.story[3].clone()));
    finds("kills", |records| records.story[3].line["seq"] = 10.into());
    finds("kills", |records| records.story[3].line["cause"] = "exit".into());
    finds("kills", |records| records.story[5].line["detail"] = "fault segv: SIGSEGV".into());
    finds("kills", |records| records.orders.clear());
}

#[test]
fn readers_that_saw_what_never_was_are_found() {
    finds("reads answered", |records| records.reads.swap(0, 2));
    finds("reads answered", |records| records.reads[0].got = Got::Wrong("500".into()));
    let stats = |accepted, pending| Got::Stats(Stats { accepted, analysed: 4, quarantined: 0, pending });
    finds("stats read", |records| records.reads[1].got = stats(10, 5));
    finds("stats read", |records| records.reads[1].got = stats(9, 5));
    finds("stats read", |records| records.reads[1].got = stats(11, 7));
    finds("series read", |records| {
        let Got::Series(found) = &mut records.reads[2].got else { panic!("a read of series was expected") };
        (found[0].count, found[0].sum) = (1, Some(2));
    });
}
