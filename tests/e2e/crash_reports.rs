//! Crash reports: each death has one, by command and by HTTP, with everything that is known about the death.
//!
//! Values that vary between runs are replaced, as in `log_snapshots.rs`: times, pids, resource usage, and
//! places in source files.

use crate::{
    common::{FAULTS_AND_SHORT_HANG_TIMEOUTS, FAULTS_ENABLED, crash_report, is_root, next_crash_report},
    log_snapshots::{FIRST_LINE, assert_matches_snapshot},
};
use bulkhead_proto::{wire::fault::FaultKind, worker::fault::FAULT_PANIC};
use bulkhead_tests::{
    Bulkhead, Fixture, binaries,
    log::{Line, LogReader},
    process::Signal,
};
use serde_json::{Value, json};
use std::fs;

/// Waits for the first line of the analysis. A separate thread writes it: the line could appear between the
/// lines of a panic message, which std writes in pieces.
fn wait_for_first_line(log: &mut LogReader) {
    log.wait_for(FIRST_LINE, |line| line.text("message").contains(FIRST_LINE));
}

/// The report without the values that vary between runs and are not text.
fn normalized(mut report: Value) -> String {
    if report["panic"].is_object() {
        // The backtrace depends on the compiler. The innermost frame of the workspace does not.
        let innermost = report["backtrace"][0].as_str().unwrap();
        let in_workspace = innermost.starts_with("bulkhead_proto::worker::fault::execute at ");
        assert!(in_workspace && innermost.contains("/fault.rs:"), "{report}");
        report["backtrace"] = json!("[backtrace]");
    }
    let output = report["output"].as_array().cloned().unwrap_or_default();
    let lines = output.into_iter().filter(|line| !line["text"].as_str().unwrap().contains(FIRST_LINE));
    report["output"] = lines.collect();
    for (key, replacement) in [("at", "[time]"), ("pid", "[pid]"), ("uptime_ms", "[span]")] {
        assert!(report[key].is_string() || report[key].is_u64(), "no {key} in {report}");
        report[key] = json!(replacement);
    }
    for figure in ["peak_rss_bytes", "user_ms", "system_ms"] {
        assert!(report["resources"][figure].is_u64(), "no {figure} in {report}");
        report["resources"][figure] = json!("[figure]");
    }
    // For a hang, the states of the threads, the backtrace (checked in `hangs.rs`) and the duration vary.
    if report["living"].as_array().is_some_and(|thread_states| !thread_states.is_empty()) {
        report["living"] = json!(["[threads]"]);
        if let Some(backtrace) = report.get_mut("backtrace") {
            *backtrace = json!("[backtrace]");
        }
        let detail = report["detail"].as_str().unwrap();
        let (what, when) = detail.split_once(" for ").unwrap();
        let when = when.split_once(" with ").unwrap().1;
        report["detail"] = json!(format!("{what} for [span] with {when}"));
    }
    serde_json::to_string_pretty(&report).unwrap()
}

#[test]
fn each_fault_triggered_by_an_event_has_its_crash_report() {
    for kind in FaultKind::ALL {
        let bulkhead = Fixture::new(FAULTS_AND_SHORT_HANG_TIMEOUTS).start();
        wait_for_first_line(&mut bulkhead.log().from_start());
        let mut request_id = String::new();
        let report = next_crash_report(&bulkhead, "analytics", || {
            let body = format!(r#"{{"series":"__fault.{kind}","value":1.5,"label":"tea"}}"#);
            let response = bulkhead.client().post_events(&body).unwrap();
            assert_eq!(response.status, 202, "{response:?}");
            response.header("x-request-id").clone_into(&mut request_id);
        });
        assert!(!request_id.is_empty());
        for field in [&report["request_id"], &report["event"]["request_id"]] {
            assert_eq!(field, &request_id, "{report}");
        }
        assert_matches_snapshot(&format!("crash-{kind}-by-event"), &normalized(report));
    }
}

/// The report is the same by command and by HTTP.
#[test]
fn each_requested_fault_has_its_crash_report() {
    for kind in FaultKind::ALL {
        let bulkhead = Fixture::new(FAULTS_AND_SHORT_HANG_TIMEOUTS).start();
        let mut log = bulkhead.log().from_start();
        wait_for_first_line(&mut log);
        let by_command = next_crash_report(&bulkhead, "analytics", || {
            assert_eq!(bulkhead.cli(&["fault", "analytics", kind.as_str()]).code, Some(0));
        });
        wait_for_first_line(&mut log);
        let by_http = next_crash_report(&bulkhead, "analytics", || {
            let path = format!("/v1/faults/analytics/{kind}");
            let response = bulkhead.client().post(&path, "application/json", "").unwrap();
            assert_eq!(response.status, 202, "{response:?}");
        });
        for mut report in [by_command, by_http] {
            (report["id"], report["generation"]) = (json!("[id]"), json!("[generation]"));
            assert_matches_snapshot(&format!("crash-{kind}-requested"), &normalized(report));
        }
    }
}

#[test]
fn an_api_death_has_a_crash_report() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    let report = next_crash_report(&bulkhead, "api", || {
        assert_eq!(bulkhead.cli(&["fault", "api", "panic"]).code, Some(0));
    });
    assert_matches_snapshot("crash-panic-of-api", &normalized(report));
}

