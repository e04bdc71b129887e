//! `Idempotency-Key` over real memory.

use crate::testing::{Answer, Rig};
use axum::{body::Body, extract::Request, http::HeaderValue};

const ONE: &str = r#"{"series":"a","value":1}"#;
const TWO: &str = r#"[{"series":"a","value":1},{"series":"b","value":2}]"#;

async fn post_as(rig: &Rig, media: &str, keys: &[&[u8]], body: &str) -> Answer {
    let mut request = Request::post("/v1/events").header("content-type", media);
    for key in keys {
        request = request.header("idempotency-key", HeaderValue::from_bytes(key).unwrap());
    }
    rig.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

async fn post(rig: &Rig, key: &str, body: &str) -> Answer {
    post_as(rig, "application/json", &[key.as_bytes()], body).await
}

fn assert_problem(answer: &Answer, status: u16, kind: &str) {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.json()["type"], format!("urn:bulkhead:problem:{kind}"));
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_again_and_appends_nothing() {
    let rig = Rig::new();
    let first = post(&rig, "\"8e03978e\"", TWO).await;
    assert_eq!((first.status, first.text.as_str()), (202, r#"{"accepted":2,"first_seq":1,"last_seq":2}"#));
    assert!(!first.headers.contains_key("idempotency-replayed"));
    rig.post_json(ONE).await;
    for _ in 0..2 {
        let again = post(&rig, "\"8e03978e\"", TWO).await;
        assert_eq!((again.status, &again.text), (202, &first.text));
        assert_eq!(again.headers["content-type"], "application/json");
        assert_eq!(again.headers["idempotency-replayed"], "true");
    }
    assert_eq!(rig.pending().0.len(), 3);
}

#[tokio::test]
async fn two_keys_are_two_requests() {
    let rig = Rig::new();
    assert_eq!(post(&rig, "one", ONE).await.json()["first_seq"], 1);
    assert_eq!(post(&rig, "two", ONE).await.json()["first_seq"], 2);
}

#[tokio::test]
async fn a_key_with_another_body_or_another_form_is_refused() {
    let rig = Rig::new();
    post(&rig, "k", ONE).await;
    let answer = post(&rig, "k", TWO).await;
    assert_problem(&answer, 422, "idempotency-key-reused");
    assert!(answer.text.contains("use a new key"), "{}", answer.text);
    let lines = post_as(&rig, "application/x-ndjson", &[b"k"], ONE).await;
    assert_problem(&lines, 422, "idempotency-key-reused");
    assert_eq!(rig.pending().0.len(), 1);
}

#[tokio::test]
async fn what_is_no_key_is_refused_and_the_header_named() {
    let rig = Rig::new();
    let long = [b'k'; 65];
    for keys in
        [&[&b""[..]][..], &[b"a b"], &[b"caf\xc3\xa9"], &[&long], &[b"one", b"two"], &[b"one", b"one"]]
    {
        let answer = post_as(&rig, "application/json", keys, ONE).await;
        assert_problem(&answer, 400, "bad-request");
        assert!(answer.text.contains("Idempotency-Key"), "{}", answer.text);
    }
    assert_eq!(rig.pending().0.len(), 0);
    assert_eq!(post(&rig, str::from_utf8(&long[1..]).unwrap(), ONE).await.status, 202);
}

#[tokio::test]
async fn a_refused_request_is_forgotten_and_its_key_can_be_used_again() {
    let rig = Rig::new();
    assert_problem(&post(&rig, "k", r#"{"series":"a"}"#).await, 400, "bad-event");
    assert_eq!(post(&rig, "k", ONE).await.status, 202);
    assert_eq!(rig.pending().0.len(), 1);
}

#[tokio::test]
async fn a_repeat_is_answered_though_the_ring_is_full_and_a_refused_request_can_be_sent_again() {
    let mut rig = Rig::new();
    let large = format!(r#"{{"series":"s","value":1,"data":"{}"}}"#, "d".repeat(4000));
    let batch = format!("[{}]", vec![large.clone(); 300].join(","));
    let first = post(&rig, "first", &large).await;
    while rig.post_json(batch.clone()).await.status == 202 {}
    while rig.post_json(large.clone()).await.status == 202 {}
    assert_problem(&post(&rig, "late", &large).await, 503, "full");
    assert_eq!(post(&rig, "first", &large).await.text, first.text);
    assert_eq!(rig.get("/readyz").await.json()["ring"], "full", "a repeat says nothing of the ring");
    rig.commit(&[]);
    let late = post(&rig, "late", &large).await;
    assert_eq!(late.status, 202);
    assert!(!late.headers.contains_key("idempotency-replayed"));
}
