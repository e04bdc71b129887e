//! What operators can do with quarantined events, by command and by HTTP.

use crate::common::{FAULTS_ENABLED, FAULTS_WITHOUT_BRAKE};
use bulkhead_tests::{
    Bulkhead, Fixture,
    event_id::SeriesTotals,
    http::{RequestError, Response},
    injection_pacer::InjectionPacer,
    log::Line,
    process::Signal,
    worker_killer::WorkerKiller,
};
use fastrand::Rng;
use serde_json::Value;
use std::{thread, time::Duration};

/// Replays while the API is killed, and kills of the API.
const REPLAYS: usize = 24;
const KILLS: usize = 8;

/// Posts an event that panics each time, and waits until it is quarantined and skipped. Returns its seq.
fn quarantine_one_event(bulkhead: &Bulkhead) -> u64 {
    let response =
        bulkhead.client().post_events(r#"{"series":"__fault.panic","value":7.25,"label":"x"}"#).unwrap();
    assert_eq!(response.status, 202, "{response:?}");
    bulkhead.wait_until_committed();
    response.json()["first_seq"].as_u64().unwrap()
}

fn quarantine_cli(bulkhead: &Bulkhead, arguments: &[&str], code: i32) -> String {
    let output = bulkhead.cli(&[&["quarantine"], arguments].concat());
    assert_eq!(output.code, Some(code), "{output:?}");
    output.stdout + &output.stderr
}

fn listed_seqs(bulkhead: &Bulkhead) -> Vec<u64> {
    let list = bulkhead.client().get_json("/v1/quarantine");
    list["items"].as_array().unwrap().iter().filter_map(|item| item["seq"].as_u64()).collect()
}

fn assert_problem(response: &Response, status: u16) {
    assert_eq!(response.status, status, "{response:?}");
    assert!(response.header("content-type").starts_with("application/problem+json"), "{response:?}");
}

/// Checks that the replayed event was quarantined again with a new seq, since it kills the analysis again.
/// Returns that seq.
fn assert_replayed(bulkhead: &Bulkhead, old: u64, replayed: &Line) -> u64 {
    let new = replayed.number("replayed_as").unwrap();
    assert!(new > old, "{}", replayed.raw());
    let stats = bulkhead.wait_until_committed();
    assert_eq!((&stats["accepted"], &stats["quarantined"]), (&2.into(), &2.into()), "{stats}");
    assert_eq!(listed_seqs(bulkhead), [new]);
    let entry = bulkhead.client().get_json(&format!("/v1/quarantine/{new}"));
    assert_eq!(entry["event"]["request_id"], format!("replay-of-{old}"), "{entry}");
    assert_eq!((&entry["event"]["value"], &entry["event"]["label"]), (&7.25.into(), &"x".into()), "{entry}");
    new
}

#[test]
fn a_quarantined_event_is_listed_and_shown_by_command_and_by_http() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    assert_eq!(quarantine_cli(&bulkhead, &["list"], 0).trim(), "no quarantined events");
    let seq = quarantine_one_event(&bulkhead);
    let number = seq.to_string();
    let list = quarantine_cli(&bulkhead, &["list"], 0);
    assert!(list.starts_with(&number) && list.contains("__fault.panic"), "{list}");
    let shown = quarantine_cli(&bulkhead, &["show", &number], 0);
    assert!(shown.contains("after 2 deaths") && shown.contains("value 7.25"), "{shown}");

    let by_command: Value =
        serde_json::from_str(&quarantine_cli(&bulkhead, &["show", &number, "--json"], 0)).unwrap();
    assert_eq!(by_command, bulkhead.client().get_json(&format!("/v1/quarantine/{seq}")));
    let by_command: Value = serde_json::from_str(&quarantine_cli(&bulkhead, &["list", "--json"], 0)).unwrap();
    assert_eq!(by_command, bulkhead.client().get_json("/v1/quarantine"));
    assert_eq!(by_command["items"][0]["attempts"], 2, "{by_command}");
}

