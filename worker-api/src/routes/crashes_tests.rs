//! `/v1/crashes` over a real folder; the supervisor is played by the test.

use crate::testing::Rig;
use bulkhead_proto::wire::record_store::file_name;
use serde_json::{Value, json};
use std::fs;

/// Stores a report as the supervisor does.
fn report(rig: &Rig, id: u64) -> Value {
    let report = json!({
        "id": id,
        "at": "2026-11-22T20:00:00Z",
        "worker": "analytics",
        "role": "analytics",
        "generation": 3,
        "pid": 4711,
        "uptime_ms": 17,
        "cause": "signal",
        "detail": "SIGSEGV",
        "signal": {"number": 11, "name": "SIGSEGV", "core": false},
        "decision": "restart now",
        "why": "first death without progress",
        "output": [{"stream": "stderr", "text": "good bye"}],
        "output_dropped": 0,
    });
    fs::write(rig.crashes.path().join(file_name(id)), report.to_string()).unwrap();
    report
}

#[tokio::test]
async fn reports_are_listed_newest_first_in_brief_and_page_by_page() {
    let rig = Rig::new();
    for id in 9..12 {
        report(&rig, id);
    }
    let ids = |page: &Value| -> Vec<u64> {
        page["items"].as_array().unwrap().iter().map(|item| item["id"].as_u64().unwrap()).collect()
    };
    let first = rig.get("/v1/crashes?limit=2").await.json();
    assert_eq!((ids(&first), &first["next"]), (vec![11, 10], &json!(10)));
    assert_eq!(first["items"][0].get("output"), None, "{first}");
    let last = rig.get("/v1/crashes?limit=2&after=10").await.json();
    assert_eq!((ids(&last), &last["next"]), (vec![9], &Value::Null));
}

#[tokio::test]
async fn one_report_is_shown_whole() {
    let rig = Rig::new();
    let report = report(&rig, 9);
    assert_eq!(rig.get("/v1/crashes/9").await.json(), report);
}

#[tokio::test]
async fn an_unknown_one_is_not_found_and_a_senseless_question_is_refused() {
    let rig = Rig::new();
    for (path, status) in [
        ("/v1/crashes/9", 404),
        ("/v1/crashes/x", 400),
        ("/v1/crashes?limit=0", 400),
        ("/v1/crashes?limit=101", 400),
        ("/v1/crashes?after=x", 400),
        ("/v1/crashes?page=2", 400),
    ] {
        let answer = rig.get(path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{path}");
    }
}

#[tokio::test]
async fn a_damaged_report_is_left_out_of_lists_and_is_no_failure_of_the_api() {
    let rig = Rig::new();
    report(&rig, 9);
    fs::write(rig.crashes.path().join("10.json"), "{}").unwrap();
    assert_eq!(rig.get("/v1/crashes").await.json()["items"].as_array().unwrap().len(), 1);
    assert_eq!(rig.get("/v1/crashes/10").await.status, 503);
}
