//! An analysis that is aborted from outside reports its backtrace, even if it is inside the allocator.

use crate::common::crash_report;
use bulkhead_tests::{Fixture, process::Signal};
use serde_json::Value;

/// How often the analysis is aborted. Most of the aborts hit it during an allocation.
const ABORTS: usize = 20;

#[test]
fn an_analysis_aborted_during_an_allocation_reports_its_backtrace() {
    let config = format!(
        "[restart]\nlimit = 64\nmax = \"1ms\"\n[analytics]\nmax_attempts = 100\nhang_timeout = \"60s\"\ncommand = [{:?}, \"allocate-forever\"]\n",
        env!("CARGO_BIN_EXE_bulkhead-misbehave")
    );
    let bulkhead = Fixture::new(&config).start();
    assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    let mut log = bulkhead.log().from_start();
    for _ in 0..ABORTS {
        log.wait_for("the allocation loop", |line| line.raw().contains("allocation loop started"));
        bulkhead.signal_worker(bulkhead.worker_pid("analytics"), Signal::SIGABRT);
        let died = log.wait_for_worker("worker_died", "analytics");
        assert_eq!((died.text("cause"), died.number("seq")), ("signal", Some(1)), "{}", died.raw());
        let report = crash_report(&bulkhead, died.number("crash").unwrap());
        let in_loop = |frame: &Value| frame.as_str().is_some_and(|frame| frame.contains("AllocateForever"));
        assert!(report["backtrace"].as_array().is_some_and(|all| all.iter().any(in_loop)), "{report}");
    }
}
