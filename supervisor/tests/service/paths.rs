//! Directories and files that disappear while the supervisor runs.

use crate::harness::Service;
use std::{
    fs,
    os::unix::{fs::symlink, net::UnixListener},
    path::Path,
};

fn make_start_dir(path: &Path) {
    fs::create_dir(path).unwrap();
    symlink("/bin/sleep", path.join("one")).unwrap();
}

#[test]
fn workers_are_restarted_after_the_start_directory_was_deleted_and_made_again() {
    let mut service = Service::prepare(&["./one", "60"], "state_dir = \"../state/deep\"", "1m");
    let start_dir = service.path("app");
    make_start_dir(&start_dir);
    service.launch_in(&start_dir);
    service.wait_for("worker_ready", "one");
    fs::remove_dir_all(&start_dir).unwrap();
    make_start_dir(&start_dir);
    for worker in ["api", "analytics", "one"] {
        let restarted = service.command(&["restart", worker]);
        assert!(restarted.status.success(), "{restarted:?}");
    }
    assert!(service.command(&["reload"]).status.success());
    assert_eq!(service.stop("TERM"), Some(0));
    assert!(service.path("state/deep/snapshot").exists());
}

#[test]
fn a_removed_control_socket_is_created_again() {
    let mut service = Service::start(&["sleep", "60"], "");
    service.wait_for("worker_ready", "one");
    fs::remove_file(service.socket()).unwrap();
    let created = |line: &serde_json::Value| line["message"].as_str().unwrap().contains("created again");
    assert_eq!(service.wait_for_line(created)["level"], "WARN");
    assert_eq!(service.row("one")["state"], "running");
    // The new file is watched as well.
    fs::rename(service.socket(), service.path("renamed")).unwrap();
    service.wait_for_line(created);
    assert_eq!(service.row("one")["state"], "running");
    assert_eq!(service.stop("TERM"), Some(0));
    assert!(!service.socket().exists());
}

#[test]
fn the_removed_file_of_a_socket_from_systemd_is_reported_and_left_to_systemd() {
    let mut service = Service::prepare(&["sleep", "60"], "", "1m");
    let path = service.path("api.sock");
    service.launch_with_socket(UnixListener::bind(&path).unwrap().into());
    service.wait_for("worker_ready", "one");
    fs::remove_file(&path).unwrap();
    let removed = |line: &serde_json::Value| {
        let message = line["message"].as_str().unwrap();
        message.contains("api.sock was removed") && message.contains("systemctl start")
    };
    assert_eq!(service.wait_for_line(removed)["level"], "ERROR");
    assert!(!path.exists());
    assert_eq!(service.stop("TERM"), Some(0));
}

#[test]
fn a_control_socket_of_another_program_is_left_to_it() {
    let mut service = Service::start(&["sleep", "60"], "");
    service.wait_for("worker_ready", "one");
    let other = UnixListener::bind(service.path("other")).unwrap();
    fs::rename(service.path("other"), service.socket()).unwrap();
    let refused = |line: &serde_json::Value| {
        line["message"].as_str().unwrap().contains("cannot be created again: address in use")
    };
    assert_eq!(service.wait_for_line(refused)["level"], "ERROR");
    drop(other);
    service.signal("HUP");
    service.wait_for_line(|line| line["message"].as_str().unwrap().contains("created again"));
    assert_eq!(service.row("one")["state"], "running");
}
