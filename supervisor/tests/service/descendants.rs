//! What a plain worker starts: its process group, and what leaves the group.

use crate::harness::{Service, is_alive, wait_until_gone};
use serde_json::Value;
use std::fs;

/// Starts a process in another session that holds none of the worker's pipes, and prints its pid.
const ESCAPE: &str = "echo $(setsid sh -c 'sleep 60 >/dev/null 2>&1 & echo $!')";

/// The number of processes outside of the group of the worker that `status` shows.
fn outside_group(service: &Service) -> Value {
    service.status()["outside_group"]["one"].clone()
}

/// A shell that ends at SIGTERM without its child.
fn wrapped(child: &str) -> [String; 3] {
    ["sh".to_owned(), "-c".to_owned(), format!("sh -c '{child}'; true")]
}

fn printed(service: &mut Service) -> String {
    let line = service.wait_for_line(|line| line["stream"] == "stdout");
    line["message"].as_str().unwrap().to_owned()
}

/// Stops a wrapper whose child stops when something is written to a pipe. `arguments`: the command that stops it; if there
/// is none, the supervisor is stopped.
fn stop_wrapped(arguments: &[&str]) {
    let child = r#"trap "cat pipe; echo saved; exit" TERM; echo ready; while :; do sleep 0.02; done"#;
    let mut service = Service::prepare(&wrapped(child).each_ref().map(String::as_str), "", "1h");
    let pipe = service.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    service.launch();
    assert_eq!(printed(&mut service), "ready");
    // Waits until the child reads.
    let release = std::thread::spawn(move || fs::write(pipe, ""));
    if arguments.is_empty() {
        service.signal("TERM");
    } else {
        let output = service.command(arguments);
        assert!(output.status.success(), "{output:?}");
    }
    release.join().unwrap().unwrap();
    assert_eq!(printed(&mut service), "saved");
    assert_eq!(service.wait_for("worker_died", "one")["cause"], "requested");
}

#[test]
fn a_stop_waits_for_the_children_of_a_wrapper() {
    stop_wrapped(&["stop", "one"]);
}

#[test]
fn a_restart_waits_for_the_children_of_a_wrapper() {
    stop_wrapped(&["restart", "one"]);
}

#[test]
fn the_stop_of_the_supervisor_waits_for_the_children_of_a_wrapper() {
    stop_wrapped(&[]);
}

#[test]
fn children_of_a_wrapper_that_do_not_stop_are_killed_after_the_stop_timeout() {
    let child = r#"trap "" TERM; echo $$; while :; do sleep 1; done"#;
    let mut service = Service::prepare(&wrapped(child).each_ref().map(String::as_str), "", "100ms");
    service.launch();
    let pid = printed(&mut service);
    assert!(service.command(&["stop", "one"]).status.success());
    wait_until_gone(&pid);
    assert!(service.wait_for("worker_signalled", "one")["message"].as_str().unwrap().contains("SIGKILL"));
}

#[test]
fn a_restart_and_a_stop_end_what_left_the_group() {
    let mut service = Service::start(&["sh", "-c", &format!("{ESCAPE}; exec sleep 60")], "");
    let first = printed(&mut service);
    assert!(service.command(&["restart", "one"]).status.success());
    assert!(!is_alive(&first));
    let second = printed(&mut service);
    assert!(is_alive(&second));
    assert_eq!(outside_group(&service), 1);
    assert!(service.command(&["stop", "one"]).status.success());
    assert!(!is_alive(&second));
    assert_eq!(outside_group(&service), Value::Null);
    let warned = |line: &Value| {
        line["event_name"] == "worker_warning" && line["message"].as_str().unwrap().contains(&second)
    };
    assert!(service.wait_for_line(warned)["message"].as_str().unwrap().contains("sleep"));
}

#[test]
fn status_counts_what_left_the_group_and_has_its_parent_still() {
    let script = "setsid sh -c 'echo out; exec sleep 60' & sleep 60 & wait";
    let mut service = Service::start(&["sh", "-c", script], "");
    assert_eq!(printed(&mut service), "out");
    assert_eq!((outside_group(&service), &service.status()["orphans"]), (1.into(), &0.into()));
}

#[test]
fn status_counts_what_a_worker_left_behind_without_its_name() {
    let script =
        "echo $(env -i PATH=\"$PATH\" setsid sh -c 'sleep 60 >/dev/null 2>&1 & echo $!'); exec sleep 60";
    let mut service = Service::start(&["sh", "-c", script], "");
    let left = printed(&mut service);
    assert!(is_alive(&left));
    assert_eq!((outside_group(&service), &service.status()["orphans"]), (Value::Null, &1.into()));
    service.stop("TERM");
    assert!(!is_alive(&left));
}

#[test]
fn a_worker_that_daemonizes_is_named_and_leaves_nothing() {
    let mut service = Service::start(&["sh", "-c", ESCAPE], "restart.initial = \"1m\"\nrestart.max = \"1m\"");
    let warning = service.wait_for("worker_warning", "one")["message"].as_str().unwrap().to_owned();
    // The last output is read after the worker's end.
    service.wait_for("worker_died", "one");
    let lines = service.lines();
    let daemon = lines.iter().find(|line| line["stream"] == "stdout").unwrap()["message"].clone();
    let daemon = daemon.as_str().unwrap();
    assert!(warning.contains("seems to daemonize") && warning.contains(daemon), "{warning}");
    wait_until_gone(daemon);
}
