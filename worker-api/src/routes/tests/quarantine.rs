//! `/v1/quarantine` with real shared memory and a real directory. The test acts as the supervisor.

use crate::tests::fixture::{ApiFixture, TestResponse};
use axum::body::Body;
use bulkhead_proto::{
    wire::{
        cause::{Cause, Operation},
        control::{FromWorker, Request, RequestOutcome},
        event::{Event, Input, MAX_DATA, Removal},
        ids::{CrashId, Generation, Seq},
        quarantine::{Entry, EventView, MAX_EXCERPT},
        record_store::file_name,
        time::arrival_ms,
    },
    worker::pipe::Received,
};
use serde_json::json;
use std::fs;

/// Quarantines an event with these bytes, as the supervisor does.
fn quarantine(fixture: &ApiFixture, seq: u64, bytes: &[u8]) {
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
        event: EventView::decode_excerpt(bytes),
        bytes: Entry::hex(bytes),
    };
    let text = serde_json::to_string(&entry).unwrap();
    fs::write(fixture.quarantine_dir.path().join(file_name(Seq(seq))), text).unwrap();
}

/// A fixture in which event 1 is quarantined and skipped.
async fn with_one_quarantined() -> ApiFixture {
    let mut fixture = ApiFixture::new();
    assert_eq!(fixture.post_json(r#"{"series":"s","value":1}"#).await.status, 202);
    fixture.commit(&[]);
    let (label, data) = (Some("x"), Some("[1]"));
    let event = Event {
        series: "s",
        value: Some(0.1),
        ts_ms: 5,
        arrived_ms: 6,
        label,
        data,
        request_id: Some("first"),
    };
    let mut bytes = Vec::new();
    event.encode(&mut bytes).unwrap();
    quarantine(&fixture, 1, &bytes);
    fixture
}

/// Replays event 1. The supervisor answers the request to drop the old one with `outcome`.
async fn replay(fixture: &ApiFixture, outcome: RequestOutcome) -> TestResponse {
    let supervisor = async {
        loop {
            match fixture.sent_frames.recv().unwrap() {
                Received::Frame(FromWorker::Request { id, request }) => {
                    assert_eq!(
                        request,
                        Request::RemoveQuarantined { seq: Seq(1), replayed_as: Some(Seq(2)) }
                    );
                    return fixture.supervisor_client.complete(id, outcome);
                }
                Received::Frame(other) => panic!("{other:?}"),
                Received::Empty | Received::Closed => tokio::task::yield_now().await,
            }
        }
    };
    tokio::join!(fixture.post("/v1/quarantine/1/replay", "", Body::empty()), supervisor).0
}

#[tokio::test]
async fn a_replay_is_a_new_event_that_names_the_old_one() {
    let fixture = with_one_quarantined().await;
    let response = replay(&fixture, RequestOutcome::Done).await;
    assert_eq!((response.status, response.json()), (202, json!({ "replayed": 1, "seq": 2 })));
    assert_eq!(fixture.pending().0, ["s 0.1 x replay-of-1"]);
}

#[tokio::test]
async fn a_removal_is_replayed_as_one() {
    let fixture = with_one_quarantined().await;
    let removal = Removal { series: "s", arrived_ms: 6, request_id: Some("first") };
    let mut bytes = Vec::new();
    removal.encode(&mut bytes).unwrap();
    quarantine(&fixture, 1, &bytes);
    assert_eq!(replay(&fixture, RequestOutcome::Done).await.json()["seq"], 2);
    assert_eq!(fixture.pending().0, ["remove s replay-of-1"]);
}

#[tokio::test]
async fn a_replayed_event_arrives_at_the_time_of_the_replay_and_keeps_its_own_time() {
    let fixture = with_one_quarantined().await;
    let before = arrival_ms();
    assert_eq!(replay(&fixture, RequestOutcome::Done).await.status, 202);
    let mut times = Vec::new();
    fixture.read_pending(|input| match input {
        Input::Event(event) => times.push((event.ts_ms, event.arrived_ms)),
        Input::Removal(removal) => panic!("{removal:?}"),
    });
    assert!(matches!(times[..], [(5, arrived)] if arrived >= before), "{times:?}, replayed at {before}");
}

#[tokio::test]
async fn an_interrupted_replay_that_is_repeated_appends_the_event_once() {
    let fixture = with_one_quarantined().await;
    assert_eq!(replay(&fixture, RequestOutcome::Conflict("the disk is full".into())).await.status, 409);
    assert_eq!(replay(&fixture, RequestOutcome::Done).await.json()["seq"], 2);
    assert_eq!(fixture.pending().0.len(), 1);
}

#[tokio::test]
async fn a_client_cannot_use_the_key_of_a_replay() {
    let fixture = with_one_quarantined().await;
    let request = axum::extract::Request::post("/v1/events").header("content-type", "application/json");
    let request = request.header("idempotency-key", "__replay-of-1");
    let response = fixture.send(request.body(Body::from(r#"{"series":"s","value":1}"#)).unwrap()).await;
    assert_eq!(response.status, 400, "{}", response.text);
    assert!(response.text.contains("does not start with __"), "{}", response.text);
}

#[tokio::test]
async fn a_record_that_is_not_an_event_can_be_shown_but_not_replayed() {
    let fixture = with_one_quarantined().await;
    quarantine(&fixture, 1, b"noise");
    let response = fixture.post("/v1/quarantine/1/replay", "", Body::empty()).await;
    assert_eq!(response.status, 409);
    assert!(response.text.contains("only be dropped"), "{}", response.text);
    assert_eq!(fixture.get("/v1/quarantine/1").await.json()["bytes"], Entry::hex(b"noise"));
}

#[tokio::test]
async fn an_event_whose_skip_is_not_committed_is_not_replayed() {
    let fixture = with_one_quarantined().await;
    assert_eq!(fixture.post_json(r#"{"series":"s","value":2}"#).await.status, 202);
    quarantine(&fixture, 2, b"");
    let response = fixture.post("/v1/quarantine/2/replay", "", Body::empty()).await;
    assert_eq!(response.status, 409);
    assert!(response.text.contains("not skipped yet"), "{}", response.text);
}

#[tokio::test]
async fn the_quarantine_is_listed_in_pages() {
    let fixture = with_one_quarantined().await;
    for seq in [20, 3, 100] {
        quarantine(&fixture, seq, b"");
    }
    let mut seen = Vec::new();
    let mut after = json!(0);
    while !after.is_null() {
        let page = fixture.get(&format!("/v1/quarantine?limit=2&after={after}")).await.json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 2 && items.iter().all(|item| item.get("bytes").is_none()), "{page}");
        seen.extend(items.iter().filter_map(|item| item["seq"].as_u64()));
        after = page["next"].clone();
    }
    assert_eq!(seen, [1, 3, 20, 100]);
    assert_eq!(fixture.get("/v1/quarantine?limit=101").await.status, 400);
}

#[tokio::test]
async fn an_unreadable_file_affects_its_own_record_only() {
    let fixture = with_one_quarantined().await;
    fs::write(fixture.quarantine_dir.path().join("5.json"), "{").unwrap();
    assert_eq!(fixture.get("/v1/quarantine").await.json()["items"].as_array().unwrap().len(), 1);
    assert_eq!(fixture.get("/v1/quarantine/5").await.status, 503);
}

#[tokio::test]
async fn a_large_event_is_listed_with_an_excerpt_shown_completely_and_replayed_if_the_ring_takes_it() {
    let fixture = with_one_quarantined().await;
    let data = format!("\"{}\"", "\u{e9}".repeat(MAX_DATA / 2 - 1));
    let mut bytes = Vec::new();
    Event::without_value("s", &data).encode(&mut bytes).unwrap();
    quarantine(&fixture, 1, &bytes);
    let listed = &fixture.get("/v1/quarantine").await.json()["items"][0]["event"];
    assert_eq!(listed["data"].as_str().unwrap(), &data[..MAX_EXCERPT - 1]);
    assert_eq!((&listed["data_bytes"], listed.get("value")), (&json!(data.len()), None));
    let shown = fixture.get("/v1/quarantine/1").await.json();
    assert_eq!(shown["event"]["data"].as_str().unwrap(), data);
    assert_eq!(shown["event"].get("data_bytes"), None);
    // The ring of the fixture is too small for it.
    let refused = fixture.post("/v1/quarantine/1/replay", "", Body::empty()).await;
    assert_eq!(
        (refused.status, &refused.json()["type"]),
        (413, &json!("urn:bulkhead:problem:batch-too-large"))
    );
    let data = data.get(..MAX_DATA / 4 + 1).unwrap().to_owned() + "\"";
    bytes.clear();
    Event::without_value("s", &data).encode(&mut bytes).unwrap();
    quarantine(&fixture, 1, &bytes);
    assert_eq!(replay(&fixture, RequestOutcome::Done).await.json()["seq"], 2);
    fixture.read_pending(|input| assert!(matches!(input, Input::Event(event) if event.data == Some(&data))));
}
