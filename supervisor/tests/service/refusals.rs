//! Errors at the start and of commands: text and exit codes.

use crate::harness::{Service, bulkhead, wait_until_gone};
use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, process::Output};

/// A restart delay longer than the test.
const LONG_DELAY: &str = "restart.initial = \"1m\"\nrestart.max = \"1m\"";

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_port_in_use_ends_the_start_and_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let service = Service::prepare(&["true"], "", "1m");
    let output = service.run_with("BULKHEAD_API_LISTEN", &address);
    assert_eq!(output.status.code(), Some(1));
    for word in [&*address, "address in use", "set api.listen"] {
        assert!(text(&output).contains(word), "no {word:?} in {}", text(&output));
    }
}

#[test]
fn a_program_without_execute_permission_parks_its_worker_with_cause_config() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("program");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
    let mut service = Service::start(&[program.to_str().unwrap()], "");
    let died = service.wait_for("worker_died", "one");
    assert_eq!(died["cause"], "config", "{died}");
    assert!(died["detail"].as_str().unwrap().contains("Permission denied"), "{died}");
    assert_eq!(died["next"], "parked until it is started by command");
    service.wait_for("worker_parked", "one");
}

#[test]
fn children_of_a_dead_worker_are_killed() {
    let mut service = Service::start(&["sh", "-c", "sleep 60 & echo $!; exit 7"], LONG_DELAY);
    let child = service.wait_for_line(|line| line["stream"] == "stdout")["message"].clone();
    service.wait_for("worker_died", "one");
    wait_until_gone(child.as_str().unwrap());
}

#[test]
fn an_escaped_child_does_not_delay_the_report_of_a_death() {
    // The child keeps the worker's stdout open. It has left the process group before its pid is printed.
    let script = "exec 3>&1; echo $(setsid sh -c 'sleep 60 >&3 & echo $!'); exit 7";
    let mut service = Service::start(&["sh", "-c", script], LONG_DELAY);
    let child = service.wait_for_line(|line| line["stream"] == "stdout")["message"].clone();
    assert_eq!(service.wait_for("worker_died", "one")["detail"], "exit code 7");
    let child = child.as_str().unwrap();
    wait_until_gone(child);
}

#[test]
fn exit_codes_distinguish_kinds_of_failure() {
    let mut service = Service::start(&["sleep", "60"], "");
    service.wait_for("worker_ready", "one");
    let elsewhere = tempfile::tempdir().unwrap();
    let without_supervisor =
        |arguments: &[&str]| bulkhead(elsewhere.path()).args(arguments).output().unwrap();
    let runs: [(&[&str], Output, i32); 9] = [
        (&["status"], service.command(&["status"]), 0),
        (&["stop", "absent"], service.command(&["stop", "absent"]), 1),
        (&["fault", "one", "kill"], service.command(&["fault", "one", "kill"]), 1),
        (&["fault", "one", "dance"], service.command(&["fault", "one", "dance"]), 2),
        (&["dance"], service.command(&["dance"]), 2),
        (&["restart"], service.command(&["restart"]), 2),
        (&["check", "--config", "absent"], without_supervisor(&["check", "--config", "absent"]), 2),
        (&["run", "--config", "absent"], without_supervisor(&["run", "--config", "absent"]), 2),
        (&["status"], without_supervisor(&["status"]), 3),
    ];
    for (arguments, output, code) in runs {
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output));
        assert_eq!(
            output.stdout.is_empty(),
            code != 0,
            "{arguments:?}: results go to stdout, errors to stderr"
        );
        assert_eq!(text(&output).is_empty(), code == 0, "{arguments:?}: {}", text(&output));
    }
}
