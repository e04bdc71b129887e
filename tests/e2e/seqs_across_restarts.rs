//! Seqs of events and ids of crash reports across runs, and the quarantine entries of earlier runs.

use crate::common::{FAULTS_ENABLED, FAULTS_WITHOUT_BRAKE};
use bulkhead_tests::{Bulkhead, Fixture, Stopped, process::Signal};
use std::fs;

/// More events than the recovery hints can list at once.
const MORE_THAN_HINTS: usize = 20;

const POISON: &str = r#"{"series":"__fault.panic","value":1}"#;
const GOOD: &str = r#"{"series":"good","value":1}"#;

/// Posts these events. Returns the seq of the first one.
fn post(bulkhead: &Bulkhead, events: &[&str]) -> u64 {
    let response = bulkhead.client().post_events(&format!("[{}]", events.join(","))).unwrap();
    assert_eq!(response.status, 202, "{response:?}");
    response.json()["first_seq"].as_u64().unwrap()
}

fn assert_clean_stop(stopped: Stopped) -> Fixture {
    assert!(stopped.status.success(), "{}", stopped.log.dump());
    stopped.fixture
}

/// The number of analysed events and the number of quarantined events.
fn counts(bulkhead: &Bulkhead) -> (u64, u64) {
    let stats = bulkhead.wait_until_committed();
    (stats["analysed"].as_u64().unwrap(), stats["quarantined"].as_u64().unwrap())
}

#[test]
fn poison_events_after_a_seq_gap_are_quarantined() {
    let bulkhead = Fixture::new(FAULTS_WITHOUT_BRAKE).start();
    let old = post(&bulkhead, &[POISON; MORE_THAN_HINTS]);
    assert_eq!(counts(&bulkhead), (0, MORE_THAN_HINTS as u64));
    let bulkhead = bulkhead.stop(Signal::SIGKILL).fixture.start();
    post(&bulkhead, &[POISON, GOOD]);
    assert_eq!(counts(&bulkhead), (1, 1));
    let listed = bulkhead.client().all_items("/v1/quarantine");
    assert_eq!(listed.len(), MORE_THAN_HINTS + 1, "{listed:?}");
    assert_eq!(listed[0]["seq"], old, "{listed:?}");
}

#[test]
fn after_a_seq_gap_earlier_quarantine_entries_can_be_replayed_and_dropped() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    let old = post(&bulkhead, &[POISON; 2]);
    bulkhead.wait_until_committed();
    let bulkhead = bulkhead.stop(Signal::SIGKILL).fixture.start();
    let dropped = bulkhead.client().delete(&format!("/v1/quarantine/{old}")).unwrap();
    assert_eq!(dropped.status, 200, "{dropped:?}");
    let path = format!("/v1/quarantine/{}/replay", old + 1);
    let replayed = bulkhead.client().post(&path, "application/json", "").unwrap();
    assert_eq!(replayed.status, 202, "{replayed:?}");
    assert_eq!(counts(&bulkhead), (0, 1));
}

#[test]
fn after_lost_high_water_marks_a_new_event_is_not_mistaken_for_a_quarantined_one() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    let old = post(&bulkhead, &[POISON]);
    bulkhead.wait_until_committed();
    let fixture = assert_clean_stop(bulkhead.stop(Signal::SIGTERM));
    for lost in ["marks", "snapshot"] {
        fs::remove_file(fixture.path("state").join(lost)).unwrap();
    }
    let bulkhead = fixture.start();
    let output = bulkhead.cli(&["stop", "analytics"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let new = post(&bulkhead, &[GOOD]);
    assert!(new > old, "{new}");
    let bulkhead = assert_clean_stop(bulkhead.stop(Signal::SIGTERM)).start();
    assert_eq!(counts(&bulkhead), (1, 0));
}

#[test]
fn a_pending_event_is_applied_if_another_event_is_quarantined_with_its_seq() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    let old = post(&bulkhead, &[POISON]);
    bulkhead.wait_until_committed();
    assert_eq!(bulkhead.cli(&["stop", "analytics"]).code, Some(0));
    let new = post(&bulkhead, &[GOOD]);
    let fixture = assert_clean_stop(bulkhead.stop(Signal::SIGTERM));
    let file = |seq: u64| fixture.path("state").join(format!("quarantine/{seq}.json"));
    let text = fs::read_to_string(file(old)).unwrap();
    let text = text.replace(&format!("\"seq\": {old},"), &format!("\"seq\": {new},"));
    fs::write(file(new), text).unwrap();
    let bulkhead = fixture.start();
    bulkhead
        .log()
        .from_start()
        .wait_for("the line about the entry", |line| line.raw().contains("applying the pending event"));
    assert_eq!(counts(&bulkhead), (1, 1));
}

#[test]
fn a_failed_start_loses_no_saved_state() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    post(&bulkhead, &[GOOD]);
    let fixture = assert_clean_stop(bulkhead.stop(Signal::SIGTERM));
    let folder = fixture.path("state").join("quarantine");
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    let output = fixture.run_to_exit();
    assert!(output.stderr.contains("quarantine"), "{output:?}");
    fs::remove_file(&folder).unwrap();
    let bulkhead = fixture.start();
    assert_eq!(counts(&bulkhead), (1, 0));
    let lost = bulkhead.log().matching(|line| line.is("state_lost") || line.is("seq_gap"));
    assert!(lost.is_empty(), "{}", bulkhead.log().dump());
}

#[test]
fn files_with_unassigned_numbers_are_logged_and_ignored() {
    let mut fixture = Fixture::new(FAULTS_ENABLED);
    for folder in ["crashes", "quarantine"] {
        let folder = fixture.path("state").join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{}.json", 1_u64 << 62)), "{}").unwrap();
    }
    for run in 1..=2 {
        let bulkhead = fixture.start();
        let unassigned = bulkhead.log().matching(|line| line.raw().contains("this number was never used"));
        assert_eq!(unassigned.len(), 2, "{}", bulkhead.log().dump());
        assert_eq!(post(&bulkhead, &[GOOD]), run);
        fixture = assert_clean_stop(bulkhead.stop(Signal::SIGTERM));
    }
}
