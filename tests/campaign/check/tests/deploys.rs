//! Bad deploys that are judged wrongly, quarantine too much or the wrong events, or harm clients; deaths and errors that they
//! do not explain.

use super::{
    deploy_fixture::{SEQS, add_deploy, expect_finding_with, last, last_mut},
    fixture::{death_line, findings_after, index, line_mut, log_line},
};
use crate::{
    deploy_schedule::{
        MAX_QUARANTINED,
        WrongProgram::{Every, Grows, Half, Series},
    },
    records::{Answer, Kill, LogLine, Read, ReadResult, Records},
};
use bulkhead_proto::wire::ids::{CrashId, Generation, Seq};
use serde_json::json;

/// The last generation of the wrong program in the fixture.
const LAST_WRONG: u64 = 9;

#[test]
fn a_wrong_program_that_is_not_parked_or_whose_series_is_not_isolated_is_found() {
    let what = "bad deploys, each parked once";
    for program in [Every, Half, Grows] {
        expect_finding_with(program, what, |records| {
            drop(records.log.remove(last(records, "worker_braked")));
        });
    }
    expect_finding_with(Every, what, |records| {
        records
            .log
            .insert(last(records, "worker_braked"), records.log[last(records, "worker_braked")].clone());
    });
    expect_finding_with(Every, what, |records| {
        last_mut(records, "worker_braked").fields["generation"] = 2.into();
    });
    // It is tried again although it is parked.
    expect_finding_with(Every, what, |records| {
        let started = log_line(330, "worker_started", "analytics", 30);
        records.log.insert(last(records, "events_released"), started);
    });
    expect_finding_with(Series, what, |records| {
        drop(records.log.remove(last(records, "series_isolated")));
    });
    expect_finding_with(Series, what, |records| {
        last_mut(records, "series_isolated").fields["message"] = "series \"w0-000-00\" is isolated".into();
    });
    expect_finding_with(Series, what, |records| {
        let mut braked = records.log[last(records, "series_isolated")].clone();
        braked.fields["event_name"] = "worker_braked".into();
        records.log.insert(last(records, "series_isolated"), braked);
    });
    expect_finding_with(Half, what, |records| {
        let mut isolated = records.log[last(records, "worker_braked")].clone();
        isolated.fields["event_name"] = "series_isolated".into();
        records.log.insert(last(records, "worker_braked"), isolated);
    });
}

#[test]
fn a_deploy_that_was_not_made_and_a_judgement_without_a_deploy_are_found() {
    let what = "bad deploys, each parked once";
    expect_finding_with(Every, what, |records| records.deploys.clear());
    expect_finding_with(Every, what, |records| records.run.deploys = 2);
    expect_finding_with(Every, what, |records| {
        records.run.deploys = 2;
        records.deploys.push(records.deploys[0].clone());
    });
    expect_finding_with(Every, what, |records| drop(records.log.remove(last(records, "reloading"))));
    for event in ["worker_braked", "series_isolated", "events_released"] {
        expect_finding_with(Every, what, |records| {
            let line = log_line(330, event, "analytics", LAST_WRONG);
            records.log.insert(0, line);
        });
    }
}

#[test]
fn too_many_quarantined_events_are_found() {
    let what = "events quarantined by bad deploys";
    for program in [Every, Grows] {
        expect_finding_with(program, what, |records| {
            let mut donor = super::fixture::valid_records();
            add_deploy(&mut donor, Half);
            records.deploys[0].quarantined = donor.deploys[0].quarantined.clone();
        });
    }
    expect_finding_with(Half, what, |records| {
        let quarantined = &mut records.deploys[0].quarantined;
        quarantined.resize(MAX_QUARANTINED + 1, quarantined[0].clone());
    });
}

