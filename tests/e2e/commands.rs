//! The operator's commands `start`, `stop`, `restart` and `status`.

use bulkhead_tests::{Bulkhead, CliOutput, Fixture, binaries, http::Client};
use serde_json::Value;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

fn row(client: &Client, worker: &str) -> Value {
    let rows = client.get_json("/v1/workers");
    let row = rows["items"].as_array().unwrap().iter().find(|row| row["name"] == worker).cloned();
    row.unwrap_or_else(|| panic!("no {worker} in {rows}"))
}

fn assert_succeeded(output: &CliOutput) {
    assert_eq!(output.code, Some(0), "{output:?}");
}

/// A supervisor whose analysis is started by a symbolic link in the fixture: a test can replace the program.
fn with_replaceable_analysis() -> Bulkhead {
    let fixture = Fixture::new("");
    let program = fixture.symlink("analysis", &binaries::find(binaries::ANALYTICS));
    std::fs::write(
        fixture.path("bulkhead.toml"),
        format!("[analytics]\ncommand = [{:?}]\n", program.to_str().unwrap()),
    )
    .unwrap();
    fixture.start()
}

#[test]
fn a_stopped_worker_stays_stopped_until_it_is_started() {
    let bulkhead = Fixture::new("").start();
    let client = bulkhead.client();
    let mut log = bulkhead.log().from_now();

    assert_succeeded(&bulkhead.cli(&["stop", "analytics"]));
    let died = log.wait_for_worker("worker_died", "analytics");
    assert_eq!(died.text("cause"), "requested", "{}", died.raw());
    assert_eq!(row(&client, "analytics")["state"], "stopped");
    assert_eq!(client.post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    assert_eq!(client.get_json("/v1/stats")["pending"], 1);

    assert_succeeded(&bulkhead.cli(&["start", "analytics"]));
    log.wait_for_worker("worker_activated", "analytics");
    assert_eq!(bulkhead.wait_until_committed()["analysed"], 1);
}

#[test]
fn restart_analytics_starts_the_new_generation_before_the_old_one_exits() {
    let bulkhead = Fixture::new("").start();
    let client = bulkhead.client();
    let old = bulkhead.last_line("worker_activated", "analytics").number("generation").unwrap();
    let mut log = bulkhead.log().from_now();

    assert_succeeded(&bulkhead.cli(&["restart", "analytics"]));

    let ready = log.wait_for_worker("worker_ready", "analytics").number("generation").unwrap();
    let died = log.wait_for_worker("worker_died", "analytics");
    let activated = log.wait_for_worker("worker_activated", "analytics");
    assert!(ready > old);
    assert_eq!(died.number("generation"), Some(old), "{}", died.raw());
    assert_eq!(activated.number("generation"), Some(ready), "{}", activated.raw());
    assert_eq!(client.post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    assert_eq!(bulkhead.wait_until_committed()["analysed"], 1);
}

#[test]
fn a_new_analysis_that_cannot_start_leaves_the_old_one_running() {
    let bulkhead = with_replaceable_analysis();
    let client = bulkhead.client();
    let old = row(&client, "analytics");
    bulkhead.fixture().symlink("analysis", "/bin/false".as_ref());

    let output = bulkhead.cli(&["restart", "analytics"]);

    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(!output.stderr.is_empty(), "{output:?}");
    let now = row(&client, "analytics");
    assert_eq!((&now["pid"], &now["state"]), (&old["pid"], &old["state"]), "{output:?}");
    assert_eq!(client.post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    assert_eq!(bulkhead.wait_until_committed()["analysed"], 1);

    bulkhead.fixture().symlink("analysis", &binaries::find(binaries::ANALYTICS));
    assert_succeeded(&bulkhead.cli(&["restart", "analytics"]));
    assert_ne!(row(&client, "analytics")["pid"], old["pid"]);
}

#[test]
fn restart_api_refuses_no_connection_and_breaks_no_request() {
    let bulkhead = Fixture::new("").start();
    let old = bulkhead.worker_pid("api");
    std::thread::scope(|scope| {
        let restart = scope.spawn(|| bulkhead.cli(&["restart", "api"]));
        let mut posted = 0;
        while !restart.is_finished() || posted == 0 {
            // Each request uses a new connection: the old API may close an open one between two requests.
            let response = bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap();
            assert_eq!(response.status, 202, "{response:?}");
            posted += 1;
        }
        assert_succeeded(&restart.join().unwrap());
        assert_eq!(bulkhead.wait_until_committed()["accepted"], posted);
    });
    assert_ne!(bulkhead.worker_pid("api"), old);
}

#[test]
fn while_the_api_is_stopped_each_request_gets_503_and_afterwards_it_is_served() {
    let bulkhead = Fixture::new("").start();
    let mut log = bulkhead.log().from_now();
    assert_succeeded(&bulkhead.cli(&["stop", "api"]));
    for _ in 0..3 {
        let response = bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap();
        assert_eq!((response.status, response.header("retry-after")), (503, "15"), "{response:?}");
        assert!(response.body.contains("the API is stopped"), "{response:?}");
    }
    log.wait_for("a warning", |line| line.raw().contains("clients connect while the API is stopped"));
    assert_succeeded(&bulkhead.cli(&["start", "api"]));
    assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    log.wait_for("the number", |line| line.raw().contains("3 connections got 503"));
    assert_eq!(bulkhead.wait_until_committed()["accepted"], 1, "503 means that nothing was accepted");
}

/// Each client keeps one connection. The old API answers the next request on it, and asks the client to reconnect.
#[test]
fn restart_api_breaks_no_request_of_keep_alive_clients() {
    const RESTARTS: usize = 3;
    let bulkhead = Fixture::new("").start();
    let restarted = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients = [0, 1, 20, 50].map(|pause| {
            let (bulkhead, restarted) = (&bulkhead, &restarted);
            scope.spawn(move || {
                let (client, mut posted) = (bulkhead.client(), 0);
                while !restarted.load(Ordering::Relaxed) || posted == 0 {
                    let response = client.post_events(r#"{"series":"s","value":1}"#).unwrap();
                    assert_eq!(response.status, 202, "{response:?}");
                    posted += 1;
                    std::thread::sleep(Duration::from_millis(pause));
                }
                posted
            })
        });
        let mut log = bulkhead.log().from_now();
        let outputs: Vec<_> = (0..RESTARTS)
            .map(|_| {
                let output = bulkhead.cli(&["restart", "api"]);
                log.wait_for_worker("worker_died", "api");
                output
            })
            .collect();
        restarted.store(true, Ordering::Relaxed);
        let posted: u64 = clients.map(|client| client.join().unwrap()).into_iter().sum();
        outputs.iter().for_each(assert_succeeded);
        assert_eq!(bulkhead.wait_until_committed()["accepted"], posted);
    });
}

#[test]
fn restart_replaces_the_process_of_a_plain_worker() {
    let bulkhead = Fixture::new("[[worker]]\nname = \"idle\"\ncommand = [\"sleep\", \"infinity\"]\n").start();
    bulkhead.log().from_start().wait_for_worker("worker_ready", "idle");
    let old = bulkhead.worker_pid("idle");
    let mut log = bulkhead.log().from_now();
    assert_succeeded(&bulkhead.cli(&["restart", "idle"]));
    log.wait_for_worker("worker_died", "idle");
    assert_ne!(log.wait_for_worker("worker_ready", "idle").pid(), old);
}

#[test]
fn status_shows_the_workers_as_text_and_as_json() {
    let bulkhead = Fixture::new("").start();
    let output = bulkhead.cli(&["status"]);
    assert_succeeded(&output);
    for text in ["api", "analytics", "running", "accepted"] {
        assert!(output.stdout.contains(text), "no {text} in\n{}", output.stdout);
    }
    assert!(
        output.stdout.lines().all(|line| line.chars().count() <= 80),
        "a line is wider than 80 columns:\n{}",
        output.stdout
    );

    let output = bulkhead.cli(&["status", "--json"]);
    assert_succeeded(&output);
    let status: Value = serde_json::from_str(&output.stdout).unwrap();
    let pids: Vec<_> =
        status["workers"].as_array().unwrap().iter().map(|row| row["pid"].as_i64().unwrap()).collect();
    for worker in ["api", "analytics"] {
        assert!(pids.contains(&i64::from(bulkhead.worker_pid(worker))), "{status}");
    }
}

#[test]
fn a_command_for_an_unknown_worker_names_the_known_ones() {
    let bulkhead = Fixture::new("").start();
    for command in ["start", "stop", "restart"] {
        let output = bulkhead.cli(&[command, "unknown"]);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.stderr.contains("analytics"), "{output:?}");
    }
}

#[test]
fn without_a_supervisor_a_command_names_the_socket_that_it_tried() {
    let fixture = Fixture::new("");
    let output = fixture.cli(&["status"]);
    assert_eq!(output.code, Some(3), "{output:?}");
    assert!(output.stderr.contains("control.sock"), "{output:?}");
}
