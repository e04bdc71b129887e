//! An idle service: no process wakes up.

use bulkhead_tests::{
    Fixture, eventually,
    resource_usage::{ResourceUsage, context_switches},
};
use std::time::Duration;

/// How long no thread may run.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// A short hang timeout: the supervisor probes busy workers often enough that a pause of half a second means
/// idle.
const SHORT_HANG_TIMEOUTS: &str = "[api]\nhang_timeout = \"400ms\"\n[analytics]\nhang_timeout = \"400ms\"\n";

/// The maximum of private memory of the supervisor, in KiB. The pages of its program are shared, and their
/// number depends on the compiler and the kernel.
const MAX_PRIVATE_KIB: u64 = 2 << 10;

#[test]
fn an_idle_service_makes_no_wakeups_and_the_supervisor_uses_little_memory() {
    let bulkhead = Fixture::new(SHORT_HANG_TIMEOUTS).start();
    for _ in 0..10 {
        let client = bulkhead.client();
        for _ in 0..20 {
            let response = client.post_events(r#"{"series":"s","value":1}"#);
            assert!(response.is_ok_and(|response| response.is_success()));
        }
        let _ = bulkhead.wait_until_committed();
    }
    // After the start and the traffic, some work is left: the last probes of the workers, threads that go to
    // sleep, the last log lines. It is done when no thread has run for half a second.
    let pids = [bulkhead.pid(), bulkhead.worker_pid("api"), bulkhead.worker_pid("analytics")];
    let mut before = pids.map(context_switches);
    eventually(bulkhead.log(), "all threads to sleep", || {
        let ended = bulkhead.log().ends_within(Duration::from_millis(500));
        assert!(!ended, "{}", bulkhead.log().dump());
        let now = pids.map(context_switches);
        std::mem::replace(&mut before, now.clone()) == now
    });
    assert!(!bulkhead.log().ends_within(IDLE_TIME), "{}", bulkhead.log().dump());
    for ((name, pid), before) in ["supervisor", "api", "analytics"].into_iter().zip(pids).zip(before) {
        assert_eq!(
            context_switches(pid),
            before,
            "{name} woke up within {IDLE_TIME:?}: (voluntary, involuntary) context switches by thread"
        );
        println!("{name}: {:?}", ResourceUsage::of(pid));
    }
    let usage = ResourceUsage::of(bulkhead.pid());
    assert!(usage.anonymous <= MAX_PRIVATE_KIB, "{usage:?}");
}
