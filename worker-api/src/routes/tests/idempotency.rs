//! `Idempotency-Key` with real shared memory.

use crate::tests::fixture::{ApiFixture, TestResponse};
use axum::{body::Body, extract::Request, http::HeaderValue};

const ONE: &str = r#"{"series":"a","value":1}"#;
const TWO: &str = r#"[{"series":"a","value":1},{"series":"b","value":2}]"#;

async fn post_as(fixture: &ApiFixture, media: &str, keys: &[&[u8]], body: &str) -> TestResponse {
    let mut request = Request::post("/v1/events").header("content-type", media);
    for key in keys {
        request = request.header("idempotency-key", HeaderValue::from_bytes(key).unwrap());
    }
    fixture.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

async fn post(fixture: &ApiFixture, key: &str, body: &str) -> TestResponse {
    post_as(fixture, "application/json", &[key.as_bytes()], body).await
}

fn assert_problem(response: &TestResponse, status: u16, kind: &str) {
    assert_eq!(response.status, status, "{}", response.text);
    assert_eq!(response.json()["type"], format!("urn:bulkhead:problem:{kind}"));
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_response_and_appends_nothing() {
    let fixture = ApiFixture::new();
    let first = post(&fixture, "\"8e03978e\"", TWO).await;
    assert_eq!((first.status, first.text.as_str()), (202, r#"{"accepted":2,"first_seq":1,"last_seq":2}"#));
    assert!(!first.headers.contains_key("idempotency-replayed"));
    fixture.post_json(ONE).await;
    for _ in 0..2 {
        let again = post(&fixture, "\"8e03978e\"", TWO).await;
        assert_eq!((again.status, &again.text), (202, &first.text));
        assert_eq!(again.headers["content-type"], "application/json");
        assert_eq!(again.headers["idempotency-replayed"], "true");
    }
    assert_eq!(fixture.pending().0.len(), 3);
}

#[tokio::test]
async fn two_keys_are_two_requests() {
    let fixture = ApiFixture::new();
    assert_eq!(post(&fixture, "one", ONE).await.json()["first_seq"], 1);
    assert_eq!(post(&fixture, "two", ONE).await.json()["first_seq"], 2);
}

#[tokio::test]
async fn a_key_with_another_body_or_format_is_refused() {
    let fixture = ApiFixture::new();
    post(&fixture, "k", ONE).await;
    let response = post(&fixture, "k", TWO).await;
    assert_problem(&response, 422, "idempotency-key-reused");
    assert!(response.text.contains("use a new key"), "{}", response.text);
    let lines = post_as(&fixture, "application/x-ndjson", &[b"k"], ONE).await;
    assert_problem(&lines, 422, "idempotency-key-reused");
    assert_eq!(fixture.pending().0.len(), 1);
}

#[tokio::test]
async fn an_invalid_key_is_refused_and_the_header_is_named() {
    let fixture = ApiFixture::new();
    let long = [b'k'; 65];
    for keys in
        [&[&b""[..]][..], &[b"a b"], &[b"caf\xc3\xa9"], &[&long], &[b"one", b"two"], &[b"one", b"one"]]
    {
        let response = post_as(&fixture, "application/json", keys, ONE).await;
        assert_problem(&response, 400, "bad-request");
        assert!(response.text.contains("Idempotency-Key"), "{}", response.text);
    }
    assert_eq!(fixture.pending().0.len(), 0);
    assert_eq!(post(&fixture, str::from_utf8(&long[1..]).unwrap(), ONE).await.status, 202);
}

#[tokio::test]
async fn the_key_of_a_refused_request_can_be_used_again() {
    let fixture = ApiFixture::new();
    assert_problem(&post(&fixture, "k", r#"{"series":"a"}"#).await, 400, "bad-event");
    assert_eq!(post(&fixture, "k", ONE).await.status, 202);
    assert_eq!(fixture.pending().0.len(), 1);
}

#[tokio::test]
async fn a_full_ring_still_answers_repeats_and_a_refused_request_can_be_repeated() {
    let mut fixture = ApiFixture::new();
    let large = format!(r#"{{"series":"s","value":1,"data":"{}"}}"#, "d".repeat(4000));
    let batch = format!("[{}]", vec![large.clone(); 300].join(","));
    let first = post(&fixture, "first", &large).await;
    while fixture.post_json(batch.clone()).await.status == 202 {}
    while fixture.post_json(large.clone()).await.status == 202 {}
    assert_problem(&post(&fixture, "late", &large).await, 503, "full");
    assert_eq!(post(&fixture, "first", &large).await.text, first.text);
    assert_eq!(
        fixture.get("/readyz").await.json()["ring"],
        "full",
        "a repeated request does not change the ring status"
    );
    fixture.commit(&[]);
    let late = post(&fixture, "late", &large).await;
    assert_eq!(late.status, 202);
    assert!(!late.headers.contains_key("idempotency-replayed"));
}
