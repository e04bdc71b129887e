//! The stop of the supervisor: no process is left, and the log has all deaths.

use bulkhead_tests::{
    Bulkhead, Fixture,
    process::{self, Signal},
};

/// A plain worker that ignores SIGTERM, and a child of it that does so, too.
const STUBBORN: &str = r#"
[[worker]]
name = "stubborn"
command = ["sh", "-c", "trap '' TERM; (while :; do sleep 1; done) & echo never; while :; do sleep 1; done"]
"#;

fn start_with_stubborn(stop_timeout: &str) -> Bulkhead {
    let bulkhead = Fixture::new(&format!("{STUBBORN}stop_timeout = \"{stop_timeout}\"\n")).start();
    bulkhead.log().from_start().wait_for("the line of the worker", |line| line.raw().contains("never"));
    bulkhead
}

#[test]
fn sigterm_ends_every_process_and_logs_it() {
    assert_clean_stop(Signal::SIGTERM);
}

#[test]
fn ctrl_c_ends_every_process_and_logs_it() {
    assert_clean_stop(Signal::SIGINT);
}

fn assert_clean_stop(signal: Signal) {
    let bulkhead = Fixture::new("[[worker]]\nname = \"idle\"\ncommand = [\"sleep\", \"infinity\"]\n").start();
    bulkhead.log().from_start().wait_for_worker("worker_ready", "idle");
    let tree = process::tree(bulkhead.pid());
    assert_eq!(tree.len(), 4, "the supervisor and three workers: {:?}", process::alive(&tree));

    let stopped = bulkhead.stop(signal);

    assert!(stopped.status.success(), "{:?} after\n{}", stopped.status, stopped.log.dump());
    assert_eq!(process::alive(&tree), [""; 0]);
    let mut log = stopped.log.from_start();
    log.wait_for("the reason for the stop", |line| line.is("supervisor_stopping"));
    for worker in ["idle", "api", "analytics"] {
        let died = log.wait_for_worker("worker_died", worker);
        assert_eq!(died.text("cause"), "requested", "{}", died.raw());
    }
    log.wait_for("the last line", |line| line.is("supervisor_stopped"));
}

#[test]
fn a_worker_that_ignores_sigterm_is_killed_with_its_children() {
    let bulkhead = start_with_stubborn("50ms");
    let tree = process::tree(bulkhead.pid());

    let stopped = bulkhead.stop(Signal::SIGTERM);

    process::wait_until_gone(&tree, &stopped.log);
    stopped.log.from_start().wait_for("the SIGKILL", |line| {
        line.is_worker_event("worker_signalled", "stubborn") && line.raw().contains("SIGKILL")
    });
}

#[test]
fn a_second_signal_kills_every_process_at_once() {
    // Longer than this test waits.
    let bulkhead = start_with_stubborn("1h");
    let tree = process::tree(bulkhead.pid());
    process::signal(bulkhead.pid(), Signal::SIGINT);
    bulkhead.log().from_start().wait_for("the clean stop", |line| line.is("supervisor_stopping"));

    let stopped = bulkhead.force(Signal::SIGINT);

    assert_eq!(stopped.status.code(), Some(1), "{:?} after\n{}", stopped.status, stopped.log.dump());
    process::wait_until_gone(&tree, &stopped.log);
}

#[test]
fn a_second_supervisor_on_the_same_state_directory_is_refused() {
    let bulkhead = Fixture::new("").start();
    let config = bulkhead.fixture().path("bulkhead.toml");
    let second = bulkhead.cli(&["run", "--config", config.to_str().unwrap()]);
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("state"), "{second:?}");
    assert_eq!(bulkhead.client().get_json("/v1/stats")["accepted"], 0);
}
