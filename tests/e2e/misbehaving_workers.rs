//! Workers that misbehave: the supervisor kills or tolerates them, the other processes continue, and the log
//! has the reason. The workers are in `tests/misbehave`.

use crate::common::next_crash_report;
use bulkhead_proto::wire::{control::PROTOCOL, crash::MAX_LINE};
use bulkhead_tests::{
    Bulkhead, Fixture, binaries, eventually, log::Line, process, resource_usage::ResourceUsage,
};
use std::path::PathBuf;

/// The maximum of resident memory of the supervisor after 100 MiB of output, in KiB.
const MAX_RESIDENT_KIB: u64 = 64 << 10;

fn misbehave() -> PathBuf {
    env!("CARGO_BIN_EXE_bulkhead-misbehave").into()
}

/// A service with a worker in this mode. The worker is parked after its first death.
fn service(worker: &str, mode: &str, settings: &str) -> Bulkhead {
    let command = [misbehave().to_str().unwrap(), mode].map(|word| format!("{word:?}")).join(", ");
    Fixture::new(&format!("restart.limit = 1\n[{worker}]\ncommand = [{command}]\n{settings}")).launch()
}

/// The first death of this worker, after which it must be parked.
fn first_death(bulkhead: &Bulkhead, worker: &str) -> Line {
    let mut log = bulkhead.log().from_start();
    let died = log.wait_for_worker("worker_died", worker);
    log.wait_for_worker("worker_parked", worker);
    died
}

