//! Directories and files that disappear while the supervisor runs.

use crate::harness::Service;
use std::{fs, os::unix::fs::symlink, path::Path};

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
