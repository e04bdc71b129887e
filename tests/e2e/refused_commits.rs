//! A system that takes no commit: nobody is charged, the analysis is parked, and goes on when it may commit again.

use bulkhead_tests::{Home, binaries};

/// If events were charged with it, these would be set aside, one after the other.
const EVENTS: usize = 20;

/// An analysis whose commits are larger than the files that it may write.
fn without_room() -> String {
    let analysis = binaries::find(binaries::ANALYTICS);
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\"";
    format!(
        "restart.limit = 4\n[analytics]\nmax_attempts = 1\ncommand = [\"sh\", \"-c\", {script:?}, {analysis:?}]\n"
    )
}

#[test]
fn an_analysis_whose_commits_the_system_refuses_is_parked_and_no_event_is_charged() {
    let bulkhead = Home::new(&without_room()).start();
    let client = bulkhead.client();
    let mut story = bulkhead.log().from_start();
    let events = [r#"{"series":"s","value":1}"#; EVENTS].join(",");
    assert_eq!(client.post_events(&format!("[{events}]")).unwrap().status, 202);

    story.wait_for_worker("worker_parked", "analytics");

    let stats = client.json("/v1/stats");
    assert_eq!((&stats["pending"], &stats["quarantined"]), (&EVENTS.into(), &0.into()), "{stats}");
    let refused =
        bulkhead.log().all(|line| line.raw().contains("cannot write the state table: File too large"));
    assert!(!refused.is_empty(), "{}", bulkhead.log().dump());
    for died in bulkhead.log().all(|line| line.tells("worker_died", "analytics")) {
        assert_eq!((died.text("cause"), died.number("seq")), ("exit", None), "{}", died.raw());
    }

    bulkhead.home().configure("restart.limit = 4\n");
    let said = bulkhead.say(&["reload"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let stats = bulkhead.settled();
    assert_eq!((&stats["analysed"], &stats["quarantined"]), (&EVENTS.into(), &0.into()), "{stats}");
    assert_eq!(client.json("/v1/series/s")["count"], EVENTS);
}
