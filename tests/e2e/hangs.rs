//! Hangs: the supervisor detects missing progress, kills the worker and logs the reason. Slow workers are not
//! killed.

use crate::common::{FAULTS_ENABLED, crash_report};
use bulkhead_tests::{Bulkhead, Fixture, eventually, log::Line, process};
use serde_json::Value;
use std::{io::Write as _, net::TcpStream};

/// A service with a worker in this mode of `tests/misbehave`. Its hang is detected soon, and it is parked
/// after its first death.
fn service(worker: &str, mode: &str) -> Bulkhead {
    let config = format!(
        "restart.limit = 1\n[{worker}]\nhang_timeout = \"200ms\"\ncommand = [{:?}, {mode:?}]\n",
        env!("CARGO_BIN_EXE_bulkhead-misbehave")
    );
    Fixture::new(&config).launch()
}

/// The first death of this worker, whose cause must be a hang.
fn first_hang(bulkhead: &Bulkhead, worker: &str, mode: &str) -> Line {
    let died = bulkhead.log().from_start().wait_for_worker("worker_died", worker);
    assert_eq!(died.text("cause"), "hang", "{mode}: {}", died.raw());
    let threads = bulkhead.last_line("worker_examined", worker);
    assert!(threads.text("message").contains("its threads: "), "{mode}: {}", threads.raw());
    died
}

/// Checks the number of analysed and of quarantined events, and the count of this series.
fn assert_counts(bulkhead: &Bulkhead, series: &str, count: u64, quarantined: u64) {
    let stats = bulkhead.wait_until_committed();
    assert_eq!((&stats["analysed"], &stats["quarantined"]), (&count.into(), &quarantined.into()), "{stats}");
    assert_eq!(bulkhead.client().get_json(&format!("/v1/series/{series}"))["count"], count);
}

