//! The checker finds each error that is planted in valid records.

mod attempts;
mod deploy_fixture;
mod deploys;
mod fault_commands;
mod fault_fixture;
mod fixture;
mod quarantine;
mod replays;

use crate::records::{Answer, Kill, LogLine, ReadResult, Records, Request, Stats};
use fixture::{expect_finding, findings_after, index, line_mut, start_lines};
use serde_json::json;

#[test]
fn valid_records_yield_no_finding() {
    assert_eq!(findings_after(|_| {}), Vec::<&str>::new());
    let lost_not_accepted = |records: &mut Records| {
        records.series.truncate(10);
        (records.run.stats.accepted, records.run.stats.analysed) = (10, 10);
    };
    assert_eq!(
        findings_after(lost_not_accepted),
        Vec::<&str>::new(),
        "the events of a lost request need not be accepted"
    );
}

#[test]
fn a_lost_event_a_doubled_event_and_a_partial_batch_are_found() {
    expect_finding("events answered 2xx", |records| drop(records.series.remove(3)));
    expect_finding("series whose count and sum", |records| records.series[3].count = 2);
    expect_finding("series whose count and sum", |records| {
        (records.series[3].count, records.series[3].sum) = (2, Some(2));
    });
    expect_finding("series whose count and sum", |records| records.series[3].sum = None);
    expect_finding("requests whose answer was lost", |records| drop(records.series.pop()));
    expect_finding("series without unexpected", |records| {
        (records.series[3].count, records.series[3].sum) = (2, Some(3));
    });
    expect_finding("requests answered 202", |records| drop(records.requests.pop()));
    expect_finding("requests answered 202", |records| {
        records.requests[0].answer = Answer::Wrong("500".into());
    });
}

/// The request whose answer was lost has a key, and was accepted when it was sent again or before.
fn with_repeat(records: &mut Records) {
    let lost = &mut records.requests[2];
    let again = Request { at: 125, answer: Answer::Accepted(11, 15), ..lost.clone() };
    lost.answer = Answer::Retried("broken".into());
    records.requests.push(again);
}

#[test]
fn a_repeated_request_that_is_counted_partly_twice_or_not_at_all_is_found() {
    assert_eq!(findings_after(with_repeat), Vec::<&str>::new());
    expect_finding("requests with a key", |records| {
        with_repeat(records);
        records.series.pop();
    });
    expect_finding("totals", |records| {
        with_repeat(records);
        records.run.stats.accepted = 20;
    });
    expect_finding("requests answered 202", |records| {
        with_repeat(records);
        records.requests.pop();
    });
}

#[test]
fn seqs_that_are_assigned_twice_or_never_are_found() {
    expect_finding("seqs in answers", |records| records.requests[1].answer = Answer::Accepted(1, 9));
    expect_finding("seqs in answers", |records| {
        records.requests[2].answer = Answer::Accepted(10, 14);
    });
    expect_finding("totals", |records| records.requests[1].answer = Answer::Accepted(7, 16));
    expect_finding("totals", |records| records.run.stats.pending = 1);
}

#[test]
fn deaths_without_a_cause_and_kills_without_a_death_are_found() {
    expect_finding("kills", |records| drop(records.kills.pop()));
    expect_finding("kills", |records| drop(records.log.remove(index(records, "worker_died", 2))));
    expect_finding("kills", |records| line_mut(records, "worker_died", 2)["detail"] = "SIGSEGV".into());
    expect_finding("kills", |records| line_mut(records, "worker_died", 2)["detail"] = "SIGKILLED".into());
    expect_finding("kills", |records| {
        records.run.kills = 2;
        records.kills.push(Kill { generation: 4, ..records.kills[1].clone() });
    });
    expect_finding("kills", |records| {
        line_mut(records, "worker_died", 4)["detail"] = "restart; exit code 0".into();
    });
    expect_finding("kills", |records| drop(records.log.remove(records.log.len() - 3)));
    expect_finding("broken connections", |records| records.requests[2].at = 500);
    expect_finding("broken connections", |records| records.reads[3].at = 10);
    expect_finding("a clean shutdown", |records| records.run.left_processes.push("1".into()));
}

