//! Crash reports: each death has one, by command and by HTTP, and it tells the whole story (P5).
//!
//! What differs from run to run is replaced, as in `golden.rs`: times, pids, figures, and places in source files.

use crate::{
    FAULTS, HANGS,
    golden::{OWN_WORD, assert_golden},
    state_dir::is_root,
};
use bulkhead_proto::{wire::fault::FaultKind, worker::fault::FAULT_PANIC};
use bulkhead_tests::{
    Bulkhead, Home, binaries, eventually,
    log::{Line, Reading},
    process::Signal,
};
use serde_json::{Value, json};
use std::fs;

/// The report of that death, once it is stored.
pub(crate) fn report(bulkhead: &Bulkhead, id: u64) -> Value {
    let (client, path) = (bulkhead.client(), format!("/v1/crashes/{id}"));
    eventually(bulkhead.log(), "the crash report", || {
        client.get(&path).is_ok_and(|answer| answer.is_success())
    });
    client.json(&path)
}

/// The report of the next death of this worker.
pub(crate) fn next_report(bulkhead: &Bulkhead, worker: &str, induce: impl FnOnce()) -> Value {
    let mut story = bulkhead.log().from_now();
    induce();
    let died = story.wait_for_worker("worker_died", worker);
    report(bulkhead, died.number("crash").unwrap())
}

/// Waits for the first line of the analysis, which a thread of its own writes: it could get into the midst of what std
/// says of a death, piece by piece.
fn wait_for_own_word(story: &mut Reading) {
    story.wait_for(OWN_WORD, |line| line.text("message").contains(OWN_WORD));
}

/// Without what differs from run to run and is no text.
fn tamed(mut report: Value) -> String {
    if report["panic"].is_object() {
        // It differs from compiler to compiler; the last frame of our own does not.
        let innermost = report["backtrace"][0].as_str().unwrap();
        let own = innermost.starts_with("bulkhead_proto::worker::fault::execute at ");
        assert!(own && innermost.contains("/fault.rs:"), "{report}");
        report["backtrace"] = json!("[backtrace]");
    }
    let output = report["output"].as_array().cloned().unwrap_or_default();
    let told = output.into_iter().filter(|line| !line["text"].as_str().unwrap().contains(OWN_WORD));
    report["output"] = told.collect();
    for (key, shown) in [("at", "[time]"), ("pid", "[pid]"), ("uptime_ms", "[span]")] {
        assert!(report[key].is_string() || report[key].is_u64(), "no {key} in {report}");
        report[key] = json!(shown);
    }
    for figure in ["peak_rss_bytes", "user_ms", "system_ms"] {
        assert!(report["resources"][figure].is_u64(), "no {figure} in {report}");
        report["resources"][figure] = json!("[figure]");
    }
    // Of a hang: what its threads were doing, where it was (see `hanging.rs`), and for how long nothing came of it.
    if report["living"].as_array().is_some_and(|living| !living.is_empty()) {
        report["living"] = json!(["[threads]"]);
        if let Some(backtrace) = report.get_mut("backtrace") {
            *backtrace = json!("[backtrace]");
        }
        let detail = report["detail"].as_str().unwrap();
        let (what, when) = detail.split_once(" for ").unwrap();
        let when = when.split_once(" while ").unwrap().1;
        report["detail"] = json!(format!("{what} for [span] while {when}"));
    }
    serde_json::to_string_pretty(&report).unwrap()
}

