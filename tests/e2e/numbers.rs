//! Numbers of events and reports across runs, and what earlier runs have set aside.

use crate::FAULTS;
use bulkhead_tests::{Bulkhead, Home, Stopped, process::Signal};
use std::fs;

/// More than an analysis can be told to skip at once.
const MANY: usize = 20;

const POISON: &str = r#"{"series":"__fault.panic","value":1}"#;
const GOOD: &str = r#"{"series":"good","value":1}"#;

/// Posts these events; the number of the first one.
fn post(bulkhead: &Bulkhead, events: &[&str]) -> u64 {
    let answer = bulkhead.client().post_events(&format!("[{}]", events.join(","))).unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["first_seq"].as_u64().unwrap()
}

fn in_order(stopped: Stopped) -> Home {
    assert!(stopped.status.success(), "{}", stopped.log.dump());
    stopped.home
}

/// How many are analysed, and how many set aside.
fn counts(bulkhead: &Bulkhead) -> (u64, u64) {
    let stats = bulkhead.settled();
    (stats["analysed"].as_u64().unwrap(), stats["quarantined"].as_u64().unwrap())
}

#[test]
fn behind_a_gap_of_numbers_events_that_kill_are_set_aside_as_ever() {
    let bulkhead = Home::new(FAULTS).start();
    let old = post(&bulkhead, &[POISON; MANY]);
    assert_eq!(counts(&bulkhead), (0, MANY as u64));
    let bulkhead = bulkhead.stop(Signal::SIGKILL).home.start();
    post(&bulkhead, &[POISON, GOOD]);
    assert_eq!(counts(&bulkhead), (1, 1));
    let listed = bulkhead.client().items("/v1/quarantine");
    assert_eq!(listed.len(), MANY + 1, "{listed:?}");
    assert_eq!(listed[0]["seq"], old, "{listed:?}");
}

#[test]
fn behind_a_gap_of_numbers_what_was_set_aside_before_can_be_replayed_and_dropped_at_once() {
    let bulkhead = Home::new(FAULTS).start();
    let old = post(&bulkhead, &[POISON; 2]);
    bulkhead.settled();
    let bulkhead = bulkhead.stop(Signal::SIGKILL).home.start();
    let dropped = bulkhead.client().delete(&format!("/v1/quarantine/{old}")).unwrap();
    assert_eq!(dropped.status, 200, "{dropped:?}");
    let path = format!("/v1/quarantine/{}/replay", old + 1);
    let replayed = bulkhead.client().post(&path, "application/json", "").unwrap();
    assert_eq!(replayed.status, 202, "{replayed:?}");
    assert_eq!(counts(&bulkhead), (0, 1));
}

#[test]
fn an_event_is_not_taken_for_one_that_was_set_aside_before_the_marks_were_lost() {
    let bulkhead = Home::new(FAULTS).start();
    let old = post(&bulkhead, &[POISON]);
    bulkhead.settled();
    let home = in_order(bulkhead.stop(Signal::SIGTERM));
    for lost in ["marks", "snapshot"] {
        fs::remove_file(home.path("state").join(lost)).unwrap();
    }
    let bulkhead = home.start();
    let said = bulkhead.say(&["stop", "analytics"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let new = post(&bulkhead, &[GOOD]);
    assert!(new > old, "{new}");
    let bulkhead = in_order(bulkhead.stop(Signal::SIGTERM)).start();
    assert_eq!(counts(&bulkhead), (1, 0));
}

#[test]
fn a_pending_event_is_applied_if_another_one_is_set_aside_by_its_number() {
    let bulkhead = Home::new(FAULTS).start();
    let old = post(&bulkhead, &[POISON]);
    bulkhead.settled();
    assert_eq!(bulkhead.say(&["stop", "analytics"]).code, Some(0));
    let new = post(&bulkhead, &[GOOD]);
    let home = in_order(bulkhead.stop(Signal::SIGTERM));
    let file = |seq: u64| home.path("state").join(format!("quarantine/{seq}.json"));
    let text = fs::read_to_string(file(old)).unwrap();
    let text = text.replace(&format!("\"seq\": {old},"), &format!("\"seq\": {new},"));
    fs::write(file(new), text).unwrap();
    let bulkhead = home.start();
    bulkhead.log().from_start().wait_for("a word on it", |line| line.raw().contains("it is applied"));
    assert_eq!(counts(&bulkhead), (1, 1));
}

#[test]
fn a_start_that_fails_costs_the_stop_before_it_nothing() {
    let bulkhead = Home::new(FAULTS).start();
    post(&bulkhead, &[GOOD]);
    let home = in_order(bulkhead.stop(Signal::SIGTERM));
    let folder = home.path("state").join("quarantine");
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    let said = home.run_in_vain();
    assert!(said.err.contains("quarantine"), "{said:?}");
    fs::remove_file(&folder).unwrap();
    let bulkhead = home.start();
    assert_eq!(counts(&bulkhead), (1, 0));
    let lost = bulkhead.log().all(|line| line.is("state_lost") || line.is("seq_gap"));
    assert!(lost.is_empty(), "{}", bulkhead.log().dump());
}

#[test]
fn files_whose_numbers_were_never_given_out_are_told_of_and_change_nothing() {
    let mut home = Home::new(FAULTS);
    for folder in ["crashes", "quarantine"] {
        let folder = home.path("state").join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{}.json", 1_u64 << 62)), "{}").unwrap();
    }
    for run in 1..=2 {
        let bulkhead = home.start();
        let strange = bulkhead.log().all(|line| line.raw().contains("no such number"));
        assert_eq!(strange.len(), 2, "{}", bulkhead.log().dump());
        assert_eq!(post(&bulkhead, &[GOOD]), run);
        home = in_order(bulkhead.stop(Signal::SIGTERM));
    }
}
