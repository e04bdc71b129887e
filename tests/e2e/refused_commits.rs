//! The kernel refuses each commit: no event is quarantined, the analysis is parked, and it continues when
//! commits succeed again.

use bulkhead_tests::{Fixture, binaries};

/// If the deaths were attributed to events, these events would be quarantined one by one.
const EVENTS: usize = 20;

/// A configuration in which commits of the analysis exceed its file size limit.
fn config_with_file_size_limit() -> String {
    let analysis = binaries::find(binaries::ANALYTICS);
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\"";
    format!(
        "restart.limit = 4\n[analytics]\nmax_attempts = 1\ncommand = [\"sh\", \"-c\", {script:?}, {analysis:?}]\n"
    )
}

#[test]
fn an_analysis_whose_commits_fail_is_parked_and_no_event_is_quarantined() {
    let bulkhead = Fixture::new(&config_with_file_size_limit()).start();
    let client = bulkhead.client();
    let mut log = bulkhead.log().from_start();
    let events = [r#"{"series":"s","value":1}"#; EVENTS].join(",");
    assert_eq!(client.post_events(&format!("[{events}]")).unwrap().status, 202);

    log.wait_for_worker("worker_parked", "analytics");

    let stats = client.get_json("/v1/stats");
    assert_eq!((&stats["pending"], &stats["quarantined"]), (&EVENTS.into(), &0.into()), "{stats}");
    let refused =
        bulkhead.log().matching(|line| line.raw().contains("cannot write the state table: File too large"));
    assert!(!refused.is_empty(), "{}", bulkhead.log().dump());
    for died in bulkhead.log().matching(|line| line.is_worker_event("worker_died", "analytics")) {
        assert_eq!((died.text("cause"), died.number("seq")), ("exit", None), "{}", died.raw());
    }

    bulkhead.fixture().write_config("restart.limit = 4\n");
    let output = bulkhead.cli(&["reload"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let stats = bulkhead.wait_until_committed();
    assert_eq!((&stats["analysed"], &stats["quarantined"]), (&EVENTS.into(), &0.into()), "{stats}");
    assert_eq!(client.get_json("/v1/series/s")["count"], EVENTS);
}
