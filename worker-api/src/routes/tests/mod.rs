//! The routes with real shared memory.

mod crashes;
mod idempotency;
mod large_events;
mod quarantine;
mod removal;

use crate::routes::authorized::Authorized;
use crate::{
    handle::{ApiHandle, AppendError, NewEvent},
    http::token,
    tests::fixture::{ApiFixture, MAX_BODY, TestResponse},
};
use axum::{Router, body::Body, extract::State, http::StatusCode, routing::post};
use bulkhead_proto::{
    wire::{
        cause::Cause,
        control::{FromWorker, Request, RequestOutcome},
        fault::FaultKind,
        ids::{CrashId, Generation, Seq},
        role::Role,
        status::{CrashRow, Status, WorkerRow, WorkerState},
    },
    worker::pipe::Received,
};
use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use std::io::Write as _;

fn assert_problem(response: &TestResponse, status: u16, kind: &str) {
    assert_eq!(response.status, status, "{}", response.text);
    assert_eq!(response.headers["content-type"], "application/problem+json");
    assert_eq!(response.json()["type"], format!("urn:bulkhead:problem:{kind}"));
    assert!(response.headers.contains_key("x-request-id"));
}

#[tokio::test]
async fn events_are_accepted_in_all_three_layouts_and_carry_the_request_id() {
    let fixture = ApiFixture::new();
    let one = fixture.post_json(r#"{"series":"a","value":1,"label":"x"}"#).await;
    assert_eq!((one.status, one.text.as_str()), (202, r#"{"accepted":1,"first_seq":1,"last_seq":1}"#));
    assert_eq!(one.headers["content-type"], "application/json");
    assert_eq!(one.headers["x-request-id"], "test");
    let array = fixture.post_json(r#"[{"series":"b","value":2},{"series":"c","value":3}]"#).await;
    assert_eq!(array.text, r#"{"accepted":2,"first_seq":2,"last_seq":3}"#);
    let lines = fixture.post("/v1/events", "application/x-ndjson", "{\"series\":\"d\",\"value\":4}\n").await;
    assert_eq!(lines.text, r#"{"accepted":1,"first_seq":4,"last_seq":4}"#);
    assert_eq!(fixture.pending().0, ["a 1 x test", "b 2  test", "c 3  test", "d 4  test"]);
}

#[tokio::test]
async fn one_bad_event_refuses_the_whole_request() {
    let fixture = ApiFixture::new();
    let response = fixture.post_json(r#"[{"series":"a","value":1},{"series":"a","value":1e999}]"#).await;
    assert_problem(&response, 400, "bad-event");
    assert_eq!((&response.json()["index"], &response.json()["field"]), (&json!(1), &json!("value")));
    for body in ["", "[]"] {
        assert_problem(&fixture.post_json(body).await, 400, "bad-event");
    }
    assert_eq!(fixture.pending().0.len(), 0);
}

#[tokio::test]
async fn an_unsupported_or_too_large_body_is_refused() {
    let fixture = ApiFixture::new();
    let event = r#"{"series":"a","value":1}"#;
    assert_problem(&fixture.post("/v1/events", "text/plain", event).await, 415, "unsupported-media-type");
    let padded = format!("{event}{}", " ".repeat(usize::try_from(MAX_BODY).unwrap()));
    assert_problem(&fixture.post_json(padded).await, 413, "body-too-large");
    assert_eq!(fixture.pending().0.len(), 0);
}

#[tokio::test]
async fn a_compressed_body_is_accepted_and_an_unknown_encoding_is_refused_with_the_known_ones() {
    let fixture = ApiFixture::new();
    let event = r#"{"series":"a","value":1}"#;
    let send = async |encoding: &str, body: Vec<u8>| {
        let request = axum::extract::Request::post("/v1/events").header("content-type", "application/json");
        let request = request.header("content-encoding", encoding).header("x-request-id", "test");
        fixture.send(request.header("idempotency-key", "k").body(Body::from(body)).unwrap()).await
    };
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(event.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    assert_eq!(send("gzip", gzip.clone()).await.status, 202);
    assert_eq!(fixture.pending().0, ["a 1  test"]);
    let repeated = send("identity", event.into()).await;
    assert_eq!(repeated.headers["idempotency-replayed"], "true", "the same body without compression");
    assert_problem(&send("gzip", gzip[..12].to_vec()).await, 400, "broken-body");
    let unknown = send("br", gzip).await;
    assert_problem(&unknown, 415, "unsupported-media-type");
    assert_eq!(unknown.headers["accept-encoding"], "gzip, zstd, identity");
    let media = fixture.post("/v1/events", "text/plain", event).await;
    assert!(!media.headers.contains_key("accept-encoding"), "the encoding was not the reason");
}

/// An event that takes about 4 KiB in the ring.
fn large_event() -> String {
    format!(r#"{{"series":"s","value":1,"data":"{}"}}"#, "d".repeat(4000))
}

#[tokio::test]
async fn a_full_ring_refuses_whole_requests_until_a_commit_frees_space() {
    let mut fixture = ApiFixture::new();
    let batch = format!("[{}]", vec![large_event(); 300].join(","));
    let mut accepted = 0;
    let refused = loop {
        let response = fixture.post_json(batch.clone()).await;
        if response.status != 202 {
            break response;
        }
        accepted += 300;
    };
    assert_problem(&refused, 503, "full");
    assert_eq!(refused.headers["retry-after"], "1");
    assert!(accepted > 0);
    assert_eq!(fixture.get("/v1/stats").await.json()["pending"], accepted);
    assert_eq!(fixture.get("/readyz").await.json()["ring"], "ok", "smaller batches still fit");
    while fixture.post_json(large_event()).await.status == 202 {
        accepted += 1;
    }
    assert_eq!(
        fixture.get("/v1/stats").await.json()["api"]["ring_full"],
        2,
        "each refused request is counted"
    );
    let ready = fixture.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["ring"]), (200, &json!("full")));

    fixture.commit(&[]);
    assert_eq!(fixture.post_json(batch).await.json()["first_seq"], accepted + 1);
    assert_eq!(fixture.get("/readyz").await.json()["ring"], "ok");
}

#[tokio::test]
async fn a_batch_that_can_never_fit_the_ring_gets_413() {
    let fixture = ApiFixture::new();
    let response = fixture.post_json(format!("[{}]", vec![large_event(); 1200].join(","))).await;
    assert_problem(&response, 413, "batch-too-large");
}

#[tokio::test]
async fn fault_series_require_faults_to_be_enabled() {
    let body = r#"{"series":"__fault.panic","value":1}"#;
    let refused = ApiFixture::new().post_json(body).await;
    assert_problem(&refused, 400, "bad-event");
    assert!(refused.text.contains("faults are not enabled"));
    assert_eq!(ApiFixture::with(true, Router::new()).post_json(body).await.status, 202);
}

#[tokio::test]
async fn the_stats_agree_before_and_after_a_commit() {
    let mut fixture = ApiFixture::new();
    let empty = fixture.get("/v1/stats").await.json();
    assert_eq!((&empty["accepted"], &empty["age_ms"], &empty["lag_ms"]), (&json!(0), &json!(0), &json!(0)));
    fixture.post_json(r#"[{"series":"a","value":1},{"series":"a","value":2}]"#).await;
    let pending = fixture.get("/v1/stats").await.json();
    assert_eq!(
        (&pending["accepted"], &pending["analysed"], &pending["pending"]),
        (&json!(2), &json!(0), &json!(2))
    );
    assert!(pending["ring"]["used_bytes"].as_u64().unwrap() > 0);
    fixture.commit(&[("a", "{}")]);
    let done = fixture.get("/v1/stats").await.json();
    assert_eq!(
        (&done["analysed"], &done["pending"], &done["committed_seq"]),
        (&json!(2), &json!(0), &json!(2))
    );
    assert_eq!(
        (&done["lag_ms"], &done["quarantined"], &done["ring"]["used_bytes"]),
        (&json!(0), &json!(0), &json!(0))
    );
    assert_eq!(done["analytics"], json!([]));
}

#[tokio::test]
async fn a_series_is_served_from_the_last_commit() {
    let mut fixture = ApiFixture::new();
    assert_problem(&fixture.get("/v1/series/a").await, 404, "not-found");
    fixture.post_json(r#"{"series":"a/b é","value":1}"#).await;
    assert_problem(&fixture.get("/v1/series/a%2Fb%20%C3%A9").await, 404, "not-found");
    fixture.commit(&[("a/b é", r#"{"series":"a/b é","count":1}"#)]);
    let response = fixture.get("/v1/series/a%2Fb%20%C3%A9").await;
    assert_eq!(
        (response.status, &response.headers["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    let series = response.json();
    assert_eq!(
        (&series["series"], &series["count"], &series["committed_seq"]),
        (&json!("a/b é"), &json!(1), &json!(1))
    );
    assert!(series["age_ms"].is_u64());
    assert_problem(&fixture.get("/v1/series/%ff").await, 400, "bad-request");
}

#[tokio::test]
async fn merged_series_are_told_in_the_stats_and_to_who_asks_for_one() {
    let mut fixture = ApiFixture::new();
    fixture.commit(&[("a", "{}")]);
    assert_eq!(
        fixture.get("/v1/stats").await.json()["series"],
        json!({ "count": 1, "max": 100, "merged": false, "removed": 0, "expired": 0 })
    );
    assert!(!fixture.get("/v1/series/b").await.text.contains("__overflow__"));
    fixture.commit(&[("__overflow__", "{}")]);
    assert_eq!(
        fixture.get("/v1/stats").await.json()["series"],
        json!({ "count": 1, "max": 100, "merged": true, "removed": 0, "expired": 0 })
    );
    let absent = fixture.get("/v1/series/b").await;
    assert_problem(&absent, 404, "not-found");
    assert!(absent.text.contains("analytics.max_series (100) is reached"), "{}", absent.text);
}

#[tokio::test]
async fn an_invalid_series_is_replaced_by_the_last_good_copy() {
    let mut fixture = ApiFixture::new();
    fixture.commit(&[("good", r#"{"count":1}"#), ("never", "nonsense")]);
    assert_eq!(fixture.get("/v1/series/good").await.json()["count"], 1);
    fixture.commit(&[("good", r#"{"count":2"#)]);
    assert_eq!(fixture.get("/v1/series/good").await.json()["count"], 1, "the last good copy");
    assert_problem(&fixture.get("/v1/series/never").await, 503, "unavailable");
    let list = fixture.get("/v1/series").await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn series_are_listed_in_pages() {
    let mut fixture = ApiFixture::new();
    let names = ["a.1", "a.2", "a.3", "b.1"];
    let publics = names.map(|name| json!({ "series": name }).to_string());
    let series: Vec<_> = names.iter().copied().zip(publics.iter().map(String::as_str)).collect();
    fixture.commit(&series);
    let listed = async |query: &str| {
        let list = fixture.get(&format!("/v1/series{query}")).await.json();
        let items = list["items"].as_array().unwrap();
        let names: Vec<_> = items.iter().map(|item| item["series"].as_str().unwrap().to_owned()).collect();
        (names.join(" "), list["next"].as_str().map(str::to_owned))
    };
    assert_eq!(listed("").await, ("a.1 a.2 a.3 b.1".into(), None));
    assert_eq!(listed("?prefix=a.&limit=2").await, ("a.1 a.2".into(), Some("a.2".into())));
    assert_eq!(listed("?prefix=a.&limit=2&after=a.2").await, ("a.3".into(), None));
    assert_eq!(listed("?limit=4").await.1, None);
    assert_eq!(listed("?prefix=c").await, (String::new(), None));
    for bad in ["?limit=0", "?limit=1001", "?limit=x", "?page=1"] {
        assert_problem(&fixture.get(&format!("/v1/series{bad}")).await, 400, "bad-request");
    }
}

fn status() -> Status {
    let row = WorkerRow {
        name: "analytics".into(),
        role: Role::Analytics,
        state: WorkerState::Backoff,
        generation: Generation(3),
        pid: Some(std::process::id()),
        restarts: 2,
        started_ms: 1000,
        last_crash: Some(CrashRow {
            id: CrashId(1),
            cause: Cause::Panic,
            detail: "at x.rs:1:2".into(),
            seq: Some(Seq(9)),
            at_ms: 1500,
        }),
        brake: None,
        isolated: Vec::new(),
    };
    let stopped =
        WorkerRow { pid: None, last_crash: None, role: Role::Plain, name: "p".into(), ..row.clone() };
    Status { pid: 1, started_ms: 1, faults: false, workers: vec![row, stopped] }
}

#[tokio::test]
async fn a_page_of_large_series_ends_early_and_names_the_next() {
    let mut fixture = ApiFixture::new();
    let large = json!({ "text": "x".repeat(60 << 10) }).to_string();
    let names: Vec<_> = (0..80).map(|n| format!("s{n:02}")).collect();
    let series: Vec<_> = names.iter().map(|name| (name.as_str(), large.as_str())).collect();
    fixture.commit(&series);
    let first = fixture.get("/v1/series").await.json();
    assert_eq!((first["items"].as_array().unwrap().len(), &first["next"]), (69, &json!("s68")));
    let second = fixture.get("/v1/series?after=s68").await.json();
    assert_eq!((second["items"].as_array().unwrap().len(), &second["next"]), (11, &json!(null)));
}

#[tokio::test]
async fn workers_are_shown_as_the_supervisor_published_them() {
    let fixture = ApiFixture::new();
    assert_eq!(fixture.get("/v1/workers").await.json(), json!({ "items": [], "next": null }));
    fixture.publish(&status());
    let workers = fixture.get("/v1/workers").await.json();
    let row = &workers["items"][0];
    assert_eq!(row["state"], "backoff");
    assert_eq!(
        row["last_crash"],
        json!({ "id": 1, "cause": "panic", "detail": "at x.rs:1:2", "seq": 9, "at": "1970-01-01T00:00:01.500Z" })
    );
    assert!(row["rss_bytes"].as_u64().unwrap() > 0 && row["uptime_ms"].as_u64().unwrap() > 0);
    let plain = &workers["items"][1];
    assert_eq!(
        (&plain["pid"], &plain["uptime_ms"], &plain["rss_bytes"]),
        (&json!(null), &json!(0), &json!(null))
    );
    let analytics = &fixture.get("/v1/stats").await.json()["analytics"];
    assert_eq!(*analytics, json!([{ "instance": 0, "state": "backoff", "generation": 3, "restarts": 2 }]));
    let ready = fixture.get("/readyz").await.json();
    assert_eq!(ready, json!({ "status": "degraded", "ring": "ok", "analytics": "backoff" }));
}

#[tokio::test]
async fn a_fault_request_is_forwarded_to_the_supervisor() {
    let fixture = ApiFixture::with(true, Router::new());
    let (response, ()) = tokio::join!(fixture.post("/v1/faults/analytics/segv", "", Body::empty()), async {
        let Received::Frame(FromWorker::Request { id, request }) = fixture.sent_frames.recv().unwrap() else {
            panic!("expected a request")
        };
        assert_eq!(request, Request::Fault { worker: "analytics".into(), kind: FaultKind::Segv });
        fixture.supervisor_client.complete(id, RequestOutcome::Done);
    });
    assert_eq!((response.status, response.json()), (202, json!({ "worker": "analytics", "fault": "segv" })));
    assert_problem(&fixture.post("/v1/faults/analytics/flood", "", Body::empty()).await, 404, "not-found");
    assert_problem(&fixture.get("/v1/faults/analytics/segv").await, 405, "method-not-allowed");
}

#[tokio::test]
async fn fault_routes_do_not_exist_unless_enabled() {
    let fixture = ApiFixture::new();
    assert_problem(&fixture.post("/v1/faults/analytics/segv", "", Body::empty()).await, 404, "not-found");
    assert_eq!(fixture.sent_frames.recv().unwrap(), Received::Empty);
}

#[tokio::test]
async fn unknown_routes_and_methods_are_problems() {
    let fixture = ApiFixture::new();
    assert_problem(&fixture.get("/nowhere").await, 404, "not-found");
    let wrong = fixture.get("/v1/events").await;
    assert_problem(&wrong, 405, "method-not-allowed");
    assert_eq!(wrong.headers["allow"], "POST");
    for path in ["/livez", "/healthz", "/readyz"] {
        assert_eq!(fixture.get(path).await.status, 200);
    }
}

#[tokio::test]
async fn with_a_token_configured_only_its_bearer_may_change_state_and_anyone_may_read() {
    let user_routes = Router::new().route("/mine", post(async |_: Authorized| "changed"));
    let fixture = ApiFixture::with_token(
        token::tests::token_from(token::tests::TOKEN.as_bytes()).unwrap(),
        user_routes,
    );
    let send = async |path: &str, authorization: &str| {
        let request = axum::extract::Request::post(path).header("content-type", "application/json");
        let request = match authorization {
            "" => request,
            some => request.header("authorization", some),
        };
        fixture.send(request.body(Body::from(r#"{"series":"s","value":1}"#)).unwrap()).await
    };
    for path in ["/v1/events", "/v1/faults/analytics/flood", "/mine"] {
        let missing = send(path, "").await;
        assert_problem(&missing, 401, "token-missing");
        assert_eq!(missing.headers["www-authenticate"], "Bearer");
        let wrong = send(path, "Bearer correct-horse-battery-stable").await;
        assert_problem(&wrong, 401, "token-invalid");
        assert_eq!(wrong.headers["www-authenticate"], "Bearer error=\"invalid_token\"");
    }
    assert_eq!(fixture.pending().0.len(), 0);
    let right = format!("Bearer {}", token::tests::TOKEN);
    for (path, status) in [("/v1/events", 202), ("/v1/faults/analytics/flood", 404), ("/mine", 200)] {
        assert_eq!(send(path, &right).await.status, status, "{path}");
    }
    for path in ["/v1/stats", "/v1/series", "/v1/workers", "/readyz"] {
        assert_eq!(fixture.get(path).await.status, 200, "{path}");
    }
}

async fn reading(State(handle): State<ApiHandle>, body: String) -> Result<StatusCode, AppendError> {
    handle.append(&[
        NewEvent::new("reading", 1.5).label("l").ts_ms(7).data("[1]"),
        NewEvent::new(&body, f64::from(u32::try_from(handle.stats().accepted).unwrap())),
    ])?;
    Ok(StatusCode::ACCEPTED)
}

#[tokio::test]
async fn a_users_own_route_appends_and_reads() {
    let fixture = ApiFixture::with(false, Router::new().route("/v1/readings", post(reading)));
    assert_eq!(fixture.post("/v1/readings", "text/plain", "mine").await.status, 202);
    assert_eq!(fixture.pending().0, ["reading 1.5 l test", "mine 0  test"]);
    for bad in ["", "__mine"] {
        let response = fixture.post("/v1/readings", "text/plain", bad).await;
        assert_problem(&response, 400, "bad-event");
        assert_eq!(response.json()["index"], 1);
    }
    assert_eq!(fixture.pending().0.len(), 2);
}

#[test]
fn a_users_event_is_checked_like_any_other() {
    let fixture = ApiFixture::new();
    let event = NewEvent::new("s", 1.0);
    let deep = "[".repeat(65) + &"]".repeat(65);
    let long = "x".repeat(129);
    for bad in [
        NewEvent::new("s", f64::NAN),
        NewEvent::new(&long, 1.0),
        event.label(&long),
        event.ts_ms(i64::MAX),
        event.data("{"),
        event.data("1 2"),
        event.data(&deep),
    ] {
        assert!(
            matches!(fixture.handle.append(&[event, bad]), Err(AppendError::BadEvent { index: 1, .. })),
            "{bad:?}"
        );
    }
    assert!(matches!(fixture.handle.append(&[]), Err(AppendError::Ring(_))));
    assert_eq!(fixture.pending().0.len(), 0);
}

#[test]
fn the_supervisor_is_notified_when_half_a_block_of_seqs_is_used() {
    let fixture = ApiFixture::new();
    let event = [NewEvent::new("s", 1.0)];
    fixture.handle.append(&event).unwrap();
    assert_eq!(fixture.sent_frames.recv().unwrap(), Received::Empty);
    fixture.memory.continue_from(Seq((1 << 31) - 1)).unwrap();
    fixture.handle.append(&event).unwrap();
    assert_eq!(fixture.sent_frames.recv().unwrap(), Received::Empty);
    fixture.handle.append(&event).unwrap();
    assert_eq!(fixture.sent_frames.recv().unwrap(), Received::Frame(FromWorker::SeqMark(1 << 31)));
}
