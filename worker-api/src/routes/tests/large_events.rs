//! Events of the largest size, and events without a value.

use super::assert_problem;
use crate::{
    handle::{AppendError, NewEvent},
    tests::fixture::ApiFixture,
};
use bulkhead_proto::{wire::event::Input, worker::settings::Limits};
use serde_json::json;

/// JSON text of this length.
fn data(length: usize) -> String {
    format!("\"{}\"", "d".repeat(length - 2))
}

fn max_event() -> usize {
    usize::try_from(Limits::default().max_event).unwrap()
}

/// The lengths of the data of the pending events.
fn pending_data(fixture: &ApiFixture) -> Vec<Option<usize>> {
    let mut lengths = Vec::new();
    fixture.read_pending(|input| match input {
        Input::Event(event) => lengths.push(event.data.map(str::len)),
        Input::Removal(removal) => panic!("{removal:?}"),
    });
    lengths
}

#[tokio::test]
async fn data_of_the_configured_length_is_accepted_and_one_more_byte_is_refused() {
    let fixture = ApiFixture::new();
    let event = |length| format!(r#"{{"series":"s","value":1,"data":{}}}"#, data(length));
    let (largest, larger) = (event(max_event()), event(max_event() + 1));
    assert_eq!(fixture.post_json(format!("[{largest},{largest}]")).await.status, 202);
    let refused = fixture.post_json(format!("[{largest},{larger}]")).await;
    assert_problem(&refused, 400, "bad-event");
    assert_eq!((&refused.json()["index"], &refused.json()["field"]), (&json!(1), &json!("data")));
    assert!(refused.text.contains("api.max_event"), "{}", refused.text);
    assert_eq!(pending_data(&fixture), [Some(max_event()); 2]);
}

#[tokio::test]
async fn only_an_event_with_data_may_be_without_a_value() {
    let fixture = ApiFixture::new();
    let body = "{\"series\":\"s\",\"data\":{}}\n{\"series\":\"s\",\"value\":null,\"data\":{}}\n";
    assert_eq!(fixture.post("/v1/events", "application/x-ndjson", body).await.status, 202);
    let refused = fixture.post_json(r#"[{"series":"s","data":{}},{"series":"s","label":"tea"}]"#).await;
    assert_problem(&refused, 400, "bad-event");
    assert_eq!((&refused.json()["index"], &refused.json()["field"]), (&json!(1), &json!("value")));
    assert_eq!(fixture.pending().0, ["s -  test"; 2]);
}

#[test]
fn a_users_event_has_the_same_bounds() {
    let fixture = ApiFixture::new();
    let (largest, larger) = (data(max_event()), data(max_event() + 1));
    fixture.handle.append(&[NewEvent::without_value("s", &largest)]).unwrap();
    let refused = fixture.handle.append(&[NewEvent::new("s", 1.0).data(&larger)]);
    assert!(matches!(refused, Err(AppendError::BadEvent { index: 0, .. })), "{refused:?}");
    assert_eq!(pending_data(&fixture), [Some(max_event())]);
}
