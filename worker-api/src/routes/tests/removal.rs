//! `DELETE /v1/series/{name}` with real shared memory.

use super::assert_problem;
use crate::tests::fixture::{ApiFixture, TestResponse};
use axum::{body::Body, extract::Request};

async fn delete(fixture: &ApiFixture, name: &str, key: Option<&str>) -> TestResponse {
    let mut request = Request::delete(format!("/v1/series/{name}")).header("x-request-id", "r");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    fixture.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn the_removal_of_a_series_is_accepted_like_an_event() {
    let mut fixture = ApiFixture::new();
    fixture.commit(&[("a b/c", "{}")]);
    let response = delete(&fixture, "a%20b%2Fc", None).await;
    assert_eq!(
        (response.status, response.text.as_str()),
        (202, r#"{"accepted":1,"first_seq":1,"last_seq":1}"#)
    );
    assert_eq!(response.headers["content-type"], "application/json");
    assert_eq!(fixture.pending().0, ["remove a b/c r"]);
    assert_eq!(fixture.get("/v1/stats").await.json()["pending"], 1);
}

#[tokio::test]
async fn a_series_that_does_not_exist_is_not_found_unless_events_are_pending() {
    let mut fixture = ApiFixture::new();
    assert_problem(&delete(&fixture, "a", None).await, 404, "not-found");
    fixture.post_json(r#"{"series":"a","value":1}"#).await;
    assert_eq!(delete(&fixture, "a", None).await.status, 202);
    fixture.commit(&[]);
    assert_problem(&delete(&fixture, "a", None).await, 404, "not-found");
}

#[tokio::test]
async fn a_name_that_no_series_can_have_is_not_found() {
    let fixture = ApiFixture::new();
    fixture.post_json(r#"{"series":"a","value":1}"#).await;
    assert_eq!(delete(&fixture, &"x".repeat(128), None).await.status, 202);
    assert_problem(&delete(&fixture, &"x".repeat(129), None).await, 404, "not-found");
}

#[tokio::test]
async fn a_repeated_removal_with_a_key_is_accepted_once_although_the_series_is_gone() {
    let mut fixture = ApiFixture::new();
    fixture.commit(&[("a", "{}")]);
    let first = delete(&fixture, "a", Some("once")).await;
    assert_eq!(first.status, 202);
    fixture.commit(&[]);
    fixture.remove_series("a");
    let again = delete(&fixture, "a", Some("once")).await;
    assert_eq!((again.status, &again.text), (202, &first.text));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert!(fixture.pending().0.is_empty());
    assert_problem(&delete(&fixture, "b", Some("once")).await, 422, "idempotency-key-reused");
}

#[tokio::test]
async fn a_removed_series_is_not_read_or_listed_any_more() {
    let mut fixture = ApiFixture::new();
    fixture.commit(&[("a", r#"{"count":1}"#), ("b", "{}")]);
    assert_eq!(fixture.get("/v1/series/a").await.json()["count"], 1);
    fixture.remove_series("a");
    assert_problem(&fixture.get("/v1/series/a").await, 404, "not-found");
    assert_eq!(fixture.get("/v1/series").await.json()["items"].as_array().unwrap().len(), 1);
    let series = &fixture.get("/v1/stats").await.json()["series"];
    assert_eq!((&series["count"], &series["removed"]), (&1.into(), &1.into()));
    // Its last good copy is forgotten.
    fixture.commit(&[("a", "nonsense")]);
    assert_problem(&fixture.get("/v1/series/a").await, 503, "unavailable");
}

#[tokio::test]
async fn a_handler_can_remove_a_series() {
    let fixture = ApiFixture::new();
    let appended = fixture.handle.remove_series("a").unwrap();
    assert_eq!((appended.first.0, appended.last.0), (1, 1));
    assert_eq!(fixture.pending().0, ["remove a "]);
    assert!(fixture.handle.remove_series("").unwrap_err().to_string().contains("series has 0 bytes"));
}