#[test]
fn a_replay_by_command_appends_the_event_once_with_a_new_seq() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    let seq = quarantine_one_event(&bulkhead);
    let mut log = bulkhead.log().from_now();
    let text = quarantine_cli(&bulkhead, &["replay", &seq.to_string()], 0);
    assert!(text.contains("replayed as event"), "{text}");
    let replayed = log.wait_for("the replay", |line| line.is("event_replayed"));
    assert_replayed(&bulkhead, seq, &replayed);
    quarantine_cli(&bulkhead, &["replay", &seq.to_string()], 1);
}

#[test]
fn a_replay_by_http_appends_the_event_once_with_a_new_seq() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    let seq = quarantine_one_event(&bulkhead);
    let mut log = bulkhead.log().from_now();
    let replay = || {
        let path = format!("/v1/quarantine/{seq}/replay");
        bulkhead.client().post(&path, "application/json", "").unwrap()
    };
    let response = replay();
    assert_eq!(response.status, 202, "{response:?}");
    let replayed = log.wait_for("the replay", |line| line.is("event_replayed"));
    let new = assert_replayed(&bulkhead, seq, &replayed);
    assert_eq!(response.json()["seq"], new, "{response:?}");
    assert_problem(&replay(), 404);
}

#[test]
fn a_dropped_event_is_gone_but_still_counts_as_quarantined() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    let seq = quarantine_one_event(&bulkhead).to_string();
    quarantine_cli(&bulkhead, &["drop", &seq], 0);
    assert_eq!(listed_seqs(&bulkhead), [0; 0]);
    assert!(quarantine_cli(&bulkhead, &["drop", &seq], 1).contains("not in quarantine"));
    assert!(quarantine_cli(&bulkhead, &["show", &seq], 1).contains("not in quarantine"));
    bulkhead.log().from_start().wait_for("the drop", |line| line.is("event_dropped"));

    let bulkhead = bulkhead.stop(Signal::SIGTERM).fixture.start();
    let stats = bulkhead.wait_until_committed();
    assert_eq!((&stats["accepted"], &stats["quarantined"]), (&1.into(), &1.into()), "{stats}");
}

#[test]
fn an_event_that_is_not_quarantined_is_not_found() {
    let bulkhead = Fixture::new("").start();
    let client = bulkhead.client();
    assert_problem(&client.get("/v1/quarantine/99").unwrap(), 404);
    assert_problem(&client.post("/v1/quarantine/99/replay", "application/json", "").unwrap(), 404);
    assert_problem(&client.delete("/v1/quarantine/99").unwrap(), 404);
    assert_problem(&client.get("/v1/quarantine/x").unwrap(), 400);
    assert_problem(&client.get("/v1/quarantine?limit=0").unwrap(), 400);
    for what in ["show", "replay", "drop"] {
        assert!(quarantine_cli(&bulkhead, &[what, "99"], 1).contains("not in quarantine"), "{what}");
    }
}

#[test]
fn a_quarantined_event_can_be_dropped_by_http() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    let seq = quarantine_one_event(&bulkhead);
    let response = bulkhead.client().delete(&format!("/v1/quarantine/{seq}")).unwrap();
    assert_eq!((response.status, &response.json()["dropped"]), (200, &seq.into()), "{response:?}");
    assert_eq!(listed_seqs(&bulkhead), [0; 0]);
}

#[test]
fn a_replay_without_an_api_is_refused_and_changes_nothing() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    let seq = quarantine_one_event(&bulkhead);
    assert_eq!(bulkhead.cli(&["stop", "api"]).code, Some(0));
    assert!(quarantine_cli(&bulkhead, &["replay", &seq.to_string()], 1).contains("no API"));
    assert_eq!(bulkhead.cli(&["start", "api"]).code, Some(0));
    assert_eq!(listed_seqs(&bulkhead), [seq]);
}

/// Sends a replay until it is done, even if the API dies in between.
fn replay_until_done(bulkhead: &Bulkhead, seq: u64) {
    let path = format!("/v1/quarantine/{seq}/replay");
    loop {
        match bulkhead.client().post(&path, "application/json", "") {
            // The replay is done, now or by an earlier request whose response was lost.
            Ok(Response { status: 202 | 404, .. }) => return,
            Ok(Response { status: 409 | 503, .. }) | Err(RequestError::Broken(_)) => {
                bulkhead.log().wait_for_change(Duration::from_millis(10));
            }
            other => panic!("replay of {seq}: {other:?}"),
        }
    }
}

