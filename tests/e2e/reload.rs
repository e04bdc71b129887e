//! `bulkhead reload` and SIGHUP: the configuration changes while the service runs.

use crate::common::FAULTS_ENABLED;
use bulkhead_tests::{
    Bulkhead, CliOutput, Fixture, binaries,
    log::Line,
    process::{self, Signal},
};
use serde_json::{Value, json};

/// A file with all defaults. A reload refuses a file without any key.
const DEFAULTS: &str = "log.level = \"info\"\n";

fn idle_worker(name: &str) -> String {
    format!("[[worker]]\nname = \"{name}\"\ncommand = [\"sleep\", \"infinity\"]\n")
}

/// Replaces the configuration and runs `bulkhead reload`.
fn reload(bulkhead: &Bulkhead, config: &str) -> CliOutput {
    bulkhead.fixture().write_config(config);
    bulkhead.cli(&["reload"])
}

#[track_caller]
fn assert_prints(output: &CliOutput, lines: &[&str]) {
    assert_eq!(
        (output.code, output.stdout.lines().collect::<Vec<_>>()),
        (Some(0), lines.to_vec()),
        "{output:?}"
    );
}

fn rows(bulkhead: &Bulkhead) -> Vec<Value> {
    let output = bulkhead.cli(&["status", "--json"]);
    let report: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    report["workers"].as_array().unwrap().clone()
}

fn row(bulkhead: &Bulkhead, worker: &str) -> Value {
    let row = rows(bulkhead).into_iter().find(|row| row["name"] == worker);
    row.unwrap_or_else(|| panic!("no {worker} in {:?}", rows(bulkhead)))
}

fn pids(bulkhead: &Bulkhead) -> Vec<(String, Value)> {
    let pid = |row: &Value| (row["name"].as_str().unwrap().to_owned(), row["pid"].clone());
    rows(bulkhead).iter().map(pid).collect()
}

/// Sends SIGHUP and waits for the result in the log.
fn reload_by_sighup(bulkhead: &Bulkhead) -> Line {
    let mut log = bulkhead.log().from_now();
    process::signal(bulkhead.pid(), Signal::SIGHUP);
    log.wait_for("the end of the reload", |line| line.is("reloaded") || line.is("reload_failed"))
}

#[test]
fn a_reload_adds_and_removes_workers_and_keeps_the_others() {
    let bulkhead = Fixture::new(&idle_worker("one")).start();
    bulkhead.log().from_start().wait_for_worker("worker_ready", "one");
    let before = pids(&bulkhead);

    let output = reload(&bulkhead, &format!("{}{}", idle_worker("two"), idle_worker("one")));
    assert_prints(&output, &["worker two added: started, generation 4"]);
    assert_eq!(pids(&bulkhead)[..3], before, "the other workers must keep their processes");
    assert_eq!(row(&bulkhead, "two")["state"], "running");

    let one = bulkhead.worker_pid("one");
    let output = reload(&bulkhead, &idle_worker("two"));
    assert_prints(&output, &["worker one removed: stopped"]);
    assert!(process::parent(one).is_none(), "the process must have ended");
    let names: Vec<_> = pids(&bulkhead).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["api", "analytics", "two"]);
    assert_prints(&reload(&bulkhead, &idle_worker("two")), &["nothing changed"]);
}

#[test]
fn an_invalid_file_is_rejected_and_the_active_configuration_stays() {
    let bulkhead = Fixture::new("").start();
    let before = pids(&bulkhead);
    let mut log = bulkhead.log().from_now();
    let output = reload(&bulkhead, "[api]\nlissten = 1\n[link]\ncapacity = \"1B\"\n");
    assert_eq!(output.code, Some(2), "{output:?}");
    for text in ["bulkhead.toml:2:1", "lissten = 1", "capacity = \"1B\"", "stays"] {
        assert!(output.stderr.contains(text), "no {text} in {output:?}");
    }
    let failed = log.wait_for("the failure in the log", |line| line.is("reload_failed"));
    let text = failed.text("message");
    assert!(text.contains("bulkhead.toml:2:1: ") && text.contains(" | "), "{text}");
    assert_eq!(pids(&bulkhead), before);
    assert_prints(&reload(&bulkhead, DEFAULTS), &["nothing changed"]);
}

