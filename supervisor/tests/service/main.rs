//! The real `bulkhead` with plain workers: processes, sockets and the log. The top-level `tests/` test it with the API and
//! the analysis.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod control;
mod descendants;
mod harness;
mod limits;
mod paths;
mod refusals;
mod signals;

use harness::{Service, bulkhead};
use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    time::Duration,
};

#[test]
fn the_death_of_a_worker_is_logged_and_the_worker_restarted() {
    let mut service = Service::start(&["sh", "-c", "echo 'last output' >&2; exit 7"], "");
    let died = service.wait_for("worker_died", "one");
    assert_eq!((&died["cause"], &died["detail"]), (&"exit".into(), &"exit code 7".into()));
    assert!(died["next"].as_str().unwrap().starts_with("restart"), "{died}");
    let successor = service.wait_for("worker_started", "one");
    assert!(successor["generation"].as_u64() > died["generation"].as_u64());
    let output = service.lines().iter().position(|line| line["message"] == "last output").unwrap();
    let death = service
        .lines()
        .iter()
        .position(|line| line["event_name"] == "worker_died" && line["worker"] == "one");
    assert!(output < death.unwrap(), "its last output is logged before its death");
}

#[test]
fn a_worker_that_keeps_dying_is_parked() {
    let mut service = Service::start(&["false"], "restart.max = \"1ms\"\nrestart.limit = 3");
    service.wait_for("worker_parked", "one");
    let row = service.row("one");
    assert_eq!((&row["state"], &row["pid"]), (&"parked".into(), &serde_json::Value::Null));
}

#[test]
fn a_missing_program_has_cause_config() {
    let mut service = Service::start(&["/nonexistent/program"], "");
    let died = service.wait_for("worker_died", "one");
    assert_eq!(died["cause"], "config");
    assert!(died["detail"].as_str().unwrap().contains("/nonexistent/program: No such file"), "{died}");
    assert_eq!(service.row("one")["state"], "parked");
}

#[test]
fn an_orderly_stop_kills_stubborn_workers_and_their_children() {
    let ignores_term = "trap '' TERM; sleep 60 & echo $!; wait; wait";
    let mut service = Service::prepare(&["sh", "-c", ignores_term], "", "100ms");
    service.launch();
    let child = service.wait_for_line(|line| line["stream"] == "stdout" && line["worker"] == "one");
    let pid = service.row("one")["pid"].clone();
    assert_eq!(service.stop("TERM"), Some(0));
    assert!(
        service
            .lines()
            .iter()
            .any(|line| line["event_name"] == "supervisor_stopped" && line["level"] == "INFO")
    );
    for pid in [pid.to_string(), child["message"].as_str().unwrap().to_owned()] {
        assert!(!harness::is_alive(&pid), "process {pid} still exists");
    }
    assert!(!service.socket().exists());
}

#[test]
fn a_stop_kills_escaped_processes() {
    let escape = "setsid sleep 60 & echo $!; exec sleep 60";
    let mut service = Service::start(&["sh", "-c", escape], "");
    let escaped = service.wait_for_line(|line| line["stream"] == "stdout")["message"].clone();
    let escaped = escaped.as_str().unwrap();
    assert!(harness::is_alive(escaped));
    assert_eq!(service.stop("TERM"), Some(0));
    harness::wait_until_gone(escaped);
}

#[test]
fn a_later_second_signal_stops_everything_at_once() {
    let mut service =
        Service::start(&["sh", "-c", "trap '' TERM; echo ready; while true; do sleep 60; done"], "");
    service.wait_for_line(|line| line["message"] == "ready");
    let pid = service.row("one")["pid"].to_string();
    service.signal("TERM");
    service.wait_for_line(|line| line["event_name"] == "supervisor_stopping");
    assert_eq!(service.force_stop("INT"), Some(1));
    assert!(!harness::is_alive(&pid));
}

#[test]
fn workers_are_started_stopped_and_restarted_by_command() {
    let mut service = Service::start(&["sleep", "60"], "");
    service.wait_for("worker_ready", "one");
    let first = service.row("one");
    assert!(service.command(&["restart", "one"]).status.success());
    assert_ne!(service.row("one")["pid"], first["pid"]);
    assert!(service.command(&["stop", "one"]).status.success());
    assert_eq!(service.row("one")["state"], "stopped");
    assert!(service.command(&["start", "one"]).status.success());
    assert_eq!(service.row("one")["state"], "running");
    let refusal = service.command(&["stop", "absent"]);
    assert_eq!(refusal.status.code(), Some(1));
    assert!(String::from_utf8(refusal.stderr).unwrap().contains("absent"));
}