#[test]
fn events_replayed_while_the_api_is_killed_are_appended_once_each() {
    let bulkhead = Fixture::new(FAULTS_WITHOUT_BRAKE).start();
    let event = |at| format!(r#"{{"series":"__fault.panic","value":{}}}"#, 1_u64 << at);
    let events: Vec<String> = (0..REPLAYS).map(event).collect();
    assert_eq!(bulkhead.client().post_events(&format!("[{}]", events.join(","))).unwrap().status, 202);
    assert_eq!(bulkhead.wait_until_committed()["quarantined"], REPLAYS);
    // With faults disabled, these are ordinary events: the sum of the series shows which of them were
    // counted.
    bulkhead.fixture().write_config("faults.enabled = false\n");
    let output = bulkhead.cli(&["reload"]);
    assert_eq!(output.code, Some(0), "{output:?}");

    let mut rng = Rng::with_seed(6);
    let (seqs, pacer) = (listed_seqs(&bulkhead), InjectionPacer::new(REPLAYS, KILLS, &mut rng));
    thread::scope(|scope| {
        let (bulkhead, pacer) = (&bulkhead, &pacer);
        scope.spawn(move || {
            for seq in seqs {
                pacer.begin_work(1);
                replay_until_done(bulkhead, seq);
                pacer.end_work(1);
            }
        });
        let mut killer = WorkerKiller::new(bulkhead, "api", rng.fork());
        pacer.inject_each(0..KILLS, |_| killer.kill_next_generation());
    });

    bulkhead.wait_until_committed();
    assert_eq!(listed_seqs(&bulkhead), [0; 0]);
    let counted = SeriesTotals::of(&bulkhead.client().get_json("/v1/series/__fault.panic"));
    assert!(counted.each_counted_once() && counted.sum == Some((1 << REPLAYS) - 1), "{counted:?}");
}

#[test]
fn a_pending_event_cannot_be_dropped() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    assert_eq!(bulkhead.cli(&["stop", "analytics"]).code, Some(0));
    let response = bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap();
    let seq = response.json()["first_seq"].as_u64().unwrap();
    assert_problem(&bulkhead.client().delete(&format!("/v1/quarantine/{seq}")).unwrap(), 404);
    assert!(quarantine_cli(&bulkhead, &["drop", &seq.to_string()], 1).contains("not in quarantine"));
}

#[test]
fn the_responses_to_a_concurrent_replay_and_drop_match_what_was_done() {
    let bulkhead = Fixture::new(FAULTS_WITHOUT_BRAKE).start();
    let events = vec![r#"{"series":"__fault.exit","value":1}"#; REPLAYS].join(",");
    let response = bulkhead.client().post_events(&format!("[{events}]")).unwrap();
    let first = response.json()["first_seq"].as_u64().unwrap();
    bulkhead.wait_until_committed();
    assert_eq!(bulkhead.cli(&["stop", "analytics"]).code, Some(0));
    let mut replayed = 0;
    for seq in (first..).take(REPLAYS) {
        let (client, path) = (bulkhead.client(), format!("/v1/quarantine/{seq}"));
        let dropping = thread::spawn(move || client.delete(&path).unwrap().status);
        let path = format!("/v1/quarantine/{seq}/replay");
        let replay = bulkhead.client().post(&path, "application/json", "").unwrap().status;
        let drop = dropping.join().unwrap();
        assert!(matches!(replay, 202 | 404) && matches!(drop, 200 | 404), "{replay} {drop}");
        assert!(replay == 202 || drop == 200, "one of the two must have succeeded");
        replayed += u64::from(replay == 202);
    }
    let stats = bulkhead.client().get_json("/v1/stats");
    assert_eq!(stats["accepted"], REPLAYS as u64 + replayed, "{stats}");
}
