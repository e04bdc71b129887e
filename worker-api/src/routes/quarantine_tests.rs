//! `/v1/quarantine` over real memory and a real folder; the supervisor is played by the test.

use crate::testing::{Answer, Rig};
use axum::body::Body;
use bulkhead_proto::{
    wire::{
        cause::{Cause, Operation},
        control::{FromWorker, Request, RequestOutcome},
        event::Event,
        ids::{CrashId, Generation, Seq},
        quarantine::Entry,
        record_store::file_name,
    },
    worker::pipe::Received,
};
use serde_json::json;
use std::fs;

/// Sets an event aside as the supervisor does, with these bytes.
fn set_aside(rig: &Rig, seq: u64, bytes: &[u8]) {
    let entry = Entry {
        seq: Seq(seq),
        at: "2026-11-22T20:00:00Z".into(),
        worker: "analytics".into(),
        generation: Generation(3),
        crash: CrashId(2),
        cause: Cause::Signal,
        detail: "SIGSEGV".into(),
        during: Operation::Apply,
        attempts: 2,
        event: None,
        bytes: Entry::hex(bytes),
    };
    let text = serde_json::to_string(&entry).unwrap();
    fs::write(rig.folder.path().join(file_name(Seq(seq))), text).unwrap();
}

/// A service in which event 1 was set aside and skipped.
async fn with_one_set_aside() -> Rig {
    let mut rig = Rig::new();
    assert_eq!(rig.post_json(r#"{"series":"s","value":1}"#).await.status, 202);
    rig.commit(&[]);
    let (label, data) = (Some("x"), Some("[1]"));
    let event =
        Event { series: "s", value: 0.1, ts_ms: 5, arrived_ms: 6, label, data, request_id: Some("first") };
    let mut bytes = Vec::new();
    event.encode(&mut bytes).unwrap();
    set_aside(&rig, 1, &bytes);
    rig
}

/// Replays event 1, the supervisor answering so to the removal of the old one.
async fn replay(rig: &Rig, outcome: RequestOutcome) -> Answer {
    let supervisor = async {
        loop {
            match rig.said.recv().unwrap() {
                Received::Frame(FromWorker::Request { id, request }) => {
                    assert_eq!(
                        request,
                        Request::RemoveQuarantined { seq: Seq(1), replayed_as: Some(Seq(2)) }
                    );
                    return rig.desk.answer(id, outcome);
                }
                Received::Frame(other) => panic!("{other:?}"),
                Received::Empty | Received::Closed => tokio::task::yield_now().await,
            }
        }
    };
    tokio::join!(rig.post("/v1/quarantine/1/replay", "", Body::empty()), supervisor).0
}

#[tokio::test]
async fn a_replay_is_a_new_event_that_names_the_old_one() {
    let rig = with_one_set_aside().await;
    let answer = replay(&rig, RequestOutcome::Done).await;
    assert_eq!((answer.status, answer.json()), (202, json!({ "replayed": 1, "seq": 2 })));
    assert_eq!(rig.pending().0, ["s 0.1 x replay-of-1"]);
}

#[tokio::test]
async fn a_replay_that_was_interrupted_and_is_done_again_appends_nothing_more() {
    let rig = with_one_set_aside().await;
    assert_eq!(replay(&rig, RequestOutcome::Conflict("the disk is full".into())).await.status, 409);
    assert_eq!(replay(&rig, RequestOutcome::Done).await.json()["seq"], 2);
    assert_eq!(rig.pending().0.len(), 1);
}

#[tokio::test]
async fn no_client_can_take_the_key_of_a_replay() {
    let rig = with_one_set_aside().await;
    let request = axum::extract::Request::post("/v1/events").header("content-type", "application/json");
    let request = request.header("idempotency-key", "__replay-of-1");
    let answer = rig.send(request.body(Body::from(r#"{"series":"s","value":1}"#)).unwrap()).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert!(answer.text.contains("not beginning with __"), "{}", answer.text);
}

#[tokio::test]
async fn what_is_no_event_can_be_looked_at_but_not_replayed() {
    let rig = with_one_set_aside().await;
    set_aside(&rig, 1, b"noise");
    let answer = rig.post("/v1/quarantine/1/replay", "", Body::empty()).await;
    assert_eq!(answer.status, 409);
    assert!(answer.text.contains("only be dropped"), "{}", answer.text);
    assert_eq!(rig.get("/v1/quarantine/1").await.json()["bytes"], Entry::hex(b"noise"));
}

#[tokio::test]
async fn an_event_whose_skip_is_not_committed_is_not_replayed_yet() {
    let rig = with_one_set_aside().await;
    assert_eq!(rig.post_json(r#"{"series":"s","value":2}"#).await.status, 202);
    set_aside(&rig, 2, b"");
    let answer = rig.post("/v1/quarantine/2/replay", "", Body::empty()).await;
    assert_eq!(answer.status, 409);
    assert!(answer.text.contains("not skipped yet"), "{}", answer.text);
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let rig = with_one_set_aside().await;
    for seq in [20, 3, 100] {
        set_aside(&rig, seq, b"");
    }
    let mut seen = Vec::new();
    let mut after = json!(0);
    while !after.is_null() {
        let page = rig.get(&format!("/v1/quarantine?limit=2&after={after}")).await.json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2 && items.iter().all(|item| item.get("bytes").is_none()), "{page}");
        seen.extend(items.iter().filter_map(|item| item["seq"].as_u64()));
        after = page["next"].clone();
    }
    assert_eq!(seen, [1, 3, 20, 100]);
    assert_eq!(rig.get("/v1/quarantine?limit=101").await.status, 400);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_costs_its_own_place_alone() {
    let rig = with_one_set_aside().await;
    fs::write(rig.folder.path().join("5.json"), "{").unwrap();
    assert_eq!(rig.get("/v1/quarantine").await.json()["items"].as_array().unwrap().len(), 1);
    assert_eq!(rig.get("/v1/quarantine/5").await.status, 503);
}

#[cfg(feature = "mutants")]
#[test]
fn every_planted_fault_is_found_by_a_test() {
    let tests: &[fn()] = &[
        a_replay_is_a_new_event_that_names_the_old_one,
        a_replay_that_was_interrupted_and_is_done_again_appends_nothing_more,
        an_event_whose_skip_is_not_committed_is_not_replayed_yet,
    ];
    assert_eq!(crate::mutant::Mutant::survivors(tests), []);
}