#[test]
fn crash_reports_are_the_same_by_command_and_by_http() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    let crashes_cli = |arguments: &[&str], code| {
        let output = bulkhead.cli(&[&["crashes"], arguments].concat());
        assert_eq!(output.code, Some(code), "{output:?}");
        output.stdout + &output.stderr
    };
    assert_eq!(crashes_cli(&[], 0).trim(), "no crash reports");
    assert!(crashes_cli(&["1"], 1).contains("no report of crash 1"));
    assert_eq!(bulkhead.client().get("/v1/crashes/1").unwrap().status, 404);

    next_crash_report(&bulkhead, "analytics", || {
        assert_eq!(bulkhead.cli(&["fault", "analytics", "abort"]).code, Some(0));
    });
    let parsed = |text: String| -> Value { serde_json::from_str(&text).unwrap() };
    assert_eq!(parsed(crashes_cli(&["--json"], 0)), bulkhead.client().get_json("/v1/crashes"));
    assert_eq!(parsed(crashes_cli(&["1", "--json"], 0)), bulkhead.client().get_json("/v1/crashes/1"));
    let selected = |cause: &str| {
        let of_analytics =
            parsed(crashes_cli(&["--worker", "analytics", "--cause", cause, "-n", "5", "--json"], 0));
        let query = format!("/v1/crashes?worker=analytics&cause={cause}&limit=5");
        assert_eq!(of_analytics, bulkhead.client().get_json(&query));
        of_analytics["items"].as_array().unwrap().len()
    };
    assert_eq!([selected("requested"), selected("panic")], [1, 0]);
    let list = crashes_cli(&[], 0);
    assert!(list.starts_with("1  2") && list.contains("fault abort: SIGABRT"), "{list}");
    let shown = crashes_cli(&["1"], 0);
    for part in ["crash 1: analytics gen 2 pid ", "decision:  restart", "peak RSS "] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
}

#[test]
fn a_quarantine_entry_refers_to_the_crash_report_of_its_last_death() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    let body = r#"{"series":"__fault.segv","value":1}"#;
    assert_eq!(bulkhead.client().post_events(body).unwrap().status, 202);
    bulkhead.wait_until_committed();
    let entry = bulkhead.client().get_json("/v1/quarantine/1");
    let report = crash_report(&bulkhead, entry["crash"].as_u64().unwrap());
    assert_eq!(report["event"], entry["event"], "{report}");
    assert_eq!((&report["attempts"], &report["max_attempts"]), (&json!(2), &json!(2)), "{report}");
    assert!(report["why"].as_str().unwrap().contains("attempt 2 of 2; quarantined next"), "{report}");
}

/// A service whose analysis panics during a commit or a load for some series.
fn service_that_panics_outside_apply() -> Bulkhead {
    let misbehave = env!("CARGO_BIN_EXE_bulkhead-misbehave");
    Fixture::new(&format!("[analytics]\ncommand = [{misbehave:?}, \"panic-outside-apply\"]\n")).start()
}

