//! What operators may do with events that were set aside: by command and by HTTP.

use crate::FAULTS;
use bulkhead_tests::{
    Bulkhead, Home,
    gate::Gate,
    http::{Answer, Failure},
    ids::Counted,
    killer::Killer,
    log::Line,
    process::Signal,
};
use fastrand::Rng;
use serde_json::Value;
use std::{thread, time::Duration};

/// How many events are replayed while the API is killed, and how often it is.
const REPLAYS: usize = 24;
const KILLS: usize = 8;

/// Posts an event that panics each time, and waits until it is set aside and skipped; its number.
fn set_aside(bulkhead: &Bulkhead) -> u64 {
    let answer =
        bulkhead.client().post_events(r#"{"series":"__fault.panic","value":7.25,"label":"x"}"#).unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
    bulkhead.settled();
    answer.json()["first_seq"].as_u64().unwrap()
}

fn said(bulkhead: &Bulkhead, arguments: &[&str], code: i32) -> String {
    let said = bulkhead.say(&[&["quarantine"], arguments].concat());
    assert_eq!(said.code, Some(code), "{said:?}");
    said.out + &said.err
}

fn listed(bulkhead: &Bulkhead) -> Vec<u64> {
    let list = bulkhead.client().json("/v1/quarantine");
    list["items"].as_array().unwrap().iter().filter_map(|item| item["seq"].as_u64()).collect()
}

fn assert_problem(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.header("content-type").starts_with("application/problem+json"), "{answer:?}");
}

/// The second one of two is set aside again, for it kills again.
fn assert_replayed(bulkhead: &Bulkhead, old: u64, told: &Line) -> u64 {
    let new = told.number("replayed_as").unwrap();
    assert!(new > old, "{}", told.raw());
    let stats = bulkhead.settled();
    assert_eq!((&stats["accepted"], &stats["quarantined"]), (&2.into(), &2.into()), "{stats}");
    assert_eq!(listed(bulkhead), [new]);
    let entry = bulkhead.client().json(&format!("/v1/quarantine/{new}"));
    assert_eq!(entry["event"]["request_id"], format!("replay-of-{old}"), "{entry}");
    assert_eq!((&entry["event"]["value"], &entry["event"]["label"]), (&7.25.into(), &"x".into()), "{entry}");
    new
}

#[test]
fn an_event_is_listed_and_shown_by_command_and_by_http() {
    let bulkhead = Home::new(FAULTS).start();
    assert_eq!(said(&bulkhead, &["list"], 0).trim(), "no quarantined events");
    let seq = set_aside(&bulkhead);
    let number = seq.to_string();
    let list = said(&bulkhead, &["list"], 0);
    assert!(list.starts_with(&number) && list.contains("__fault.panic"), "{list}");
    let shown = said(&bulkhead, &["show", &number], 0);
    assert!(shown.contains("after 2 deaths") && shown.contains("value 7.25"), "{shown}");

    let by_command: Value = serde_json::from_str(&said(&bulkhead, &["show", &number, "--json"], 0)).unwrap();
    assert_eq!(by_command, bulkhead.client().json(&format!("/v1/quarantine/{seq}")));
    let by_command: Value = serde_json::from_str(&said(&bulkhead, &["list", "--json"], 0)).unwrap();
    assert_eq!(by_command, bulkhead.client().json("/v1/quarantine"));
    assert_eq!(by_command["items"][0]["attempts"], 2, "{by_command}");
}

#[test]
fn an_event_is_replayed_once_by_command_and_then_it_is_another() {
    let bulkhead = Home::new(FAULTS).start();
    let seq = set_aside(&bulkhead);
    let mut story = bulkhead.log().from_now();
    let text = said(&bulkhead, &["replay", &seq.to_string()], 0);
    assert!(text.contains("once more"), "{text}");
    let told = story.wait_for("the replay", |line| line.is("event_replayed"));
    assert_replayed(&bulkhead, seq, &told);
    said(&bulkhead, &["replay", &seq.to_string()], 1);
}

#[test]
fn an_event_is_replayed_once_by_http_and_then_it_is_another() {
    let bulkhead = Home::new(FAULTS).start();
    let seq = set_aside(&bulkhead);
    let mut story = bulkhead.log().from_now();
    let replay = || {
        let path = format!("/v1/quarantine/{seq}/replay");
        bulkhead.client().post(&path, "application/json", "").unwrap()
    };
    let answer = replay();
    assert_eq!(answer.status, 202, "{answer:?}");
    let told = story.wait_for("the replay", |line| line.is("event_replayed"));
    let new = assert_replayed(&bulkhead, seq, &told);
    assert_eq!(answer.json()["seq"], new, "{answer:?}");
    assert_problem(&replay(), 404);
}

#[test]
fn an_event_is_dropped_for_good_and_counts_as_quarantined_for_ever() {
    let bulkhead = Home::new(FAULTS).start();
    let seq = set_aside(&bulkhead).to_string();
    said(&bulkhead, &["drop", &seq], 0);
    assert_eq!(listed(&bulkhead), [0; 0]);
    assert!(said(&bulkhead, &["drop", &seq], 1).contains("not set aside"));
    assert!(said(&bulkhead, &["show", &seq], 1).contains("not set aside"));
    bulkhead.log().from_start().wait_for("the drop", |line| line.is("event_dropped"));

    let bulkhead = bulkhead.stop(Signal::SIGTERM).home.start();
    let stats = bulkhead.settled();
    assert_eq!((&stats["accepted"], &stats["quarantined"]), (&1.into(), &1.into()), "{stats}");
}

