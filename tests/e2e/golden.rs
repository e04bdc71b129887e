//! The log of a crash, as a person and as a machine reads it: this log alone must explain the crash.
//!
//! What differs from run to run is replaced: times, pids, spans, and places in source files.

use bulkhead_tests::{Bulkhead, Home, log::Line, process::Signal};
use std::fmt::Write as _;

/// What is replaced by what.
const VARIES: &[(&str, &str)] = &[
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "[time]"),
    (r"\bpid \d+", "pid [pid]"),
    (r#""pid":\d+"#, r#""pid":[pid]"#),
    (r"\buptime [\d.]+ (ms|s)\b", "uptime [span]"),
    (r"\b(tried again|next attempt) in [\d.]+ (ms|s)\b", "$1 in [span]"),
    // A worker that dies young waits for the spacing of starts.
    (r"\brestart (now|in [\d.]+ (ms|s))", "restart [soon]"),
    (r"\.rs:\d+:\d+", ".rs:[line]"),
    (r#""(arrived|ts)": "[^"]+""#, r#""$1": "[time]""#),
    (r#""request_id": "[^"]+""#, r#""request_id": "[request]""#),
    (r"thread 'main' \(\d+\)", "thread 'main' ([tid])"),
];

/// What the analysis itself says first.
pub(crate) const OWN_WORD: &str = "resumes after";

#[derive(Clone, Copy)]
enum Form {
    Pretty,
    Json,
}

/// A service that logs in this form and parks a worker at its second death without progress.
fn service(form: Form) -> Bulkhead {
    let form = match form {
        Form::Pretty => "pretty",
        Form::Json => "json",
    };
    let config = format!("log.format = {form:?}\nfaults.enabled = true\nrestart.limit = 2\n");
    let bulkhead = Home::new(&config).begin();
    // Both are at work once these lines are there.
    wait_for(&bulkhead, "worker_activated", "api");
    wait_for(&bulkhead, OWN_WORD, "event 0");
    bulkhead
}

fn wait_for(bulkhead: &Bulkhead, what: &str, of: &str) {
    let both = |line: &Line| line.raw().contains(what) && line.raw().contains(of);
    bulkhead.log().from_start().wait_for(what, both);
}

/// All that is said from the moment of `act` to the line in which this text is.
fn story(bulkhead: &Bulkhead, act: impl FnOnce(), last: &str) -> String {
    let mut reading = bulkhead.log().from_now();
    act();
    let mut story = String::new();
    loop {
        let line = reading.wait_for(last, |_| true);
        let is_last = line.raw().contains(last);
        // A worker that dies at once may or may not have written its own first line before.
        if is_last || !line.raw().contains(OWN_WORD) {
            let _ = writeln!(story, "{}", line.raw());
        }
        if is_last {
            return story;
        }
    }
}

pub(crate) fn assert_golden(name: &str, story: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    VARIES.iter().for_each(|(varies, shown)| settings.add_filter(varies, *shown));
    settings.bind(|| insta::assert_snapshot!(name, story));
}

fn post(bulkhead: &Bulkhead, series: &str) {
    let answer = bulkhead.client().post_events(&format!(r#"{{"series":{series:?},"value":1}}"#)).unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
}

/// An event kills the analysis in this way, again and again until it is parked.
fn poison(kind: &str) {
    for (form, name) in [(Form::Pretty, format!("{kind}.pretty")), (Form::Json, format!("{kind}.json"))] {
        let bulkhead = service(form);
        let story = story(&bulkhead, || post(&bulkhead, &format!("__fault.{kind}")), "worker_parked");
        assert_golden(&name, &story);
    }
}

/// A worker is killed from outside, and comes back.
fn kill(worker: &str, last: &str) {
    for (form, name) in [(Form::Pretty, "pretty"), (Form::Json, "json")] {
        let bulkhead = service(form);
        post(&bulkhead, "s");
        bulkhead.settled();
        let pid = row(&bulkhead, worker);
        let story = story(&bulkhead, || bulkhead.signal_worker(pid, Signal::SIGKILL), last);
        assert_golden(&format!("kill-{worker}.{name}"), &story);
    }
}

/// The pid of a worker; the log's form does not matter to this.
fn row(bulkhead: &Bulkhead, worker: &str) -> i32 {
    let rows = bulkhead.client().json("/v1/workers");
    let row = rows["items"].as_array().unwrap().iter().find(|row| row["name"] == worker).unwrap();
    i32::try_from(row["pid"].as_i64().unwrap()).unwrap()
}

#[test]
fn the_log_tells_the_story_of_a_panic() {
    poison("panic");
}

#[test]
fn the_log_tells_the_story_of_a_segmentation_fault() {
    poison("segv");
}

#[test]
fn the_log_tells_the_story_of_an_exit() {
    poison("exit");
}

#[test]
fn the_log_tells_the_story_of_a_killed_analysis() {
    kill("analytics", "resumes after event 1");
}

#[test]
fn the_log_tells_the_story_of_a_killed_api() {
    kill("api", "worker_activated");
}
