//! What an operator reads without access to the supervisor's stderr, and watches.

use crate::FAULTS;
use bulkhead_tests::{
    Bulkhead, Home,
    log::{DEADLINE, Log},
    process::{self, Signal},
};
use serde_json::Value;

/// A worker's row in `status --json`.
fn row(bulkhead: &Bulkhead, worker: &str) -> Value {
    let report: Value = serde_json::from_str(&bulkhead.say(&["status", "--json"]).out).unwrap();
    report["workers"].as_array().unwrap().iter().find(|row| row["name"] == worker).unwrap().clone()
}

#[test]
fn the_logs_of_a_crash_tell_its_story() {
    let bulkhead = Home::new(FAULTS).start();
    let client = bulkhead.client();
    let mut story = bulkhead.log().from_now();
    assert_eq!(client.post_events(r#"{"series":"__fault.panic","value":1}"#).unwrap().status, 202);
    story.wait_for_worker("worker_died", "analytics");

    let said = bulkhead.say(&["logs", "analytics"]);

    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    let died = said.out.lines().find(|line| line.contains("worker_died: analytics")).unwrap();
    assert!(
        died.contains("ERROR") && died.contains("panic: ") && died.contains("event 1 in flight"),
        "{died}"
    );
    assert!(!said.out.contains('\x1b'), "no colours but on a terminal: {}", said.out);
    let said = bulkhead.say(&["logs", "analytics", "--json"]);
    for line in said.out.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["worker"], "analytics");
        // The supervisor may have kept it before the harness has read it.
        bulkhead.log().from_start().wait_for("the same object", |logged| logged.fields() == Some(&line));
    }
}

#[test]
fn following_goes_on_across_a_crash() {
    let bulkhead = Home::new("").start();
    let mut follower = bulkhead.home().leave_running(&["logs", "-f", "--json", "-n", "0", "analytics"]);
    let followed = Log::follow(follower.stdout.take().unwrap());
    // It follows as soon as something that was said behind it arrives: nothing else announces it.
    bulkhead_tests::eventually(bulkhead.log(), "the follower to follow", || {
        assert_eq!(bulkhead.say(&["restart", "analytics"]).code, Some(0));
        !followed.all(|_| true).is_empty()
    });
    let mut story = followed.from_now();

    let pid = row(&bulkhead, "analytics")["pid"].as_i64().unwrap();
    bulkhead.signal_worker(i32::try_from(pid).unwrap(), Signal::SIGKILL);

    // Lines of the restarts may still be on their way.
    let died = story.wait_for("the death", |line| {
        line.tells("worker_died", "analytics") && line.text("cause") == "signal"
    });
    let activated = story.wait_for_worker("worker_activated", "analytics");
    assert!(activated.number("generation") > died.number("generation"));
    let pid = i32::try_from(follower.id()).unwrap();
    process::signal(pid, Signal::SIGINT);
    assert!(followed.ends_within(DEADLINE));
    assert_eq!(follower.wait().unwrap().code(), Some(0), "Ctrl-C is an ordinary end");
}

#[test]
fn watching_shows_each_change_and_ends_with_ctrl_c() {
    let bulkhead = Home::new("").start();
    let mut watcher = bulkhead.home().leave_running(&["status", "--watch", "--json"]);
    let watched = Log::follow(watcher.stdout.take().unwrap());
    let mut story = watched.from_start();
    let state = |line: &bulkhead_tests::log::Line, wanted: &str| {
        let rows = line.fields().and_then(|report| report["workers"].as_array().cloned()).unwrap_or_default();
        rows.iter().any(|row| row["name"] == "analytics" && row["state"] == wanted)
    };
    story.wait_for("the first report", |line| state(line, "running"));

    assert_eq!(bulkhead.say(&["stop", "analytics"]).code, Some(0));
    story.wait_for("the change", |line| state(line, "stopped"));
    assert_eq!(bulkhead.say(&["start", "analytics"]).code, Some(0));
    story.wait_for("the change back", |line| state(line, "running"));

    process::signal(i32::try_from(watcher.id()).unwrap(), Signal::SIGINT);
    assert_eq!(watcher.wait().unwrap().code(), Some(0));
}

#[test]
fn commands_answer_programs_in_json_whether_they_succeed_or_fail() {
    let bulkhead = Home::new("").start();
    let answer = |arguments: &[&str], code: i32| -> Value {
        let said = bulkhead.say(arguments);
        assert_eq!((said.code, said.err.as_str()), (Some(code), ""), "{said:?}");
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    };
    let restarted = answer(&["restart", "analytics", "--json"], 0);
    assert_eq!((&restarted["outcome"], &restarted["worker"]), (&"done".into(), &"analytics".into()));
    assert_eq!(restarted["generation"], row(&bulkhead, "analytics")["generation"]);
    assert_eq!(answer(&["stop", "analytics", "--json"], 0).get("generation"), None);
    let unknown = answer(&["stop", "analytic", "--json"], 1);
    assert_eq!(unknown["outcome"], "not_found");
    assert!(unknown["text"].as_str().unwrap().contains("did you mean \"analytics\"?"), "{unknown}");
    assert_eq!(answer(&["fault", "api", "kill", "--json"], 1)["outcome"], "not_found");
    assert_eq!(answer(&["logs", "nobody", "--json"], 1)["outcome"], "not_found");
}

#[test]
fn without_a_supervisor_programs_are_told_in_json_too() {
    let said = Home::new("").say(&["status", "--json"]);
    assert_eq!((said.code, said.err.as_str()), (Some(3), ""), "{said:?}");
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(answer["outcome"], "unreachable");
}
