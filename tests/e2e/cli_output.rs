//! `logs`, `status --watch` and the JSON output of commands.

use crate::common::FAULTS_ENABLED;
use bulkhead_tests::{
    Bulkhead, Fixture,
    log::{DEADLINE, Log},
    process::{self, Signal},
};
use serde_json::Value;

/// The row of a worker in `status --json`.
fn row(bulkhead: &Bulkhead, worker: &str) -> Value {
    let report: Value = serde_json::from_str(&bulkhead.cli(&["status", "--json"]).stdout).unwrap();
    report["workers"].as_array().unwrap().iter().find(|row| row["name"] == worker).unwrap().clone()
}

#[test]
fn the_logs_command_shows_a_crash() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    let client = bulkhead.client();
    let mut log = bulkhead.log().from_now();
    assert_eq!(client.post_events(r#"{"series":"__fault.panic","value":1}"#).unwrap().status, 202);
    log.wait_for_worker("worker_died", "analytics");

    let output = bulkhead.cli(&["logs", "analytics"]);

    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{output:?}");
    let died = output.stdout.lines().find(|line| line.contains("worker_died: analytics")).unwrap();
    assert!(
        died.contains("ERROR") && died.contains("panic: ") && died.contains("event 1 in flight"),
        "{died}"
    );
    assert!(!output.stdout.contains('\x1b'), "colours must appear only on a terminal: {}", output.stdout);
    let output = bulkhead.cli(&["logs", "analytics", "--json"]);
    for line in output.stdout.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["worker"], "analytics");
        // The supervisor may have kept the line before the harness reads it.
        bulkhead
            .log()
            .from_start()
            .wait_for("the same line in the log", |logged| logged.fields() == Some(&line));
    }
}

#[test]
fn following_the_logs_continues_after_a_crash() {
    let bulkhead = Fixture::new("").start();
    let mut follower = bulkhead.fixture().spawn_cli(&["logs", "-f", "--json", "-n", "0", "analytics"]);
    let followed = Log::follow(follower.stdout.take().unwrap());
    // Nothing announces that `logs -f` is connected. The test restarts the analysis until a new line arrives.
    bulkhead_tests::eventually(bulkhead.log(), "the first line of the follower", || {
        assert_eq!(bulkhead.cli(&["restart", "analytics"]).code, Some(0));
        !followed.matching(|_| true).is_empty()
    });
    let mut log = followed.from_now();

    let pid = row(&bulkhead, "analytics")["pid"].as_i64().unwrap();
    bulkhead.signal_worker(i32::try_from(pid).unwrap(), Signal::SIGKILL);

    // Lines of the restarts above may still arrive.
    let died = log.wait_for("the death of the analysis", |line| {
        line.is_worker_event("worker_died", "analytics") && line.text("cause") == "signal"
    });
    let activated = log.wait_for_worker("worker_activated", "analytics");
    assert!(activated.number("generation") > died.number("generation"));
    let pid = i32::try_from(follower.id()).unwrap();
    process::signal(pid, Signal::SIGINT);
    assert!(followed.ends_within(DEADLINE));
    assert_eq!(follower.wait().unwrap().code(), Some(0), "Ctrl-C must end the command with code 0");
}

#[test]
fn watching_the_status_shows_each_change_and_ends_with_ctrl_c() {
    let bulkhead = Fixture::new("").start();
    let mut watcher = bulkhead.fixture().spawn_cli(&["status", "--watch", "--json"]);
    let watched = Log::follow(watcher.stdout.take().unwrap());
    let mut log = watched.from_start();
    let state = |line: &bulkhead_tests::log::Line, expected: &str| {
        let rows = line.fields().and_then(|report| report["workers"].as_array().cloned()).unwrap_or_default();
        rows.iter().any(|row| row["name"] == "analytics" && row["state"] == expected)
    };
    log.wait_for("the first status", |line| state(line, "running"));

    assert_eq!(bulkhead.cli(&["stop", "analytics"]).code, Some(0));
    log.wait_for("the stopped analysis", |line| state(line, "stopped"));
    assert_eq!(bulkhead.cli(&["start", "analytics"]).code, Some(0));
    log.wait_for("the running analysis", |line| state(line, "running"));

    process::signal(i32::try_from(watcher.id()).unwrap(), Signal::SIGINT);
    assert_eq!(watcher.wait().unwrap().code(), Some(0));
}

#[test]
fn commands_print_json_on_success_and_on_failure() {
    let bulkhead = Fixture::new("").start();
    let run_json = |arguments: &[&str], code: i32| -> Value {
        let output = bulkhead.cli(arguments);
        assert_eq!((output.code, output.stderr.as_str()), (Some(code), ""), "{output:?}");
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    };
    let restarted = run_json(&["restart", "analytics", "--json"], 0);
    assert_eq!((&restarted["outcome"], &restarted["worker"]), (&"done".into(), &"analytics".into()));
    assert_eq!(restarted["generation"], row(&bulkhead, "analytics")["generation"]);
    assert_eq!(run_json(&["stop", "analytics", "--json"], 0).get("generation"), None);
    let unknown = run_json(&["stop", "analytic", "--json"], 1);
    assert_eq!(unknown["outcome"], "not_found");
    assert!(unknown["text"].as_str().unwrap().contains("did you mean \"analytics\"?"), "{unknown}");
    assert_eq!(run_json(&["fault", "api", "kill", "--json"], 1)["outcome"], "not_found");
    assert_eq!(run_json(&["logs", "unknown", "--json"], 1)["outcome"], "not_found");
}

#[test]
fn without_a_supervisor_the_error_is_json_too() {
    let output = Fixture::new("").cli(&["status", "--json"]);
    assert_eq!((output.code, output.stderr.as_str()), (Some(3), ""), "{output:?}");
    let error: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(error["outcome"], "unreachable");
}