#[test]
fn a_file_without_any_key_is_rejected_if_it_would_change_something() {
    // With the default of `standby`, which an empty file has.
    let with_standby = |text: &str| format!("{text}# standby\n");
    let bulkhead = Fixture::new(&with_standby(&idle_worker("one"))).start();
    let mut log = bulkhead.log().from_start();
    for event in ["worker_activated", "worker_ready"] {
        log.wait_for_worker(event, "analytics");
    }
    bulkhead.log().from_start().wait_for_worker("worker_ready", "one");
    let before = pids(&bulkhead);
    for empty in ["", "# only a comment about the standby\n"] {
        std::fs::write(bulkhead.fixture().path("bulkhead.toml"), empty).unwrap();
        let output = bulkhead.cli(&["reload"]);
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains("has no key"), "{output:?}");
    }
    assert_eq!(pids(&bulkhead), before);
    assert_prints(&reload(&bulkhead, &with_standby(DEFAULTS)), &["worker one removed: stopped"]);
    assert_prints(&reload(&bulkhead, &with_standby("")), &["nothing changed"]);
}

#[test]
fn a_worker_without_its_program_is_rejected_as_by_check() {
    let bulkhead = Fixture::new("").start();
    let config = format!("{}[[worker]]\nname = \"two\"\ncommand = [\"/nowhere/two\"]\n", idle_worker("one"));
    let output = reload(&bulkhead, &config);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("worker[1].command: /nowhere/two does not exist"), "{output:?}");
    assert_eq!(bulkhead.cli(&["check", "--config", "bulkhead.toml"]).code, Some(2));
    assert_eq!(rows(&bulkhead).len(), 2, "no worker was added");
}

