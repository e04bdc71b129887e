//! `/v1/crashes` with a real directory. The test acts as the supervisor.

use crate::tests::fixture::ApiFixture;
use bulkhead_proto::wire::record_store::file_name;
use serde_json::{Value, json};
use std::fs;

/// Stores a report as the supervisor does.
fn report(fixture: &ApiFixture, id: u64) -> Value {
    report_of(fixture, id, "analytics", "signal")
}

fn report_of(fixture: &ApiFixture, id: u64, worker: &str, cause: &str) -> Value {
    let report = json!({
        "id": id,
        "at": "2026-11-22T20:00:00Z",
        "worker": worker,
        "role": "analytics",
        "generation": 3,
        "pid": 4711,
        "uptime_ms": 17,
        "cause": cause,
        "detail": "SIGSEGV",
        "signal": {"number": 11, "name": "SIGSEGV", "core": false},
        "decision": "restart now",
        "why": "first death without progress",
        "output": [{"stream": "stderr", "text": "good bye"}],
        "output_dropped": 0,
    });
    fs::write(fixture.crashes_dir.path().join(file_name(id)), report.to_string()).unwrap();
    report
}

/// The numbers of the reports of a page.
fn ids(page: &Value) -> Vec<u64> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn reports_are_listed_newest_first_as_summaries_in_pages() {
    let fixture = ApiFixture::new();
    for id in 9..12 {
        report(&fixture, id);
    }
    let first = fixture.get("/v1/crashes?limit=2").await.json();
    assert_eq!((ids(&first), &first["next"]), (vec![11, 10], &json!(10)));
    assert_eq!(first["items"][0].get("output"), None, "{first}");
    let last = fixture.get("/v1/crashes?limit=2&after=10").await.json();
    assert_eq!((ids(&last), &last["next"]), (vec![9], &Value::Null));
}

#[tokio::test]
async fn reports_are_selected_by_worker_and_cause_before_they_are_counted() {
    let fixture = ApiFixture::new();
    for (id, worker, cause) in [
        (1, "api", "panic"),
        (2, "analytics", "panic"),
        (3, "api", "exit"),
        (4, "api", "panic"),
        (5, "host", "exit"),
    ] {
        report_of(&fixture, id, worker, cause);
    }
    for (query, expected, next) in [
        ("worker=api", &[4, 3, 1][..], Value::Null),
        ("cause=panic", &[4, 2, 1], Value::Null),
        ("worker=api&cause=panic&limit=1", &[4], json!(4)),
        ("worker=api&cause=panic&limit=1&after=4", &[1], Value::Null),
        ("worker=gone", &[], Value::Null),
    ] {
        let page = fixture.get(&format!("/v1/crashes?{query}")).await.json();
        assert_eq!((ids(&page), &page["next"]), (expected.to_vec(), &next), "{query}");
    }
}

#[tokio::test]
async fn one_report_is_shown_completely() {
    let fixture = ApiFixture::new();
    let report = report(&fixture, 9);
    assert_eq!(fixture.get("/v1/crashes/9").await.json(), report);
}

#[tokio::test]
async fn an_unknown_report_is_not_found_and_an_invalid_query_is_refused() {
    let fixture = ApiFixture::new();
    for (path, status) in [
        ("/v1/crashes/9", 404),
        ("/v1/crashes/x", 400),
        ("/v1/crashes?limit=0", 400),
        ("/v1/crashes?limit=101", 400),
        ("/v1/crashes?after=x", 400),
        ("/v1/crashes?page=2", 400),
        ("/v1/crashes?cause=boredom", 400),
    ] {
        let response = fixture.get(path).await;
        assert_eq!(response.status, status, "{path}: {}", response.text);
        assert_eq!(response.headers["content-type"], "application/problem+json", "{path}");
    }
}

#[tokio::test]
async fn a_damaged_report_is_left_out_of_lists_and_shown_as_503() {
    let fixture = ApiFixture::new();
    report(&fixture, 9);
    fs::write(fixture.crashes_dir.path().join("10.json"), "{}").unwrap();
    assert_eq!(fixture.get("/v1/crashes").await.json()["items"].as_array().unwrap().len(), 1);
    assert_eq!(fixture.get("/v1/crashes/10").await.status, 503);
}
