//! Who is aborted tells where it is, whatever it is doing.

use crate::crashes::report;
use bulkhead_tests::{Home, process::Signal};
use serde_json::Value;

/// So many times it is aborted: most of them are in the midst of an allocation.
const TIMES: usize = 20;

#[test]
fn an_analysis_that_is_aborted_in_the_midst_of_allocations_tells_where_each_time() {
    let config = format!(
        "[restart]\nlimit = 64\nmax = \"1ms\"\n[analytics]\nmax_attempts = 100\nhang_timeout = \"60s\"\ncommand = [{:?}, \"allocates\"]\n",
        env!("CARGO_BIN_EXE_bulkhead-misbehave")
    );
    let bulkhead = Home::new(&config).start();
    assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    let mut story = bulkhead.log().from_start();
    for _ in 0..TIMES {
        story.wait_for("it to begin", |line| line.raw().contains("from now on, it allocates"));
        bulkhead.signal_worker(bulkhead.pid_of("analytics"), Signal::SIGABRT);
        let died = story.wait_for_worker("worker_died", "analytics");
        assert_eq!((died.text("cause"), died.number("seq")), ("signal", Some(1)), "{}", died.raw());
        let report = report(&bulkhead, died.number("crash").unwrap());
        let place = |frame: &Value| frame.as_str().is_some_and(|frame| frame.contains("Allocating"));
        assert!(report["backtrace"].as_array().is_some_and(|all| all.iter().any(place)), "{report}");
    }
}