#[test]
fn quarantined_events_that_were_not_sent_or_are_of_another_series_are_found() {
    let what = "events quarantined by bad deploys";
    expect_finding_with(Half, what, |records| records.deploys[0].quarantined[0].seq = Seq(SEQS[1]));
    expect_finding_with(Half, what, |records| records.deploys[0].quarantined[0].event = None);
    expect_finding_with(Half, what, |records| {
        records.deploys[0].quarantined[0].event.as_mut().unwrap().value = Some(3.0);
    });
    expect_finding_with(Half, what, |records| {
        records.deploys[0].quarantined[0].event.as_mut().unwrap().label = Some("x".into());
    });
    expect_finding_with(Half, what, |records| {
        records.deploys[0].quarantined[0].event.as_mut().unwrap().request_id = None;
    });
    expect_finding_with(Half, what, |records| records.deploys[0].quarantined[0].generation = Generation(2));
    expect_finding_with(Half, what, |records| records.deploys[0].quarantined[0].attempts = 0);
    expect_finding_with(Series, what, |records| records.deploys[0].series = Some("w0-000-00".into()));
    expect_finding_with(Series, what, |records| {
        records.deploys[0].quarantined[2].detail = "the program is wrong".into();
    });
}

#[test]
fn failed_events_that_are_neither_skipped_nor_released_are_found() {
    let what = "bad deploys whose failed events";
    for program in [Every, Half] {
        expect_finding_with(program, what, |records| {
            drop(records.log.remove(last(records, "events_released")));
        });
        expect_finding_with(program, what, |records| {
            last_mut(records, "events_released").fields["message"] = "7 events returned".into();
        });
        expect_finding_with(program, what, |records| {
            drop(records.log.remove(last(records, "event_quarantined")));
        });
    }
    expect_finding_with(Every, what, |records| {
        records.log.push(records.log[last(records, "events_released")].clone());
        let end = last(records, "reloaded");
        records.log.swap_remove(end);
    });
    // A skipped event that is not in the list, and an isolated series without events.
    expect_finding_with(Half, what, |records| records.deploys[0].quarantined.clear());
    expect_finding_with(Series, what, |records| drop(records.deploys[0].quarantined.pop()));
}

#[test]
fn clients_that_are_not_served_during_a_bad_deploy_are_found() {
    let what = "requests and reads during bad deploys";
    for answer in
        [Answer::Lost("broken".into()), Answer::Retried("broken".into()), Answer::Wrong("500".into())]
    {
        expect_finding_with(Every, what, |records| records.requests[3].answer = answer);
    }
    for got in [ReadResult::Lost("broken".into()), ReadResult::Wrong("500".into())] {
        expect_finding_with(Every, what, |records| records.reads.last_mut().unwrap().got = got);
    }
    // A read that was due before the deploy and sent late.
    expect_finding_with(Every, what, |records| {
        let read = records.reads.last_mut().unwrap();
        (read.at, read.late, read.got) = (290, 20, ReadResult::Lost("broken".into()));
        let answered = Read { at: 335, late: 0, got: ReadResult::Absent("s".into()), ..read.clone() };
        records.reads.push(answered);
    });
    expect_finding_with(Every, what, |records| drop(records.reads.pop()));
    expect_finding_with(Every, what, |records| records.requests.truncate(3));
    let full = |records: &mut Records| {
        add_deploy(records, Every);
        let refused = crate::records::Request { answer: Answer::Full, ..records.requests[3].clone() };
        records.requests.insert(3, refused);
    };
    assert_eq!(findings_after(full), Vec::<&str>::new());
}

