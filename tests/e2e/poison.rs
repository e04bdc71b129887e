//! An event that kills the analysis each time: without a quarantine yet, the analysis is parked and the API works on.

use bulkhead_tests::{Home, eventually};

#[test]
fn a_poison_event_parks_the_analysis_while_the_api_accepts_and_answers() {
    let bulkhead = Home::new("[faults]\nenabled = true\n[restart]\nlimit = 4\n").start();
    let client = bulkhead.client();
    assert_eq!(client.post_events(r#"{"series":"before","value":1}"#).unwrap().status, 202);
    let before = bulkhead.settled();
    assert_eq!(before["analysed"], 1, "{before}");
    let mut story = bulkhead.log().from_now();

    let poison =
        client.post_events(r#"[{"series":"good","value":1},{"series":"__fault.abort","value":1}]"#).unwrap();
    assert_eq!(poison.status, 202, "{poison:?}");
    let parked = story.wait_for_worker("worker_parked", "analytics");

    assert!(parked.raw().contains("4 deaths"), "{}", parked.raw());
    let deaths = bulkhead.log().all(|line| line.tells("worker_died", "analytics"));
    for death in &deaths {
        assert_eq!(death.number("seq"), poison.json()["last_seq"].as_u64(), "{}", death.raw());
    }
    let ready = client.get("/readyz").unwrap();
    assert_eq!(ready.status, 200, "{ready:?}");
    assert_eq!(ready.json()["analytics"], "parked", "{ready:?}");
    assert_eq!(client.json("/v1/series/before")["count"], 1);
    assert_eq!(client.post_events(r#"{"series":"after","value":1}"#).unwrap().status, 202);
    let stats = client.json("/v1/stats");
    assert_eq!(stats["accepted"], 4, "{stats}");
    assert_eq!(stats["analytics"][0]["state"], "parked", "{stats}");
    assert!(stats["pending"].as_u64() >= Some(2), "the poison and what came after it wait: {stats}");
    assert!(stats["lag_ms"].as_u64().is_some(), "{stats}");
    let said = bulkhead.say(&["status"]);
    assert!(said.out.contains("parked"), "{said:?}");
}

#[test]
fn a_parked_worker_is_tried_again_by_command() {
    let config =
        "[restart]\nlimit = 2\n[[worker]]\nname = \"weak\"\ncommand = [\"sh\", \"-c\", \"exit 7\"]\n";
    let bulkhead = Home::new(config).start();
    let mut story = bulkhead.log().from_start();
    let died = story.wait_for_worker("worker_died", "weak");
    assert_eq!(died.text("cause"), "exit", "{}", died.raw());
    assert!(died.text("detail").contains('7'), "{}", died.raw());
    story.wait_for_worker("worker_parked", "weak");
    let said = bulkhead.say(&["start", "weak"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    story.wait_for_worker("worker_started", "weak");
    eventually(bulkhead.log(), "status to tell of it", || bulkhead.say(&["status"]).out.contains("weak"));
}