fn assert_accepts_and_answers(bulkhead: &Bulkhead) {
    bulkhead.log().from_start().wait_for_worker("worker_activated", "api");
    let client = bulkhead.client();
    assert_eq!(client.post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    assert!(client.get_json("/v1/stats")["accepted"].as_u64() >= Some(1));
    assert_eq!(bulkhead.cli(&["status"]).code, Some(0));
}

#[test]
fn a_worker_that_sends_an_invalid_frame_is_killed_and_the_log_has_the_reason() {
    for (mode, reason) in [
        ("send-half-a-frame", "cannot be read"),
        ("send-garbage-when-active", "cannot be read"),
        ("send-too-much-when-active", "extra bytes after the value"),
    ] {
        for worker in ["analytics", "api"] {
            let bulkhead = service(worker, mode, "");
            let died = first_death(&bulkhead, worker);
            assert_eq!(died.text("cause"), "protocol", "{}", died.raw());
            assert!(died.text("detail").contains(reason), "{}", died.raw());
            if worker == "analytics" {
                assert_accepts_and_answers(&bulkhead);
            }
        }
    }
}

#[test]
fn a_worker_that_sends_a_frame_in_the_wrong_state_is_killed_and_the_log_has_the_reason() {
    for (mode, reason) in [
        ("send-ready-before-hello", "sent Ready, which is not allowed before Hello"),
        ("send-hello-twice", "sent Hello, which is not allowed between Hello and Ready"),
        ("send-forbidden-request", "sent Request, which is not allowed"),
    ] {
        let bulkhead = service("analytics", mode, "");
        let died = first_death(&bulkhead, "analytics");
        assert_eq!(died.text("cause"), "protocol", "{}", died.raw());
        assert!(died.text("detail").contains(reason), "{}", died.raw());
        assert_accepts_and_answers(&bulkhead);
    }
}

#[test]
fn a_worker_of_another_protocol_version_is_not_restarted_and_both_versions_are_logged() {
    let bulkhead = service("analytics", "send-other-protocol-version", "");
    let died = first_death(&bulkhead, "analytics");
    assert_eq!(died.text("cause"), "handshake", "{}", died.raw());
    let (worker_version, supervisor_version) =
        (format!("protocol {}", PROTOCOL + 1), format!("this supervisor speaks {PROTOCOL}"));
    for text in ["misbehave 1", &worker_version, &supervisor_version, "install both from one release"] {
        assert!(died.text("detail").contains(text), "no {text:?} in {}", died.raw());
    }
    assert_eq!(died.text("next"), "parked until it is started by command", "{}", died.raw());
    assert_accepts_and_answers(&bulkhead);
}

#[test]
fn workers_that_never_become_ready_are_killed_and_the_log_has_the_missing_frame() {
    let command = |mode| format!("command = [{:?}, {mode:?}]", misbehave().to_str().unwrap());
    let config = format!(
        "restart.limit = 1\n[analytics]\n{}\n[api]\n{}\n",
        command("send-nothing"),
        command("send-only-hello")
    );
    let bulkhead = Fixture::new(&config).launch();
    for (worker, missing) in [("analytics", "it never sent Hello"), ("api", "but not Ready")] {
        let died = first_death(&bulkhead, worker);
        assert_eq!(died.text("cause"), "handshake", "{}", died.raw());
        assert!(died.text("detail").contains(missing), "{}", died.raw());
    }
}

#[test]
fn a_worker_that_closes_all_its_pipes_is_kept_and_the_supervisor_sleeps() {
    let bulkhead = service(
        "analytics",
        "close-all-pipes-when-active",
        "stop_timeout = \"50ms\"\nhang_timeout = \"1h\"\n",
    );
    bulkhead.log().from_start().wait_for_worker("worker_activated", "analytics");
    let pid = bulkhead.worker_pid("analytics");
    eventually(bulkhead.log(), "the worker to close its pipes", || {
        let pipe = |(_, target): &(i32, process::FDTarget)| matches!(target, process::FDTarget::Pipe(_));
        !process::fds(pid).iter().any(pipe)
    });
    assert_accepts_and_answers(&bulkhead);
    // A closed pipe is always readable: a supervisor that kept polling it would never sleep.
    let mut before = process::cpu_ticks(bulkhead.pid());
    eventually(bulkhead.log(), "the supervisor to sleep", || {
        assert!(!bulkhead.log().ends_within(std::time::Duration::from_millis(500)));
        let now = process::cpu_ticks(bulkhead.pid());
        std::mem::replace(&mut before, now) == now
    });
    let output = bulkhead.cli(&["stop", "analytics"]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

/// A service in which the regular analysis has counted 20 events and was then replaced by one in this mode.
fn service_with_replaced_analysis(mode: &str) -> Bulkhead {
    let fixture = Fixture::new("");
    let program = fixture.symlink("analysis", &binaries::find(binaries::ANALYTICS));
    let config =
        format!("[analytics]\ncommand = [{:?}, {mode:?}]\nmax_series = 16\n", program.to_str().unwrap());
    std::fs::write(fixture.path("bulkhead.toml"), config).unwrap();
    let bulkhead = fixture.start();
    for _ in 0..20 {
        assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    }
    bulkhead.wait_until_committed();
    assert_eq!(bulkhead.client().get_json("/v1/series/s")["count"], 20);
    bulkhead.fixture().symlink("analysis", &misbehave());
    let output = bulkhead.cli(&["restart", "analytics"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    bulkhead
}

/// Checks that each route responds, and that the content of the shared memory causes no internal error of the API.
fn assert_all_routes_answer(bulkhead: &Bulkhead) {
    let client = bulkhead.client();
    for path in [
        "/v1/stats",
        "/v1/series",
        "/v1/series/s",
        "/v1/workers",
        "/v1/crashes",
        "/v1/quarantine",
        "/livez",
        "/healthz",
        "/readyz",
    ] {
        let response = client.get(path).unwrap();
        assert!(matches!(response.status, 200 | 503), "GET {path}: {response:?}");
    }
    let response = client.post_events(r#"{"series":"s","value":1}"#).unwrap();
    assert!(matches!(response.status, 202 | 503), "{response:?}");
    assert_eq!(bulkhead.cli(&["status", "--json"]).code, Some(0));
}

#[test]
fn an_analysis_that_corrupts_all_its_memory_stops_neither_reads_nor_writes() {
    let bulkhead = service_with_replaced_analysis("corrupt-memory");
    bulkhead
        .log()
        .from_start()
        .wait_for("the corruption of the memory", |line| line.raw().contains("memory corrupted"));
    let api = bulkhead.worker_pid("api");
    for _ in 0..100 {
        assert_all_routes_answer(&bulkhead);
        assert_eq!(
            bulkhead.client().get_json("/v1/series/s")["count"],
            20,
            "the last valid copy must be served"
        );
    }
    assert_eq!(bulkhead.worker_pid("api"), api, "the API must not have died");
    // The next generation of the API maps the same memory.
    process::signal(api, process::Signal::SIGKILL);
    let mut log = bulkhead.log().from_now();
    log.wait_for_worker("worker_activated", "api");
    for _ in 0..50 {
        assert_all_routes_answer(&bulkhead);
    }
    let response = bulkhead.client().get("/v1/series/s").unwrap();
    assert_eq!(
        response.status, 503,
        "without a valid copy, the series is unknown but may exist: {response:?}"
    );
}

#[test]
fn after_an_analysis_corrupts_its_memory_and_dies_a_clean_stop_still_ends() {
    let bulkhead = service_with_replaced_analysis("corrupt-memory-and-die");
    let mut log = bulkhead.log().from_start();
    let died = log.wait_for("the death by SIGABRT", |line| {
        line.is_worker_event("worker_died", "analytics") && line.text("detail").contains("SIGABRT")
    });
    assert_eq!(died.text("cause"), "signal", "{}", died.raw());
    // The regular analysis starts again and refuses the corrupt memory.
    bulkhead.fixture().symlink("analysis", &binaries::find(binaries::ANALYTICS));
    log.wait_for("the refusal of the regular analysis", |line| {
        line.text("worker") == "analytics" && line.raw().contains("does not verify")
    });
    assert_all_routes_answer(&bulkhead);
    let stopped = bulkhead.stop(process::Signal::SIGTERM);
    assert_eq!(stopped.status.code(), Some(1), "{}", stopped.log.dump());
    stopped.log.from_start().wait_for("the reason for not saving", |line| {
        line.is("supervisor_stopped") && line.raw().contains("nothing was saved")
    });
}

#[test]
fn a_commit_with_the_number_of_another_generation_changes_nothing() {
    let bulkhead = service_with_replaced_analysis("forge-generation");
    bulkhead
        .log()
        .from_start()
        .wait_for("the forged commit", |line| line.raw().contains("committed with a forged generation"));
    assert_all_routes_answer(&bulkhead);
    assert_eq!(bulkhead.client().get_json("/v1/series/s")["count"], 20);
    bulkhead.fixture().symlink("analysis", &binaries::find(binaries::ANALYTICS));
    let output = bulkhead.cli(&["restart", "analytics"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let assert_all_counted = |bulkhead: &Bulkhead| {
        let stats = bulkhead.wait_until_committed();
        assert_eq!((&stats["accepted"], &stats["analysed"]), (&21.into(), &21.into()), "{stats}");
        assert_eq!(bulkhead.client().get_json("/v1/series/s")["count"], 21);
        assert!(stats["analytics"][0]["generation"].as_u64() < Some(10), "{stats}");
    };
    assert_all_counted(&bulkhead);
    let stopped = bulkhead.stop(process::Signal::SIGTERM);
    assert!(stopped.status.success(), "{}", stopped.log.dump());
    assert_all_counted(&stopped.fixture.start());
}

#[test]
fn a_flood_of_output_is_cut_and_counted_and_blocks_no_process() {
    let config = format!(
        "[[worker]]\nname = \"loud\"\ncommand = [{:?}, \"flood-output\"]\n",
        misbehave().to_str().unwrap()
    );
    let bulkhead = Fixture::new(&config).start();
    let mut log = bulkhead.log().from_start();
    log.wait_for_worker("worker_started", "loud");
    assert_accepts_and_answers(&bulkhead);
    // In either order: dropped lines are counted once a second.
    let mut dropped = bulkhead.log().from_start();
    dropped.wait_for("the line about dropped output", |line| line.raw().contains("lines dropped"));
    log.wait_for("the end of the flood", |line| line.raw().contains("the flood is over"));
    assert_accepts_and_answers(&bulkhead);
    let deaths = bulkhead.log().matching(|line| line.is("worker_died"));
    assert!(deaths.is_empty(), "a line of a worker was taken for a line of the supervisor: {deaths:?}");
    let has_control = |line: &Line| line.raw().contains(|character: char| character.is_control());
    let unescaped = bulkhead.log().matching(has_control);
    assert!(unescaped.is_empty(), "control characters reach the terminal: {:?}", unescaped[0].raw());
    let resident = ResourceUsage::of(bulkhead.pid()).resident;
    assert!(resident < MAX_RESIDENT_KIB, "the supervisor uses {resident} KiB");
}

/// The crash report of an analysis that panics at an event of this series. The report must be readable.
fn huge_panic_report(series: &str) -> serde_json::Value {
    let bulkhead = service("analytics", "panic-with-huge-output", "");
    bulkhead.log().from_start().wait_for_worker("worker_activated", "api");
    let report = next_crash_report(&bulkhead, "analytics", || {
        let body = format!(r#"{{"series":{series:?},"value":1}}"#);
        assert_eq!(bulkhead.client().post_events(&body).unwrap().status, 202);
    });
    assert_accepts_and_answers(&bulkhead);
    assert_eq!((&report["cause"], &report["event"]["series"]), (&"panic".into(), &series.into()), "{report}");
    let shown = bulkhead.cli(&["crashes", "1"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    let has_control = |character: char| character.is_control() && character != '\n';
    assert!(!shown.stdout.contains(has_control), "control characters reach the terminal: {shown:?}");
    for line in report["output"].as_array().unwrap() {
        let text = line["text"].as_str().unwrap();
        assert!(text.len() <= MAX_LINE && !text.contains(char::is_control), "{text:?}");
    }
    let resident = ResourceUsage::of(bulkhead.pid()).resident;
    assert!(resident < MAX_RESIDENT_KIB, "the supervisor uses {resident} KiB");
    report
}

#[test]
fn a_panic_with_10_mb_of_terminal_escapes_is_cut_and_escaped() {
    let report = huge_panic_report("s");
    let message = report["panic"]["message"].as_str().unwrap();
    assert!(message.len() > 1000 && message.len() <= 1024, "{}", message.len());
    assert!(message.starts_with("\u{1b}[31m"), "the message must be unchanged in JSON: {message:?}");
    let detail = report["detail"].as_str().unwrap();
    assert!(
        detail.starts_with(r#""\u{1b}[31m"#) && detail.contains("…\" at ") && detail.contains("thread"),
        "{detail}"
    );
    let output = report["output"].to_string();
    assert!(output.contains("xff\\\\xfe\\\\u{1b}[2J no text"), "{output}");
}

#[test]
fn a_panic_whose_payload_is_not_text_is_reported_as_such() {
    let report = huge_panic_report("bytes");
    assert_eq!(report["panic"]["message"], "the panic payload is not a string", "{report}");
}

#[test]
fn a_flood_before_a_panic_is_dropped_and_counted_and_the_report_has_the_message() {
    let report = huge_panic_report("flood");
    assert_eq!(report["panic"]["message"], "after a flood", "{report}");
    assert!(report["output_dropped"].as_u64().unwrap() > 50_000, "{}", report["output_dropped"]);
    assert_eq!(report["output"].as_array().unwrap().len(), 50);
}