#[test]
fn a_worker_gets_no_other_fds_and_variables() {
    let script = "ls -l /proc/self/fd | wc -l; env | cut -d= -f1 | tr '\\n' ' '; echo; sleep 60";
    let mut service = Service::start(&["sh", "-c", script], "");
    // "total", the three standard fds, and the fd with which ls reads the directory
    let fds = service.wait_for_line(|line| line["stream"] == "stdout")["message"].clone();
    assert_eq!(fds, "5");
    let names = service.wait_for_line(|line| line["stream"] == "stdout")["message"].clone();
    for name in names.as_str().unwrap().split_whitespace() {
        let known = [
            "PATH",
            "HOME",
            "TZ",
            "LANG",
            "PWD",
            "SHLVL",
            "OLDPWD",
            "_",
            "BULKHEAD_WORKER",
            "BULKHEAD_API_URL",
        ];
        assert!(known.contains(&name) || name.starts_with("LC_"), "{name}");
    }
}

#[test]
fn hostile_output_can_neither_forge_nor_flood_the_log() {
    let forged = r#"{"level":"ERROR","event_name":"worker_died","worker":"api","message":"forged"}"#;
    let script = format!("echo '{forged}'; yes | head -n 100000; printf '\\033[2J\\377\\n'; sleep 60");
    let mut service = Service::start(&["sh", "-c", &script], "");
    service.wait_for_line(|line| line["message"].as_str().is_some_and(|text| text.contains("lines dropped")));
    let forged = service.lines().into_iter().find(|line| line["message"] == "forged").unwrap();
    assert_eq!((&forged["worker"], forged.get("event_name")), (&"one".into(), None));
    assert!(service.lines().len() < 20_000);
}

#[test]
fn silent_and_flooding_clients_delay_no_other_client() {
    let mut service = Service::start(&["sleep", "60"], "");
    service.wait_for("worker_ready", "one");
    let silent: Vec<_> = (0..8).map(|_| UnixStream::connect(service.socket()).unwrap()).collect();
    let mut flooding = UnixStream::connect(service.socket()).unwrap();
    let _ = flooding.write_all(&[b'x'; 100_000]);
    assert_eq!(service.row("one")["state"], "running");
    let mut reply = String::new();
    // The connection ends, with or without a reply.
    flooding.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let _ = flooding.read_to_string(&mut reply);
    drop(silent);
    let mode = fs::metadata(service.socket()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o660);
}

#[test]
fn a_second_supervisor_is_refused_and_changes_nothing() {
    let mut service = Service::start(&["sleep", "60"], "");
    service.wait_for("worker_ready", "one");
    let second = service.run_again();
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8(second.stderr).unwrap();
    assert!(text.contains("locked by another supervisor"), "{text}");
    assert_eq!(service.row("one")["state"], "running");
}

#[test]
fn a_stale_control_socket_is_replaced() {
    let mut service = Service::prepare(&["sleep", "60"], "", "1m");
    drop(std::os::unix::net::UnixListener::bind(service.socket()).unwrap());
    service.launch();
    service.wait_for("worker_ready", "one");
    assert_eq!(service.row("one")["state"], "running");
}

#[test]
fn a_disorderly_end_is_reported_at_the_next_start() {
    let mut service = Service::start(&["true"], "");
    service.wait_for("worker_started", "one");
    service.signal("KILL");
    service.wait();
    service.launch();
    let logged =
        |event_name: &str| service.lines().into_iter().find(|line| line["event_name"] == event_name).unwrap();
    assert_eq!(logged("state_lost")["level"], "ERROR");
    let gap = logged("seq_gap");
    assert_eq!(gap["next_seq"], (1_u64 << 32) + 1);
    assert!(service.wait_for("worker_started", "one")["generation"].as_u64().unwrap() > 1000);
}

#[test]
fn without_a_supervisor_a_command_lists_the_sockets_it_tried() {
    let dir = tempfile::tempdir().unwrap();
    let output = bulkhead(dir.path()).arg("status").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stderr).unwrap();
    for path in ["/run/bulkhead/control.sock", "bulkhead-state/control.sock"] {
        assert!(text.contains(path), "{text}");
    }
}
