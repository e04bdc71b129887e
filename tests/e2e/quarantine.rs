//! What operators may do with events that were set aside: by command and by HTTP.

use crate::FAULTS;
use bulkhead_tests::{Bulkhead, Home, http::Answer, log::Line, process::Signal};
use serde_json::Value;

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
    assert_eq!(said(&bulkhead, &["list"], 0).trim(), "no event is set aside");
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