#[test]
fn every_kind_of_hang_is_killed_while_the_api_accepts_and_answers() {
    for (mode, reason) in [
        ("spin", "no progress for"),
        ("deadlock", "no progress for"),
        ("freeze", "no progress for"),
        ("claim-seqs-backwards", "no progress for"),
        ("claim-seqs-beyond-ring", "no progress for"),
        ("stay-parked", "no progress for"),
        ("progress-without-commit", "no commit for"),
        ("close-all-pipes-when-active", "no commit for"),
    ] {
        let bulkhead = service("analytics", mode);
        bulkhead.log().from_start().wait_for_worker("worker_activated", "api");
        let client = bulkhead.client();
        // More events than the mode progress-without-commit passes before the hang is detected.
        let events = [r#"{"series":"s","value":1}"#; 1000].join(",");
        assert_eq!(client.post_events(&format!("[{events}]")).unwrap().status, 202);
        let died = first_hang(&bulkhead, "analytics", mode);
        assert!(died.text("detail").contains(reason), "{mode}: {}", died.raw());
        assert_eq!(client.post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
        assert_eq!(client.get_json("/v1/stats")["pending"], 1001, "{mode}");
    }
}

#[test]
fn an_event_that_hangs_the_analysis_is_quarantined_and_the_others_are_counted() {
    for kind in ["hang", "freeze"] {
        let bulkhead =
            Fixture::new(&format!("{FAULTS_ENABLED}[analytics]\nhang_timeout = \"200ms\"\n")).start();
        let client = bulkhead.client();
        let events = format!(
            r#"[{{"series":"s","value":1}},{{"series":"__fault.{kind}","value":1}},{{"series":"s","value":1}}]"#
        );
        assert_eq!(client.post_events(&events).unwrap().status, 202);
        assert_counts(&bulkhead, "s", 2, 1);
        // The log may arrive after the responses. All deaths are logged before this line.
        bulkhead.log().from_start().wait_for_worker("event_quarantined", "analytics");
        let deaths = bulkhead.log().matching(|line| line.is_worker_event("worker_died", "analytics"));
        assert_eq!(deaths.len(), 2, "{}", bulkhead.log().dump());
        for died in deaths {
            assert_eq!((died.text("cause"), died.number("seq")), ("hang", Some(2)), "{}", died.raw());
            // The analysis recorded its backtrace before it ended.
            let report = crash_report(&bulkhead, died.number("crash").unwrap());
            let in_fault =
                |frame: &Value| frame.as_str().is_some_and(|frame| frame.contains("fault::execute at "));
            assert!(
                report["backtrace"].as_array().is_some_and(|all| all.iter().any(in_fault)),
                "{kind}: {report}"
            );
        }
    }
}

#[test]
fn slow_events_are_not_a_hang_but_one_event_beyond_the_timeout_is() {
    let config = format!(
        "[analytics]\nhang_timeout = \"400ms\"\ncommand = [{:?}, \"apply-slowly\"]\n",
        env!("CARGO_BIN_EXE_bulkhead-misbehave")
    );
    let bulkhead = Fixture::new(&config).start();
    let client = bulkhead.client();
    // The quick events come first: after them, the analysis reads the clock rarely. The slow events together
    // take longer than the commit timeout. Each of them is short enough for a loaded machine.
    let events =
        [[r#"{"series":"s","value":0}"#; 100].join(","), [r#"{"series":"s","value":100}"#; 24].join(",")];
    assert_eq!(client.post_events(&format!("[{}]", events.join(","))).unwrap().status, 202);
    assert_counts(&bulkhead, "s", 124, 0);
    assert_eq!(bulkhead.log().matching(|line| line.is("worker_died")).len(), 0, "{}", bulkhead.log().dump());

    assert_eq!(client.post_events(r#"{"series":"s","value":3600000}"#).unwrap().status, 202);
    assert_counts(&bulkhead, "s", 124, 1);
    first_hang(&bulkhead, "analytics", "an hour");
}

#[test]
fn an_api_that_does_not_accept_is_killed_even_if_it_answers_the_supervisor() {
    for (mode, reason) in
        [("ignore-all-frames", "no progress for"), ("never-accept", "no connection accepted for")]
    {
        let bulkhead = service("api", mode);
        bulkhead.log().from_start().wait_for_worker("worker_activated", "api");
        let _waits = TcpStream::connect(bulkhead.address()).unwrap();
        let died = first_hang(&bulkhead, "api", mode);
        assert!(died.text("detail").contains(reason), "{mode}: {}", died.raw());
    }
}

#[test]
fn new_connections_to_a_stopped_api_are_served_by_the_next_generation() {
    let bulkhead = Fixture::new("api.hang_timeout = \"200ms\"\n").start();
    let mut connection = TcpStream::connect(bulkhead.address()).unwrap();
    connection.write_all(b"GET /livez HTTP/1.1\r\n").unwrap();
    let mut log = bulkhead.log().from_now();
    let api = bulkhead.worker_pid("api");
    bulkhead.signal_worker(api, process::Signal::SIGSTOP);
    // A running thread could accept a connection that the next generation must accept.
    eventually(bulkhead.log(), "all threads of the API to stop", || process::is_stopped(api));
    let client = bulkhead.client();
    assert_eq!(client.get("/livez").unwrap().status, 200, "the next generation must respond");
    let died = log.wait_for_worker("worker_died", "api");
    assert_eq!(died.text("cause"), "hang", "{}", died.raw());
}

#[test]
fn a_stopped_idle_analysis_is_killed_only_after_new_work_arrives() {
    let bulkhead = Fixture::new("analytics.hang_timeout = \"200ms\"\n").start();
    let pid = bulkhead.worker_pid("analytics");
    bulkhead.signal_worker(pid, process::Signal::SIGSTOP);
    let mut log = bulkhead.log().from_now();
    assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    let died = log.wait_for_worker("worker_died", "analytics");
    assert_eq!((died.text("cause"), died.pid()), ("hang", pid), "{}", died.raw());
    assert_counts(&bulkhead, "s", 1, 0);
    eventually(bulkhead.log(), "the hang in the status", || {
        bulkhead.cli(&["status"]).stdout.contains("hang")
    });
}