#[test]
fn generations_that_never_die_die_twice_or_share_a_crash_number_are_found() {
    expect_finding("generations", |records| drop(records.log.pop()));
    expect_finding("generations", |records| drop(records.log.remove(index(records, "worker_died", 2))));
    expect_finding("generations", |records| drop(records.log.remove(index(records, "worker_started", 4))));
    expect_finding("generations", |records| records.log.extend(start_lines(905, "analytics", 4)));
    expect_finding("generations", |records| {
        records.log.push(records.log[index(records, "worker_died", 2)].clone());
    });
    expect_finding("generations", |records| line_mut(records, "worker_died", 2)["crash"] = 1.into());
}

#[test]
fn a_generation_number_used_by_two_workers_is_found() {
    expect_finding("generations", |records| {
        let second =
            |line: &&mut LogLine| line.text("worker") == "api" && line.number("generation") == Some(3);
        records.log.iter_mut().filter(second).for_each(|line| line.fields["generation"] = 4.into());
    });
}

#[test]
fn two_active_generations_and_an_event_in_flight_in_an_inactive_one_are_found() {
    expect_finding("generations", |records| {
        let line = records.log.remove(index(records, "worker_died", 2));
        records.log.insert(index(records, "worker_activated", 4) + 1, line);
    });
    expect_finding("generations", |records| {
        line_mut(records, "worker_died", 2)["seq"] = 11.into();
        records.log.remove(index(records, "worker_activated", 2));
    });
    expect_finding("generations", |records| {
        line_mut(records, "worker_activated", 4)["generation"] = 9.into();
    });
}

/// Valid records with one more log line.
fn with_line(level: &'static str, fields: serde_json::Value) -> impl FnOnce(&mut Records) {
    move |records| {
        let mut line = fields;
        line["level"] = level.into();
        records.log.insert(3, LogLine { at: 50, fields: line });
    }
}

#[test]
fn unexplained_alarms_and_errors_in_the_log_are_found() {
    for alarm in ["worker_parked", "state_lost", "seq_gap", "quarantine_failed", "crash_report_failed"] {
        expect_finding("log lines", with_line("WARN", json!({ "event_name": alarm })));
    }
    expect_finding("log lines", with_line("ERROR", json!({ "message": "cannot publish the new state" })));
    expect_finding("log lines", with_line("ERROR", json!({ "event_name": "supervisor_stopped" })));
    expect_finding("log lines", |records| {
        records
            .log
            .push(LogLine { at: 50, fields: "thread 'main' panicked at supervisor/src/main.rs:1:1".into() });
    });
    let panic_line = |worker: &str, what: &str| {
        with_line(
            "ERROR",
            json!({ "worker": worker, "stream": "stderr", "message": format!("panicked at {what}") }),
        )
    };
    expect_finding("log lines", panic_line("api", "src/x.rs:1:2: index out of bounds"));
    expect_finding("log lines", panic_line("api", "proto/src/worker/fault.rs:1:2: injected fault: panic"));
    expect_finding("log lines", panic_line("analytics", "src/x.rs:1:2: index out of bounds"));
    let asked = panic_line("analytics", "proto/src/worker/fault.rs:1:2: injected fault: panic");
    assert_eq!(findings_after(asked), Vec::<&str>::new());
    assert_eq!(
        findings_after(with_line("WARN", json!({ "event_name": "worker_examined" }))),
        Vec::<&str>::new()
    );
}

#[test]
fn reads_of_states_that_never_existed_are_found() {
    expect_finding("reads answered", |records| records.reads.swap(0, 2));
    expect_finding("reads answered", |records| records.reads[0].got = ReadResult::Wrong("500".into()));
    let stats =
        |accepted, pending| ReadResult::Stats(Stats { accepted, analysed: 4, quarantined: 0, pending });
    expect_finding("stats read", |records| records.reads[1].got = stats(10, 5));
    expect_finding("stats read", |records| records.reads[1].got = stats(9, 5));
    expect_finding("stats read", |records| records.reads[1].got = stats(11, 7));
    expect_finding("series read", |records| {
        let ReadResult::Series(series) = &mut records.reads[2].got else {
            panic!("a read of series was expected")
        };
        (series[0].count, series[0].sum) = (1, Some(2));
    });
}
