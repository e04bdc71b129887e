//! What cannot work is refused at once, with what was wanted, what was found, and what to do; exit codes are the contract's.

use crate::harness::{Service, bulkhead, is_alive, wait_until_gone};
use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, process::Output};

/// Nothing comes after the first death for a while.
const LONG_DELAY: &str = "restart.initial = \"1m\"\nrestart.max = \"1m\"";

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_port_in_use_ends_the_start_and_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let service = Service::prepare(&["true"], "", "1m");
    let output = service.second_with("BULKHEAD_API_LISTEN", &address);
    assert_eq!(output.status.code(), Some(1));
    for word in [&*address, "address in use by another program", "set api.listen"] {
        assert!(text(&output).contains(word), "no {word:?} in {}", text(&output));
    }
}

#[test]
fn a_program_that_may_not_be_executed_is_a_matter_of_configuration_and_not_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
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
fn a_worker_that_dies_takes_its_children_along() {
    let mut service = Service::start(&["sh", "-c", "sleep 60 & echo $!; exit 7"], LONG_DELAY);
    let child = service.wait_for_line(|line| line["stream"] == "stdout")["message"].clone();
    service.wait_for("worker_died", "one");
    wait_until_gone(child.as_str().unwrap());
}

#[test]
fn a_child_that_has_escaped_from_its_worker_holds_up_no_report_of_the_workers_death() {
    // It keeps the worker's stdout open, and has escaped before it is told of.
    let script = "exec 3>&1; echo $(setsid sh -c 'sleep 60 >&3 & echo $!'); exit 7";
    let mut service = Service::start(&["sh", "-c", script], LONG_DELAY);
    let child = service.wait_for_line(|line| line["stream"] == "stdout")["message"].clone();
    assert_eq!(service.wait_for("worker_died", "one")["detail"], "exit code 7");
    let child = child.as_str().unwrap();
    assert!(is_alive(child), "nobody ends what has left its group, but a stop");
    assert_eq!(service.stop("TERM"), Some(0));
    wait_until_gone(child);
}

#[test]
fn exit_codes_tell_what_kind_of_failure_it_was() {
    let mut service = Service::start(&["sleep", "60"], "");
    service.wait_for("worker_ready", "one");
    let elsewhere = tempfile::tempdir().unwrap();
    let alone = |arguments: &[&str]| bulkhead(elsewhere.path()).args(arguments).output().unwrap();
    let runs: [(&[&str], Output, i32); 9] = [
        (&["status"], service.say(&["status"]), 0),
        (&["stop", "nobody"], service.say(&["stop", "nobody"]), 1),
        (&["fault", "one", "kill"], service.say(&["fault", "one", "kill"]), 1),
        (&["fault", "one", "dance"], service.say(&["fault", "one", "dance"]), 2),
        (&["dance"], service.say(&["dance"]), 2),
        (&["restart"], service.say(&["restart"]), 2),
        (&["check", "--config", "absent"], alone(&["check", "--config", "absent"]), 2),
        (&["run", "--config", "absent"], alone(&["run", "--config", "absent"]), 2),
        (&["status"], alone(&["status"]), 3),
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
