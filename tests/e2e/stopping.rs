//! The end of the supervisor: nothing stays behind, and it says what it did.

use bulkhead_tests::{
    Bulkhead, Home,
    process::{self, Signal},
};

/// A plain worker that does not leave when it is asked to, and a child of it that does not either.
const STUBBORN: &str = r#"
[[worker]]
name = "stubborn"
command = ["sh", "-c", "trap '' TERM; (while :; do sleep 1; done) & echo never; while :; do sleep 1; done"]
"#;

fn start_with_stubborn(stop_timeout: &str) -> Bulkhead {
    let bulkhead = Home::new(&format!("{STUBBORN}stop_timeout = \"{stop_timeout}\"\n")).start();
    bulkhead.log().from_start().wait_for("the stubborn worker's word", |line| line.raw().contains("never"));
    bulkhead
}

#[test]
fn sigterm_ends_every_process_and_says_so() {
    stops_in_order(Signal::SIGTERM);
}

#[test]
fn ctrl_c_ends_every_process_and_says_so() {
    stops_in_order(Signal::SIGINT);
}

fn stops_in_order(signal: Signal) {
    let bulkhead = Home::new("[[worker]]\nname = \"idle\"\ncommand = [\"sleep\", \"infinity\"]\n").start();
    bulkhead.log().from_start().wait_for_worker("worker_ready", "idle");
    let tree = process::tree(bulkhead.pid());
    assert_eq!(tree.len(), 4, "the supervisor and three workers: {:?}", process::alive(&tree));

    let stopped = bulkhead.stop(signal);

    assert!(stopped.status.success(), "{:?} after\n{}", stopped.status, stopped.log.dump());
    assert_eq!(process::alive(&tree), [""; 0]);
    let mut story = stopped.log.from_start();
    story.wait_for("why it stops", |line| line.is("supervisor_stopping"));
    for worker in ["idle", "api", "analytics"] {
        let died = story.wait_for_worker("worker_died", worker);
        assert_eq!(died.text("cause"), "requested", "{}", died.raw());
    }
    story.wait_for("its last word", |line| line.is("supervisor_stopped"));
}

#[test]
fn a_worker_that_does_not_leave_is_ended_with_its_children() {
    let bulkhead = start_with_stubborn("50ms");
    let tree = process::tree(bulkhead.pid());

    let stopped = bulkhead.stop(Signal::SIGTERM);

    process::wait_until_gone(&tree, &stopped.log);
    stopped.log.from_start().wait_for("the SIGKILL", |line| {
        line.tells("worker_signalled", "stubborn") && line.raw().contains("SIGKILL")
    });
}

#[test]
fn a_second_signal_ends_everything_at_once() {
    // Longer than this test would wait.
    let bulkhead = start_with_stubborn("1h");
    let tree = process::tree(bulkhead.pid());
    process::signal(bulkhead.pid(), Signal::SIGINT);
    bulkhead.log().from_start().wait_for("the orderly stop", |line| line.is("supervisor_stopping"));

    let stopped = bulkhead.stop(Signal::SIGINT);

    assert_eq!(stopped.status.code(), Some(1), "{:?} after\n{}", stopped.status, stopped.log.dump());
    process::wait_until_gone(&tree, &stopped.log);
}

#[test]
fn a_second_supervisor_on_the_same_state_is_refused() {
    let bulkhead = Home::new("").start();
    let config = bulkhead.home().path("bulkhead.toml");
    let second = bulkhead.say(&["run", "--config", config.to_str().unwrap()]);
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.err.contains("state"), "{second:?}");
    assert_eq!(bulkhead.client().json("/v1/stats")["accepted"], 0);
}