#[test]
fn deaths_that_no_bad_deploy_explains_are_found() {
    let what = "kills";
    let last_death = |records: &Records| index(records, "worker_died", LAST_WRONG);
    for how in
        [["signal", "SIGSEGV"], ["panic", "\"index out of bounds\" at x.rs:1:2"], ["hang", "no progress"]]
    {
        for program in [Every, Half, Grows] {
            expect_finding_with(program, what, |records| {
                let line = last_death(records);
                (records.log[line].fields["cause"], records.log[line].fields["detail"]) =
                    (how[0].into(), how[1].into());
            });
        }
    }
    for how in [["exit", "exit code 1: no memory"], ["panic", "\"s does not fit its slot\" at x.rs:1:2"]] {
        expect_finding_with(Grows, what, |records| {
            let line = line_mut(records, "worker_died", LAST_WRONG);
            (line["cause"], line["detail"]) = (how[0].into(), how[1].into());
        });
    }
    // The right program fails in the same way.
    for generation in [4, 10] {
        expect_finding_with(Half, what, |records| {
            let line = line_mut(records, "worker_died", generation);
            (line["cause"], line["detail"]) = ("panic".into(), "\"the program is wrong\" at x.rs:1:2".into());
        });
    }
    // The events of other series are harmless.
    expect_finding_with(Series, what, |records| line_mut(records, "worker_died", 6)["seq"] = 3.into());
    // A program is replaced without a reload.
    expect_finding_with(Every, what, |records| {
        line_mut(records, "worker_died", 10)["detail"] = "its settings changed; exit code 0".into();
    });
    expect_finding_with(Every, what, |records| {
        let kill = Kill { at: 315, worker: "analytics".into(), generation: LAST_WRONG, pid: 1 };
        (records.run.kills, records.kills) = (2, [records.kills.clone(), vec![kill]].concat());
    });
    expect_finding_with(Every, what, |records| line_mut(records, "worker_died", 4)["worker"] = "api".into());
}

#[test]
fn a_passed_trial_is_an_explained_death_of_the_wrong_program_only() {
    let with_trial = |generation| {
        move |records: &mut Records| {
            add_deploy(records, Half);
            let line = line_mut(records, "worker_died", generation);
            (line["cause"], line["detail"]) =
                ("requested".into(), "its trial has passed; exit code 0".into());
            line["level"] = "INFO".into();
        }
    };
    assert_eq!(findings_after(with_trial(LAST_WRONG)), Vec::<&str>::new());
    assert_ne!(findings_after(with_trial(4)), Vec::<&str>::new());
}

#[test]
fn attempts_of_replayed_events_that_do_not_fit_the_deaths_are_found() {
    let what = "quarantined events: as many attempts";
    expect_finding_with(Half, what, |records| records.deploys[0].quarantined[0].attempts = 1);
    expect_finding_with(Half, what, |records| line_mut(records, "worker_died", 5)["seq"] = SEQS[2].into());
    let what = "quarantined events: the entry describes";
    expect_finding_with(Half, what, |records| records.deploys[0].quarantined[0].crash = CrashId(1));
    let what = "quarantined events: one log line";
    expect_finding_with(Half, what, |records| {
        line_mut(records, "event_quarantined", 6)["attempts"] = 9.into();
    });
    expect_finding_with(Half, what, |records| {
        line_mut(records, "event_quarantined", 6)["generation"] = 4.into();
    });
}

#[test]
fn errors_that_no_bad_deploy_explains_are_found() {
    let what = "log lines";
    let line = |worker: &str, generation: u64, message: &str| LogLine {
        at: 330,
        fields: json!({
            "level": "ERROR", "worker": worker, "generation": generation, "stream": "stderr", "message": message,
        }),
    };
    for (worker, generation, message) in [
        ("analytics", 4, "panicked at x.rs:1:2: the program is wrong"),
        ("api", LAST_WRONG, "panicked at x.rs:1:2: the program is wrong"),
        ("analytics", LAST_WRONG, "cannot open the ring"),
    ] {
        expect_finding_with(Every, what, |records| records.log.push(line(worker, generation, message)));
        expect_finding_with(Grows, what, |records| records.log.push(line(worker, generation, message)));
    }
    expect_finding_with(Every, what, |records| {
        let parked = json!({ "level": "ERROR", "event_name": "worker_parked", "worker": "analytics" });
        records.log.push(LogLine { at: 330, fields: parked });
    });
    expect_finding_with(Every, what, |records| {
        records.log.push(death_line(330, "analytics", 4, 1, ["requested", ""]));
        last_mut(records, "worker_died").fields["event_name"] = "worker_braked".into();
        last_mut(records, "worker_braked").fields["level"] = "ERROR".into();
    });
}
