//! Configurations, skip conditions and crash reports that several test files use.

use bulkhead_tests::{Bulkhead, eventually};
use serde_json::Value;

/// Enables faults.
pub(crate) const FAULTS_ENABLED: &str = "[faults]\nenabled = true\n";

/// Enables faults, and disables the brake for tests with many poison events in a row.
pub(crate) const FAULTS_WITHOUT_BRAKE: &str = "[faults]\nenabled = true\n[analytics]\nbrake = \"off\"\n";

/// Enables faults, and shortens the hang timeouts for tests in which workers hang.
pub(crate) const FAULTS_AND_SHORT_HANG_TIMEOUTS: &str =
    "[faults]\nenabled = true\n[api]\nhang_timeout = \"300ms\"\n[analytics]\nhang_timeout = \"300ms\"\n";

/// Whether the test runs as root. Otherwise, prints that the test is skipped.
pub(crate) fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: changing the user and mounting a file system need root");
    }
    root
}

/// Waits until the crash report with this id is stored, and returns it.
pub(crate) fn crash_report(bulkhead: &Bulkhead, id: u64) -> Value {
    let (client, path) = (bulkhead.client(), format!("/v1/crashes/{id}"));
    eventually(bulkhead.log(), "the crash report", || {
        client.get(&path).is_ok_and(|response| response.is_success())
    });
    client.get_json(&path)
}

/// Calls `induce` and returns the crash report of the next death of this worker.
pub(crate) fn next_crash_report(bulkhead: &Bulkhead, worker: &str, induce: impl FnOnce()) -> Value {
    let mut log = bulkhead.log().from_now();
    induce();
    let died = log.wait_for_worker("worker_died", worker);
    crash_report(bulkhead, died.number("crash").unwrap())
}