#[test]
fn a_reload_prints_the_warnings_of_check() {
    let bulkhead = Fixture::new(DEFAULTS).start();
    let risky = "restart.limit = 2\nanalytics.max_attempts = 2\n";
    let reloaded = reload(&bulkhead, risky);
    assert_prints(&reloaded, &["restart.limit: changed from 10 to 2"]);
    let config = bulkhead.fixture().path("bulkhead.toml");
    let checked = bulkhead.cli(&["check", "--config", config.to_str().unwrap()]);
    assert!(checked.stderr.contains("analytics.max_attempts"), "{checked:?}");
    assert_eq!(reloaded.stderr, checked.stderr);
    let json = bulkhead.cli(&["reload", "--json"]);
    assert_eq!((json.stdout.trim(), &json.stderr), (r#"{"changes":[]}"#, &checked.stderr), "still so");
    assert_eq!(reload(&bulkhead, DEFAULTS).stderr, "");
}

#[test]
fn sighup_reloads_and_the_log_has_the_changes() {
    let bulkhead = Fixture::new("").start();
    assert_eq!(reload_by_sighup(&bulkhead).text("message"), "nothing changed");
    bulkhead.fixture().write_config("restart.limit = 3");
    let logged = reload_by_sighup(&bulkhead);
    assert_eq!(logged.text("message"), "restart.limit: changed from 10 to 3", "{}", logged.raw());
    assert_eq!((logged.text("what"), logged.text("how")), ("restart.limit", "live"));
    bulkhead.fixture().write_config("restart.limit = \"three\"");
    assert!(reload_by_sighup(&bulkhead).is("reload_failed"));
    assert!(process::parent(bulkhead.worker_pid("api")).is_some(), "SIGHUP must not stop the service");
}

#[test]
fn after_many_sighups_the_last_file_is_active() {
    let bulkhead = Fixture::new("").start();
    let mut log = bulkhead.log().from_now();
    for number in 1..=9 {
        bulkhead
            .fixture()
            .write_config(&format!("restart.limit = {number}\n{}", idle_worker(&format!("w{number}"))));
        process::signal(bulkhead.pid(), Signal::SIGHUP);
    }
    log.wait_for("the worker of the last file", |line| {
        line.is("reloaded") && line.text("what") == "w9" && line.text("how") == "added"
    });
    assert_prints(&bulkhead.cli(&["reload"]), &["nothing changed"]);
    let names: Vec<_> = pids(&bulkhead).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["api", "analytics", "w9"]);
}

#[test]
fn a_changed_analysis_command_takes_over_under_load_and_loses_nothing() {
    let bulkhead = Fixture::new("").start();
    let (program, api) = (binaries::find(binaries::ANALYTICS), bulkhead.worker_pid("api"));
    std::thread::scope(|scope| {
        let reloading = scope.spawn(|| {
            for number in 0..3 {
                let link = bulkhead.fixture().symlink(&format!("analysis-{number}"), &program);
                let output =
                    reload(&bulkhead, &format!("[analytics]\ncommand = [{:?}]\n", link.to_str().unwrap()));
                assert_eq!(output.code, Some(0), "{output:?}");
                assert!(
                    output.stdout.starts_with("analytics: command changed: replaced, generation "),
                    "{output:?}"
                );
            }
        });
        let client = bulkhead.client();
        let mut posted = 0;
        while !reloading.is_finished() || posted == 0 {
            let response =
                client.post_events(r#"[{"series":"s","value":1},{"series":"t","value":2}]"#).unwrap();
            assert_eq!(response.status, 202, "{response:?}");
            posted += 2;
        }
        reloading.join().unwrap();
        let stats = bulkhead.wait_until_committed();
        assert_eq!((&stats["accepted"], &stats["analysed"]), (&json!(posted), &json!(posted)), "{stats}");
        assert_eq!(client.get_json("/v1/series/s")["count"], posted / 2);
    });
    assert_eq!(bulkhead.worker_pid("api"), api, "the API must keep its process");
}

#[test]
fn a_command_that_cannot_start_leaves_the_old_analysis_running_until_the_file_is_fixed() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    let old = row(&bulkhead, "analytics");
    let bad = format!("{FAULTS_ENABLED}[analytics]\ncommand = [\"/bin/false\"]\n");

    let output = reload(&bulkhead, &bad);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.starts_with("analytics: command changed: failed: generation "), "{output:?}");
    assert_eq!(row(&bulkhead, "analytics")["pid"], old["pid"]);
    // If the analysis dies, it is restarted with its old command.
    let mut log = bulkhead.log().from_now();
    assert_eq!(bulkhead.cli(&["fault", "analytics", "kill"]).code, Some(0));
    log.wait_for_worker("worker_activated", "analytics");

    assert_eq!(
        reload(&bulkhead, &bad).code,
        Some(1),
        "the next reload must try again and report the failure again"
    );
    assert_prints(&reload(&bulkhead, FAULTS_ENABLED), &["nothing changed"]);
    let good =
        format!("{FAULTS_ENABLED}[analytics]\ncommand = [{:?}]\n", binaries::find(binaries::ANALYTICS));
    let output = reload(&bulkhead, &good);
    assert!(output.stdout.starts_with("analytics: command changed: replaced, generation "), "{output:?}");
    assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    assert_eq!(bulkhead.wait_until_committed()["analysed"], 1);
}

#[test]
fn a_stopped_worker_stays_stopped_and_starts_with_its_new_command() {
    let bulkhead = Fixture::new(&idle_worker("one")).start();
    bulkhead.log().from_start().wait_for_worker("worker_ready", "one");
    assert_eq!(bulkhead.cli(&["stop", "one"]).code, Some(0));
    let output =
        reload(&bulkhead, &idle_worker("one").replace("sleep\", \"infinity", "tail\", \"-f\", \"/dev/null"));
    assert_prints(&output, &["one: command changed: takes effect at its next start (the worker is stopped)"]);
    assert_eq!(row(&bulkhead, "one")["state"], "stopped");
    assert_eq!(bulkhead.cli(&["start", "one"]).code, Some(0));
    let pid = &row(&bulkhead, "one")["pid"];
    let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(command.starts_with("tail\0"), "{command:?}");
}