#[test]
fn a_report_tells_of_each_fault_by_event() {
    for kind in FaultKind::ALL {
        let bulkhead = Home::new(HANGS).start();
        wait_for_own_word(&mut bulkhead.log().from_start());
        let mut given = String::new();
        let report = next_report(&bulkhead, "analytics", || {
            let body = format!(r#"{{"series":"__fault.{kind}","value":1.5,"label":"tea"}}"#);
            let answer = bulkhead.client().post_events(&body).unwrap();
            assert_eq!(answer.status, 202, "{answer:?}");
            answer.header("x-request-id").clone_into(&mut given);
        });
        assert!(!given.is_empty());
        for told in [&report["request_id"], &report["event"]["request_id"]] {
            assert_eq!(told, &given, "{report}");
        }
        assert_golden(&format!("crash-{kind}-by-event"), &tamed(report));
    }
}

/// By command and by HTTP it is the same death.
#[test]
fn a_report_tells_of_each_fault_that_was_asked_for() {
    for kind in FaultKind::ALL {
        let bulkhead = Home::new(HANGS).start();
        let mut story = bulkhead.log().from_start();
        wait_for_own_word(&mut story);
        let by_command = next_report(&bulkhead, "analytics", || {
            assert_eq!(bulkhead.say(&["fault", "analytics", kind.as_str()]).code, Some(0));
        });
        wait_for_own_word(&mut story);
        let by_http = next_report(&bulkhead, "analytics", || {
            let path = format!("/v1/faults/analytics/{kind}");
            let answer = bulkhead.client().post(&path, "application/json", "").unwrap();
            assert_eq!(answer.status, 202, "{answer:?}");
        });
        for mut report in [by_command, by_http] {
            (report["id"], report["generation"]) = (json!("[id]"), json!("[generation]"));
            assert_golden(&format!("crash-{kind}-asked-for"), &tamed(report));
        }
    }
}

#[test]
fn a_report_tells_of_the_death_of_an_api() {
    let bulkhead = Home::new(FAULTS).start();
    let report = next_report(&bulkhead, "api", || {
        assert_eq!(bulkhead.say(&["fault", "api", "panic"]).code, Some(0));
    });
    assert_golden("crash-of-an-api", &tamed(report));
}

#[test]
fn reports_are_the_same_by_command_and_by_http() {
    let bulkhead = Home::new(FAULTS).start();
    let said = |arguments: &[&str], code| {
        let said = bulkhead.say(&[&["crashes"], arguments].concat());
        assert_eq!(said.code, Some(code), "{said:?}");
        said.out + &said.err
    };
    assert_eq!(said(&[], 0).trim(), "nobody has died");
    assert!(said(&["1"], 1).contains("no report of crash 1"));
    assert_eq!(bulkhead.client().get("/v1/crashes/1").unwrap().status, 404);

    next_report(&bulkhead, "analytics", || {
        assert_eq!(bulkhead.say(&["fault", "analytics", "abort"]).code, Some(0));
    });
    let parsed = |text: String| -> Value { serde_json::from_str(&text).unwrap() };
    assert_eq!(parsed(said(&["--json"], 0)), bulkhead.client().json("/v1/crashes"));
    assert_eq!(parsed(said(&["1", "--json"], 0)), bulkhead.client().json("/v1/crashes/1"));
    let list = said(&[], 0);
    assert!(list.starts_with("1  2") && list.contains("fault abort: SIGABRT"), "{list}");
    let shown = said(&["1"], 0);
    for part in ["crash 1: analytics gen 2 pid ", "decision:  restart", "resident at most"] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
}

#[test]
fn an_event_that_was_set_aside_leads_to_the_report_of_its_last_death() {
    let bulkhead = Home::new(FAULTS).start();
    let body = r#"{"series":"__fault.segv","value":1}"#;
    assert_eq!(bulkhead.client().post_events(body).unwrap().status, 202);
    bulkhead.settled();
    let entry = bulkhead.client().json("/v1/quarantine/1");
    let report = report(&bulkhead, entry["crash"].as_u64().unwrap());
    assert_eq!(report["event"], entry["event"], "{report}");
    assert_eq!((&report["attempts"], &report["max_attempts"]), (&json!(2), &json!(2)), "{report}");
    assert!(report["why"].as_str().unwrap().contains("tried 2 of 2 times: to be set aside"), "{report}");
}

/// A service whose analysis dies of some series in other moments than of applying their events.
fn brittle_service() -> Bulkhead {
    let misbehave = env!("CARGO_BIN_EXE_bulkhead-misbehave");
    Home::new(&format!("[analytics]\ncommand = [{misbehave:?}, \"is-brittle\"]\n")).start()
}

fn post(bulkhead: &Bulkhead, events: &[(&str, u32)]) {
    let event = |(series, value): &(&str, u32)| format!(r#"{{"series":{series:?},"value":{value}}}"#);
    let events: Vec<String> = events.iter().map(event).collect();
    let answer = bulkhead.client().post_events(&format!("[{}]", events.join(","))).unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
}

/// The event was set aside for what happened while this was done with it, and so its report says.
fn assert_set_aside_for(bulkhead: &Bulkhead, seq: u64, during: &str, what: &str) {
    let entry = bulkhead.client().json(&format!("/v1/quarantine/{seq}"));
    let report = report(bulkhead, entry["crash"].as_u64().unwrap());
    for told in [&entry, &report] {
        assert_eq!((&told["seq"], &told["attempts"]), (&seq.into(), &2.into()), "{told}");
        assert_eq!((&told["during"], &told["cause"]), (&during.into(), &"panic".into()), "{told}");
        assert!(told["detail"].as_str().unwrap().contains(what), "{told}");
    }
}

#[test]
fn an_event_that_kills_the_commit_is_found_among_several_and_set_aside_for_that() {
    let bulkhead = brittle_service();
    post(&bulkhead, &[("s", 1), ("unshowable", 1), ("s", 1)]);
    let stats = bulkhead.settled();
    assert_eq!((&stats["analysed"], &stats["quarantined"]), (&2.into(), &1.into()), "{stats}");
    assert_eq!(bulkhead.client().json("/v1/series/s")["count"], 2);
    assert_set_aside_for(&bulkhead, 2, "commit", "this series cannot be shown");
    // Where others were in the same commit, which of them it died of was not known, and none is named.
    bulkhead.log().from_start().wait_for_worker("event_quarantined", "analytics");
    let another = |died: &Line| died.is("worker_died") && !matches!(died.number("seq"), None | Some(2));
    assert_eq!(bulkhead.log().all(another).len(), 0, "{}", bulkhead.log().dump());
}

#[test]
fn an_event_whose_series_cannot_be_loaded_is_set_aside_for_that() {
    let bulkhead = brittle_service();
    post(&bulkhead, &[("s", 13)]);
    bulkhead.settled();
    let mut story = bulkhead.log().from_now();
    bulkhead.signal_worker(bulkhead.pid_of("analytics"), Signal::SIGKILL);
    story.wait_for_worker("worker_activated", "analytics");
    post(&bulkhead, &[("s", 1), ("other", 1)]);
    let stats = bulkhead.settled();
    assert_eq!((&stats["analysed"], &stats["quarantined"]), (&2.into(), &1.into()), "{stats}");
    assert_set_aside_for(&bulkhead, 2, "load", "a state of this sum cannot be loaded");
}

/// With faults, and an analysis that is to tell the backtraces of its panics itself.
const BACKTRACES: &str = "faults.enabled = true\nanalytics.env.RUST_BACKTRACE = \"1\"\n";

/// The report of the next panic.
fn panicked(bulkhead: &Bulkhead) -> Value {
    let report = next_report(bulkhead, "analytics", || post(bulkhead, &[("__fault.panic", 1)]));
    assert_eq!(report["panic"]["message"], FAULT_PANIC, "{report}");
    report
}

#[test]
fn the_text_of_a_panic_stands_before_a_backtrace_that_the_environment_asks_for() {
    let report = panicked(&Home::new(BACKTRACES).start());
    let output = report["output"].as_array().unwrap();
    let told = output.iter().find_map(|line| line["text"].as_str().filter(|text| text.contains(FAULT_PANIC)));
    let (before, _) = told.unwrap().split_once("backtrace=").unwrap_or_else(|| panic!("none in {report}"));
    assert!(before.contains(FAULT_PANIC), "{report}");
}

#[test]
fn a_panic_is_known_before_its_backtrace_is_told_which_may_take_for_ever() {
    if !is_root() {
        return;
    }
    let home = Home::new(&format!("{BACKTRACES}analytics.hang_timeout = \"200ms\"\n"));
    let pipe = home.pipe("pipe");
    let bulkhead = home.start_on_a_small_disk("1m");
    // Where it looks for the names of its frames there is now a pipe, and nobody ever writes to it.
    let program = binaries::find(binaries::ANALYTICS);
    bulkhead.among_its_mounts(r#"mount --bind "$0" "$1""#, &[&pipe, &program]);
    let report = panicked(&bulkhead);
    assert_eq!(report["cause"], "hang", "it did not get stuck: {report}");
}

#[test]
fn the_frames_of_a_program_that_a_wrapper_has_become_have_its_names_and_not_the_wrappers() {
    let program = binaries::find(binaries::ANALYTICS);
    let command = format!("exec {}", program.display());
    let config = format!("{FAULTS}[analytics]\ncommand = [\"sh\", \"-c\", {command:?}]\n");
    let report = panicked(&Home::new(&config).start());
    let frames = report["backtrace"].as_array().unwrap();
    assert!(frames.iter().any(|frame| frame.as_str().unwrap().contains("execute at ")), "{report}");
}

#[test]
fn a_worker_that_cannot_be_started_has_a_report_as_well() {
    let bulkhead = Home::new("[[worker]]\nname = \"x\"\ncommand = [\"/nonexistent/program\"]\n").start();
    let died = bulkhead.log().from_start().wait_for_worker("worker_died", "x");
    let report = report(&bulkhead, died.number("crash").unwrap());
    assert_eq!((&report["cause"], &report["pid"]), (&json!("config"), &Value::Null), "{report}");
    assert!(report["detail"].as_str().unwrap().contains("/nonexistent/program"), "{report}");
}

#[test]
fn a_plain_worker_is_reported_with_its_last_lines_in_order() {
    // What it writes to two pipes has no order, unless the first is read before the second is written.
    let script = "echo one; echo two >&2; read go <gate; echo three; exit 3";
    let config = format!("[[worker]]\nname = \"x\"\ncommand = [\"sh\", \"-c\", {script:?}]\n");
    let home = Home::new(&config);
    let gate = home.pipe("gate");
    let bulkhead = home.start();
    for line in ["one", "two"] {
        bulkhead.log().from_start().wait_for(line, |told| told.text("message") == line);
    }
    fs::write(gate, "go\n").unwrap();
    let died = bulkhead.log().from_start().wait_for_worker("worker_died", "x");
    let report = report(&bulkhead, died.number("crash").unwrap());
    assert_eq!(report["exit_code"], 3, "{report}");
    let output = report["output"].as_array().unwrap();
    let line = |stream: &str, text: &str| json!({ "stream": stream, "text": text });
    assert!(output.contains(&line("stdout", "one")) && output.contains(&line("stderr", "two")), "{report}");
    assert_eq!(output[2], line("stdout", "three"), "{report}");
}

#[test]
fn an_orderly_stop_leaves_a_report_of_every_death_on_the_disk() {
    let bulkhead = Home::new(FAULTS).start();
    assert_eq!(bulkhead.say(&["fault", "analytics", "kill"]).code, Some(0));
    let mut story = bulkhead.log().from_start();
    story.wait_for_worker("worker_died", "analytics");
    story.wait_for_worker("worker_started", "analytics");
    let stopped = bulkhead.stop(Signal::SIGTERM);
    let told = stopped.log.all(|line| line.is("worker_died"));
    assert!(told.len() >= 3, "{}", stopped.log.dump());
    for (line, id) in told.iter().zip(1..) {
        let text = fs::read(stopped.home.path("state/crashes").join(format!("{id}.json"))).unwrap();
        let report: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((line.number("crash"), &report["id"]), (Some(id), &json!(id)));
        assert_eq!(report["detail"], line.text("detail"), "{report}");
    }
    let files = fs::read_dir(stopped.home.path("state/crashes")).unwrap().count();
    assert_eq!(files, told.len());

    let bulkhead = stopped.home.start();
    let newest = bulkhead.client().json("/v1/crashes?limit=1");
    assert_eq!(newest["items"][0]["id"], told.len(), "they are there at the next start");
}

#[test]
fn reports_that_outlive_the_marks_are_not_taken_for_the_newest() {
    let home = Home::new(FAULTS);
    fs::create_dir_all(home.path("state/crashes")).unwrap();
    fs::write(home.path("state/crashes/41.json"), "{}").unwrap();
    let bulkhead = home.start();
    let report = next_report(&bulkhead, "analytics", || {
        assert_eq!(bulkhead.say(&["fault", "analytics", "segv"]).code, Some(0));
    });
    assert_eq!(report["id"], 42);
}