fn post(bulkhead: &Bulkhead, events: &[(&str, u32)]) {
    let event = |(series, value): &(&str, u32)| format!(r#"{{"series":{series:?},"value":{value}}}"#);
    let events: Vec<String> = events.iter().map(event).collect();
    let response = bulkhead.client().post_events(&format!("[{}]", events.join(","))).unwrap();
    assert_eq!(response.status, 202, "{response:?}");
}

/// Checks that the event is quarantined for a panic during this operation, in the entry and in the crash
/// report.
fn assert_quarantined_during(bulkhead: &Bulkhead, seq: u64, during: &str, what: &str) {
    let entry = bulkhead.client().get_json(&format!("/v1/quarantine/{seq}"));
    let report = crash_report(bulkhead, entry["crash"].as_u64().unwrap());
    for record in [&entry, &report] {
        assert_eq!((&record["seq"], &record["attempts"]), (&seq.into(), &2.into()), "{record}");
        assert_eq!((&record["during"], &record["cause"]), (&during.into(), &"panic".into()), "{record}");
        assert!(record["detail"].as_str().unwrap().contains(what), "{record}");
    }
}

#[test]
fn an_event_that_kills_the_commit_is_isolated_and_quarantined() {
    let bulkhead = service_that_panics_outside_apply();
    post(&bulkhead, &[("s", 1), ("heavy", 14), ("s", 1)]);
    let stats = bulkhead.wait_until_committed();
    assert_eq!((&stats["analysed"], &stats["quarantined"]), (&2.into(), &1.into()), "{stats}");
    assert_eq!(bulkhead.client().get_json("/v1/series/s")["count"], 2);
    assert_quarantined_during(&bulkhead, 2, "commit", "a state with this sum cannot be stored");
    // While other events were in the same commit, the cause was not known: no death may name another event.
    bulkhead.log().from_start().wait_for_worker("event_quarantined", "analytics");
    let another = |died: &Line| died.is("worker_died") && !matches!(died.number("seq"), None | Some(2));
    assert_eq!(bulkhead.log().matching(another).len(), 0, "{}", bulkhead.log().dump());
}

#[test]
fn an_event_whose_series_cannot_be_loaded_is_quarantined() {
    let bulkhead = service_that_panics_outside_apply();
    // The first state of a series is read again before it is committed.
    for value in [12, 1] {
        post(&bulkhead, &[("s", value)]);
        bulkhead.wait_until_committed();
    }
    let mut log = bulkhead.log().from_now();
    bulkhead.signal_worker(bulkhead.worker_pid("analytics"), Signal::SIGKILL);
    log.wait_for_worker("worker_activated", "analytics");
    post(&bulkhead, &[("s", 1), ("other", 1)]);
    let stats = bulkhead.wait_until_committed();
    assert_eq!((&stats["analysed"], &stats["quarantined"]), (&3.into(), &1.into()), "{stats}");
    assert_quarantined_during(&bulkhead, 3, "load", "a state with this sum cannot be loaded");
}

/// Faults are enabled. The analysis prints the backtraces of its panics.
const BACKTRACES: &str = "faults.enabled = true\nanalytics.env.RUST_BACKTRACE = \"1\"\n";

/// The report of the next panic.
fn next_panic_report(bulkhead: &Bulkhead) -> Value {
    let report = next_crash_report(bulkhead, "analytics", || post(bulkhead, &[("__fault.panic", 1)]));
    assert_eq!(report["panic"]["message"], FAULT_PANIC, "{report}");
    report
}

#[test]
fn a_panic_message_is_printed_before_the_backtrace() {
    let report = next_panic_report(&Fixture::new(BACKTRACES).start());
    let output = report["output"].as_array().unwrap();
    let panic_line =
        output.iter().find_map(|line| line["text"].as_str().filter(|text| text.contains(FAULT_PANIC)));
    let (before, _) =
        panic_line.unwrap().split_once("backtrace=").unwrap_or_else(|| panic!("no backtrace in {report}"));
    assert!(before.contains(FAULT_PANIC), "{report}");
}

#[test]
fn a_panic_is_recorded_before_its_backtrace_which_may_hang() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new(&format!("{BACKTRACES}analytics.hang_timeout = \"200ms\"\n"));
    let pipe = fixture.named_pipe("pipe");
    let bulkhead = fixture.start_with_small_disk("1m");
    // The program file is now a named pipe without a writer: reading the symbols of the frames blocks for
    // ever.
    let program = binaries::find(binaries::ANALYTICS);
    bulkhead.run_in_mount_namespace(r#"mount --bind "$0" "$1""#, &[&pipe, &program]);
    let report = next_panic_report(&bulkhead);
    assert_eq!(report["cause"], "hang", "the backtrace did not hang: {report}");
}

#[test]
fn backtraces_use_the_symbols_of_the_program_that_a_wrapper_executed() {
    let program = binaries::find(binaries::ANALYTICS);
    let command = format!("exec {}", program.display());
    let config = format!("{FAULTS_ENABLED}[analytics]\ncommand = [\"sh\", \"-c\", {command:?}]\n");
    let report = next_panic_report(&Fixture::new(&config).start());
    let frames = report["backtrace"].as_array().unwrap();
    assert!(frames.iter().any(|frame| frame.as_str().unwrap().contains("execute at ")), "{report}");
}

#[test]
fn a_worker_that_cannot_be_started_has_a_crash_report() {
    let bulkhead = Fixture::new("[[worker]]\nname = \"x\"\ncommand = [\"/nonexistent/program\"]\n").start();
    let died = bulkhead.log().from_start().wait_for_worker("worker_died", "x");
    let report = crash_report(&bulkhead, died.number("crash").unwrap());
    assert_eq!((&report["cause"], &report["pid"]), (&json!("config"), &Value::Null), "{report}");
    assert!(report["detail"].as_str().unwrap().contains("/nonexistent/program"), "{report}");
}

#[test]
fn the_crash_report_of_a_plain_worker_has_its_last_lines_in_order() {
    // Lines on two pipes have no order, unless the supervisor reads the first before the worker writes the
    // second.
    let script = "echo one; echo two >&2; read go <gate; echo three; exit 3";
    let config = format!("[[worker]]\nname = \"x\"\ncommand = [\"sh\", \"-c\", {script:?}]\n");
    let fixture = Fixture::new(&config);
    let gate = fixture.named_pipe("gate");
    let bulkhead = fixture.start();
    for line in ["one", "two"] {
        bulkhead.log().from_start().wait_for(line, |logged| logged.text("message") == line);
    }
    fs::write(gate, "go\n").unwrap();
    let died = bulkhead.log().from_start().wait_for_worker("worker_died", "x");
    let report = crash_report(&bulkhead, died.number("crash").unwrap());
    assert_eq!(report["exit_code"], 3, "{report}");
    let output = report["output"].as_array().unwrap();
    let line = |stream: &str, text: &str| json!({ "stream": stream, "text": text });
    assert!(output.contains(&line("stdout", "one")) && output.contains(&line("stderr", "two")), "{report}");
    assert_eq!(output[2], line("stdout", "three"), "{report}");
}

#[test]
fn the_command_lists_more_reports_than_fit_one_reply() {
    let fixture = Fixture::new("");
    fs::create_dir_all(fixture.path("state/crashes")).unwrap();
    for id in 1..=50 {
        let report = json!({
            "id": id, "at": "2026-11-22T20:00:00Z", "worker": "api", "role": "api", "generation": id, "uptime_ms": 17,
            "cause": "signal", "detail": "SIGKILL", "decision": "restart now", "why": "first death without progress",
        });
        fs::write(fixture.path(&format!("state/crashes/{id}.json")), report.to_string()).unwrap();
    }
    let bulkhead = fixture.start();
    for (limit, next) in [(45, json!(6)), (50, Value::Null)] {
        let listed: Value =
            serde_json::from_str(&bulkhead.cli(&["crashes", "-n", &limit.to_string(), "--json"]).stdout)
                .unwrap();
        assert_eq!((listed["items"].as_array().unwrap().len(), &listed["next"]), (limit, &next));
        assert_eq!(listed, bulkhead.client().get_json(&format!("/v1/crashes?limit={limit}")));
    }
}

#[test]
fn a_stop_stores_the_report_of_each_crash_and_none_of_an_orderly_stop() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    assert_eq!(bulkhead.cli(&["fault", "analytics", "kill"]).code, Some(0));
    let mut log = bulkhead.log().from_start();
    log.wait_for_worker("worker_died", "analytics");
    log.wait_for_worker("worker_started", "analytics");
    let stopped = bulkhead.stop(Signal::SIGTERM);
    let deaths = stopped.log.matching(|line| line.is("worker_died"));
    assert!(deaths.len() >= 3, "{}", stopped.log.dump());
    for (line, id) in deaths.iter().zip(1..) {
        assert_eq!(line.number("crash"), Some(id), "each death has the next number");
    }
    let text = fs::read(stopped.fixture.path("state/crashes/1.json")).unwrap();
    let report: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!((&report["id"], report["detail"].as_str().unwrap()), (&json!(1), deaths[0].text("detail")));
    let files = fs::read_dir(stopped.fixture.path("state/crashes")).unwrap().count();
    assert_eq!(files, 1, "the orderly stops have none");

    let bulkhead = stopped.fixture.start();
    let newest = bulkhead.client().get_json("/v1/crashes?limit=1");
    assert_eq!(newest["items"][0]["id"], 1, "the reports must be listed after the next start");
    let report = next_crash_report(&bulkhead, "analytics", || {
        assert_eq!(bulkhead.cli(&["fault", "analytics", "kill"]).code, Some(0));
    });
    assert_eq!(report["id"], deaths.len() + 1, "an orderly stop has used its number");
}

#[test]
fn crash_ids_continue_after_the_stored_reports_if_the_high_water_marks_are_lost() {
    let fixture = Fixture::new(FAULTS_ENABLED);
    fs::create_dir_all(fixture.path("state/crashes")).unwrap();
    fs::write(fixture.path("state/crashes/41.json"), "{}").unwrap();
    let bulkhead = fixture.start();
    let report = next_crash_report(&bulkhead, "analytics", || {
        assert_eq!(bulkhead.cli(&["fault", "analytics", "segv"]).code, Some(0));
    });
    assert_eq!(report["id"], 42);
}
