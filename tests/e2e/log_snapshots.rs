//! The log of a crash, in both formats, as snapshots: an operator who reads only the log must understand the
//! crash.
//!
//! Values that vary between runs are replaced: times, pids, durations, and places in source files.

use bulkhead_tests::{Bulkhead, Fixture, log::Line, process::Signal};
use std::fmt::Write as _;

/// Patterns of the values that vary, and their replacements.
const REPLACEMENTS: &[(&str, &str)] = &[
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "[time]"),
    (r"\bpid \d+", "pid [pid]"),
    (r#""pid":\d+"#, r#""pid":[pid]"#),
    (r"\buptime [\d.]+ (ms|s)\b", "uptime [span]"),
    (r"\bnext attempt in [\d.]+ (ms|s)\b", "next attempt in [span]"),
    // A worker that dies soon after its start waits for the minimum interval between starts.
    (r"\brestart (now|in [\d.]+ (ms|s))", "restart [soon]"),
    (r"\.rs:\d+:\d+", ".rs:[line]"),
    (r#""(arrived|ts)": "[^"]+""#, r#""$1": "[time]""#),
    (r#""request_id": "[^"]+""#, r#""request_id": "[request]""#),
    (r"thread 'main' \(\d+\)", "thread 'main' ([tid])"),
];

/// A part of the first line that the analysis writes.
pub(crate) const FIRST_LINE: &str = "resumes after";

#[derive(Clone, Copy)]
enum Format {
    Pretty,
    Json,
}

/// A service with this log format that parks a worker at its second death without progress.
fn service(format: Format) -> Bulkhead {
    let format = match format {
        Format::Pretty => "pretty",
        Format::Json => "json",
    };
    let config = format!("log.format = {format:?}\nfaults.enabled = true\nrestart.limit = 2\n");
    let bulkhead = Fixture::new(&config).launch();
    // After these lines, both workers are active.
    wait_for(&bulkhead, "worker_activated", "api");
    wait_for(&bulkhead, FIRST_LINE, "event 0");
    bulkhead
}

fn wait_for(bulkhead: &Bulkhead, what: &str, of: &str) {
    let matches = |line: &Line| line.raw().contains(what) && line.raw().contains(of);
    bulkhead.log().from_start().wait_for(what, matches);
}

/// The log lines from the call of `act` to the first line that contains `last`.
fn log_until(bulkhead: &Bulkhead, act: impl FnOnce(), last: &str) -> String {
    let mut reader = bulkhead.log().from_now();
    act();
    let mut log = String::new();
    loop {
        let line = reader.wait_for(last, |_| true);
        let is_last = line.raw().contains(last);
        // A worker that dies at once may or may not have written its first line.
        if is_last || !line.raw().contains(FIRST_LINE) {
            let _ = writeln!(log, "{}", line.raw());
        }
        if is_last {
            return log;
        }
    }
}

pub(crate) fn assert_matches_snapshot(name: &str, log: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    REPLACEMENTS.iter().for_each(|(pattern, replacement)| settings.add_filter(pattern, *replacement));
    settings.bind(|| insta::assert_snapshot!(name, log));
}

fn post(bulkhead: &Bulkhead, series: &str) {
    let response = bulkhead.client().post_events(&format!(r#"{{"series":{series:?},"value":1}}"#)).unwrap();
    assert_eq!(response.status, 202, "{response:?}");
}

/// An event kills the analysis in this way until the analysis is parked.
fn assert_log_of_poison_event(kind: &str) {
    for (format, name) in [(Format::Pretty, format!("{kind}.pretty")), (Format::Json, format!("{kind}.json"))]
    {
        let bulkhead = service(format);
        let log = log_until(&bulkhead, || post(&bulkhead, &format!("__fault.{kind}")), "worker_parked");
        assert_matches_snapshot(&name, &log);
    }
}

/// A worker is killed from outside and restarted.
fn assert_log_of_kill(worker: &str, last: &str) {
    for (format, name) in [(Format::Pretty, "pretty"), (Format::Json, "json")] {
        let bulkhead = service(format);
        post(&bulkhead, "s");
        bulkhead.wait_until_committed();
        let pid = pid_by_http(&bulkhead, worker);
        let log = log_until(&bulkhead, || bulkhead.signal_worker(pid, Signal::SIGKILL), last);
        assert_matches_snapshot(&format!("kill-{worker}.{name}"), &log);
    }
}

/// The pid of a worker, read by HTTP: this works with both log formats.
fn pid_by_http(bulkhead: &Bulkhead, worker: &str) -> i32 {
    let rows = bulkhead.client().get_json("/v1/workers");
    let row = rows["items"].as_array().unwrap().iter().find(|row| row["name"] == worker).unwrap();
    i32::try_from(row["pid"].as_i64().unwrap()).unwrap()
}

#[test]
fn the_log_of_a_panic_is_complete() {
    assert_log_of_poison_event("panic");
}

#[test]
fn the_log_of_a_segmentation_fault_is_complete() {
    assert_log_of_poison_event("segv");
}

#[test]
fn the_log_of_an_exit_is_complete() {
    assert_log_of_poison_event("exit");
}

#[test]
fn the_log_of_a_killed_analysis_is_complete() {
    assert_log_of_kill("analytics", "resumes after event 1");
}

#[test]
fn the_log_of_a_killed_api_is_complete() {
    assert_log_of_kill("api", "worker_activated");
}