#[test]
fn a_reload_enables_and_disables_faults() {
    let bulkhead = Fixture::new("").start();
    let induce =
        || bulkhead.client().post("/v1/faults/analytics/kill", "application/json", "").unwrap().status;
    let post_poison_event =
        || bulkhead.client().post_events(r#"{"series":"__fault.exit","value":1}"#).unwrap().status;
    assert_eq!(
        (induce(), post_poison_event(), bulkhead.cli(&["fault", "api", "kill"]).code),
        (404, 400, Some(1))
    );

    let output = reload(&bulkhead, FAULTS_ENABLED);
    assert_eq!(
        output.stdout.lines().next(),
        Some("faults.enabled: changed from false to true"),
        "{output:?}"
    );
    for worker in ["api", "analytics"] {
        assert!(output.stdout.contains(&format!("{worker}: faults.enabled changed: replaced")), "{output:?}");
    }
    let mut log = bulkhead.log().from_now();
    let mut wait_for_restart = || {
        // Lines of the reload may still arrive. Lines of this death come after them.
        log.wait_for("the death of the analysis", |line| {
            line.is_worker_event("worker_died", "analytics") && line.raw().contains("fault kill")
        });
        log.wait_for_worker("worker_activated", "analytics");
    };
    assert_eq!(induce(), 202);
    wait_for_restart();
    assert_eq!(bulkhead.cli(&["fault", "analytics", "kill"]).code, Some(0));
    wait_for_restart();

    assert_eq!(reload(&bulkhead, DEFAULTS).code, Some(0));
    assert_eq!(
        (induce(), post_poison_event(), bulkhead.cli(&["fault", "api", "kill"]).code),
        (404, 400, Some(1))
    );
}

#[test]
fn a_change_that_needs_a_service_restart_is_reported_at_each_reload() {
    let bulkhead = Fixture::new("").start();
    let later = "link.capacity: takes effect at the next start of the service (running: 64MiB, file: 128MiB)";
    for _ in 0..2 {
        assert_prints(&reload(&bulkhead, "link.capacity = \"128MiB\""), &[later]);
        assert_eq!(bulkhead.client().get_json("/v1/stats")["ring"]["capacity_bytes"], 64 << 20);
    }
    let warned = bulkhead.log().matching(|line| line.is("reloaded"));
    assert!(warned.iter().all(|line| line.text("level") == "WARN"), "{}", bulkhead.log().dump());
    assert_prints(&reload(&bulkhead, DEFAULTS), &["nothing changed"]);

    bulkhead.fixture().write_config("link.capacity = \"128MiB\"");
    let bulkhead = bulkhead.stop(Signal::SIGTERM).fixture.start();
    assert_eq!(bulkhead.client().get_json("/v1/stats")["ring"]["capacity_bytes"], 128 << 20);
}

#[test]
fn a_reload_changes_the_level_and_the_format_of_the_log() {
    let bulkhead = Fixture::new("").start();
    assert_prints(
        &reload(&bulkhead, "log.level = \"warn\""),
        &["log.level: changed from info to warn; the API and the analysis follow at their next start"],
    );
    assert_eq!(bulkhead.cli(&["restart", "analytics"]).code, Some(0));
    let mut log = bulkhead.log().from_now();
    assert_eq!(reload(&bulkhead, "log.format = \"pretty\"").code, Some(0));
    log.wait_for("a line in the text format", |line| {
        line.raw().contains(" INFO reloaded: log.level: changed from warn to info")
    });
    let started = bulkhead.log().matching(|line| line.is("worker_started"));
    assert_eq!(started.len(), 2, "the restart at level \"warn\" must not be logged");
}

#[test]
fn a_reload_prints_its_changes_as_json() {
    let bulkhead = Fixture::new("").start();
    bulkhead.fixture().write_config("restart.limit = 3\nstate_dir = \"/elsewhere\"\napi.max_body = \"1MiB\"");
    let output = bulkhead.cli(&["reload", "--json"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let printed: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(
        printed,
        json!({"changes": [
            {"what": "restart.limit", "how": "live", "text": "restart.limit: changed from 10 to 3"},
            {"what": "api", "how": "replaced", "text": "api: max_body changed: replaced, generation 3"},
        ]}),
        "BULKHEAD_STATE_DIR overrides state_dir of the file"
    );
    let nothing = bulkhead.cli(&["reload", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&nothing.stdout).unwrap(), json!({"changes": []}));
}
