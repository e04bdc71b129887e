//! The checker finds what is planted.

mod charges;
mod commands;
mod faults;
mod fixture;
mod poison;

use crate::records::{Answer, Got, Kill, Records, Request, Stats, Told};
use fixture::{born, finds, found, line, place};
use serde_json::json;

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
    finds("kills", |records| drop(records.story.remove(place(records, "worker_died", 2))));
    finds("kills", |records| line(records, "worker_died", 2)["detail"] = "SIGSEGV".into());
    finds("kills", |records| line(records, "worker_died", 2)["detail"] = "SIGKILLED".into());
    finds("kills", |records| {
        records.run.kills = 2;
        records.kills.push(Kill { generation: 4, ..records.kills[1].clone() });
    });
    finds("kills", |records| line(records, "worker_died", 4)["detail"] = "restart; exit code 0".into());
    finds("kills", |records| drop(records.story.remove(records.story.len() - 3)));
    finds("broken connections", |records| records.requests[2].at = 500);
    finds("broken connections", |records| records.reads[3].at = 10);
    finds("an orderly end", |records| records.run.left.push("1".into()));
}

#[test]
fn generations_that_die_never_twice_or_under_the_number_of_another_are_found() {
    finds("generations", |records| drop(records.story.pop()));
    finds("generations", |records| drop(records.story.remove(place(records, "worker_died", 2))));
    finds("generations", |records| drop(records.story.remove(place(records, "worker_started", 4))));
    finds("generations", |records| records.story.extend(born(905, "analytics", 4)));
    finds("generations", |records| {
        records.story.push(records.story[place(records, "worker_died", 2)].clone());
    });
    finds("generations", |records| line(records, "worker_died", 2)["crash"] = 1.into());
}

#[test]
fn a_number_that_generations_of_two_workers_have_is_found() {
    finds("generations", |records| {
        let second = |told: &&mut Told| told.text("worker") == "api" && told.number("generation") == Some(3);
        records.story.iter_mut().filter(second).for_each(|told| told.line["generation"] = 4.into());
    });
}

#[test]
fn two_at_work_at_once_and_an_event_in_the_hand_of_one_that_is_not_are_found() {
    finds("generations", |records| {
        let told = records.story.remove(place(records, "worker_died", 2));
        records.story.insert(place(records, "worker_activated", 4) + 1, told);
    });
    finds("generations", |records| {
        line(records, "worker_died", 2)["seq"] = 11.into();
        records.story.remove(place(records, "worker_activated", 2));
    });
    finds("generations", |records| line(records, "worker_activated", 4)["generation"] = 9.into());
}

/// Sound records with one more line, of this level and with these fields.
fn says(level: &'static str, fields: serde_json::Value) -> impl FnOnce(&mut Records) {
    move |records| {
        let mut line = fields;
        line["level"] = level.into();
        records.story.insert(3, Told { at: 50, line });
    }
}

#[test]
fn lines_that_nothing_excuses_are_found() {
    for alarm in ["worker_parked", "state_lost", "seq_gap", "quarantine_failed", "crash_report_failed"] {
        finds("lines of the log", says("WARN", json!({ "event_name": alarm })));
    }
    finds("lines of the log", says("ERROR", json!({ "message": "the boards do not take the new state" })));
    finds("lines of the log", says("ERROR", json!({ "event_name": "supervisor_stopped" })));
    finds("lines of the log", |records| {
        records
            .story
            .push(Told { at: 50, line: "thread 'main' panicked at supervisor/src/main.rs:1:1".into() });
    });
    let panics = |worker: &str, what: &str| {
        says(
            "ERROR",
            json!({ "worker": worker, "stream": "stderr", "message": format!("panicked at {what}") }),
        )
    };
    finds("lines of the log", panics("api", "src/x.rs:1:2: index out of bounds"));
    finds("lines of the log", panics("api", "proto/src/worker/fault.rs:1:2: injected fault: panic"));
    finds("lines of the log", panics("analytics", "src/x.rs:1:2: index out of bounds"));
    let asked = panics("analytics", "proto/src/worker/fault.rs:1:2: injected fault: panic");
    assert_eq!(found(asked), Vec::<&str>::new());
    assert_eq!(found(says("WARN", json!({ "event_name": "worker_examined" }))), Vec::<&str>::new());
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