#[test]
fn an_unknown_event_is_not_found() {
    let bulkhead = Home::new("").start();
    let client = bulkhead.client();
    assert_problem(&client.get("/v1/quarantine/99").unwrap(), 404);
    assert_problem(&client.post("/v1/quarantine/99/replay", "application/json", "").unwrap(), 404);
    assert_problem(&client.delete("/v1/quarantine/99").unwrap(), 404);
    assert_problem(&client.get("/v1/quarantine/x").unwrap(), 400);
    assert_problem(&client.get("/v1/quarantine?limit=0").unwrap(), 400);
    for what in ["show", "replay", "drop"] {
        assert!(said(&bulkhead, &[what, "99"], 1).contains("not set aside"), "{what}");
    }
}

#[test]
fn an_event_is_dropped_by_http() {
    let bulkhead = Home::new(FAULTS).start();
    let seq = set_aside(&bulkhead);
    let answer = bulkhead.client().delete(&format!("/v1/quarantine/{seq}")).unwrap();
    assert_eq!((answer.status, &answer.json()["dropped"]), (200, &seq.into()), "{answer:?}");
    assert_eq!(listed(&bulkhead), [0; 0]);
}

#[test]
fn a_replay_while_no_api_works_is_refused_and_changes_nothing() {
    let bulkhead = Home::new(FAULTS).start();
    let seq = set_aside(&bulkhead);
    assert_eq!(bulkhead.say(&["stop", "api"]).code, Some(0));
    assert!(said(&bulkhead, &["replay", &seq.to_string()], 1).contains("no API"));
    assert_eq!(bulkhead.say(&["start", "api"]).code, Some(0));
    assert_eq!(listed(&bulkhead), [seq]);
}

/// Replays an event until that is done, whoever dies meanwhile.
fn replay_in_the_end(bulkhead: &Bulkhead, seq: u64) {
    let path = format!("/v1/quarantine/{seq}/replay");
    loop {
        match bulkhead.client().post(&path, "application/json", "") {
            // Done, or it had been done, and the answer was lost.
            Ok(Answer { status: 202 | 404, .. }) => return,
            Ok(Answer { status: 409 | 503, .. }) | Err(Failure::Broken(_)) => {
                bulkhead.log().pause(Duration::from_millis(10));
            }
            other => panic!("replay of {seq}: {other:?}"),
        }
    }
}

#[test]
fn events_that_are_replayed_while_the_api_is_killed_are_appended_once_each() {
    let bulkhead = Home::new(FAULTS).start();
    let event = |at| format!(r#"{{"series":"__fault.panic","value":{}}}"#, 1_u64 << at);
    let events: Vec<String> = (0..REPLAYS).map(event).collect();
    assert_eq!(bulkhead.client().post_events(&format!("[{}]", events.join(","))).unwrap().status, 202);
    assert_eq!(bulkhead.settled()["quarantined"], REPLAYS);
    // From now on they are ordinary events, of which a series tells which ones it has counted.
    bulkhead.home().configure("");
    let said = bulkhead.say(&["reload"]);
    assert_eq!(said.code, Some(0), "{said:?}");

    let mut rng = Rng::with_seed(6);
    let (seqs, gate) = (listed(&bulkhead), Gate::new(REPLAYS, KILLS, &mut rng));
    thread::scope(|scope| {
        let (bulkhead, gate) = (&bulkhead, &gate);
        scope.spawn(move || {
            for seq in seqs {
                gate.begin(1);
                replay_in_the_end(bulkhead, seq);
                gate.done(1);
            }
        });
        let mut killer = Killer::new(bulkhead, "api", rng.fork());
        gate.each_due(0..KILLS, |_| killer.strike());
    });

    bulkhead.settled();
    assert_eq!(listed(&bulkhead), [0; 0]);
    let counted = Counted::of(&bulkhead.client().json("/v1/series/__fault.panic"));
    assert!(counted.is_set() && counted.sum == Some((1 << REPLAYS) - 1), "{counted:?}");
}

#[test]
fn an_event_that_was_never_set_aside_cannot_be_dropped_though_it_is_pending() {
    let bulkhead = Home::new(FAULTS).start();
    assert_eq!(bulkhead.say(&["stop", "analytics"]).code, Some(0));
    let answer = bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap();
    let seq = answer.json()["first_seq"].as_u64().unwrap();
    assert_problem(&bulkhead.client().delete(&format!("/v1/quarantine/{seq}")).unwrap(), 404);
    assert!(said(&bulkhead, &["drop", &seq.to_string()], 1).contains("not set aside"));
}

#[test]
fn of_a_replay_and_a_drop_at_once_the_answers_say_what_was_done() {
    let bulkhead = Home::new(FAULTS).start();
    let events = vec![r#"{"series":"__fault.exit","value":1}"#; REPLAYS].join(",");
    let answer = bulkhead.client().post_events(&format!("[{events}]")).unwrap();
    let first = answer.json()["first_seq"].as_u64().unwrap();
    bulkhead.settled();
    assert_eq!(bulkhead.say(&["stop", "analytics"]).code, Some(0));
    let mut replayed = 0;
    for seq in (first..).take(REPLAYS) {
        let (client, path) = (bulkhead.client(), format!("/v1/quarantine/{seq}"));
        let dropping = thread::spawn(move || client.delete(&path).unwrap().status);
        let path = format!("/v1/quarantine/{seq}/replay");
        let replay = bulkhead.client().post(&path, "application/json", "").unwrap().status;
        let drop = dropping.join().unwrap();
        assert!(matches!(replay, 202 | 404) && matches!(drop, 200 | 404), "{replay} {drop}");
        assert!(replay == 202 || drop == 200, "one of them has done it");
        replayed += u64::from(replay == 202);
    }
    let stats = bulkhead.client().json("/v1/stats");
    assert_eq!(stats["accepted"], REPLAYS as u64 + replayed, "{stats}");
}
