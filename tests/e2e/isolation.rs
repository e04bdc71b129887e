//! What a worker can access: its own file descriptors, and the events as read-only memory.

use crate::common::FAULTS_ENABLED;
use bulkhead_tests::{
    Fixture,
    process::{self, FDTarget},
};
use procfs::process::MMPermissions;
use std::path::Path;

fn count(fds: &[(i32, FDTarget)], is: impl Fn(&FDTarget) -> bool) -> usize {
    fds.iter().filter(|(_, target)| is(target)).count()
}

#[test]
fn a_plain_worker_inherits_nothing_but_its_standard_streams() {
    // The worker prints when its program is loaded: until then, the linker holds a library open.
    let program = "sleep infinity & echo loaded; wait";
    let config = format!("[[worker]]\nname = \"idle\"\ncommand = [\"sh\", \"-c\", \"{program}\"]\n");
    let bulkhead = Fixture::new(&config).start();
    bulkhead
        .log()
        .from_start()
        .wait_for("the line of the plain worker", |line| line.raw().contains("loaded"));
    let idle = bulkhead.last_line("worker_ready", "idle");
    let fds = process::fds(idle.pid());
    assert_eq!(fds.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2], "{fds:?}");
    assert!(matches!(&fds[0].1, FDTarget::Path(path) if path.as_os_str() == "/dev/null"), "{fds:?}");
    assert_eq!(count(&fds, |target| matches!(target, FDTarget::Pipe(_))), 2, "{fds:?}");
}

#[test]
fn a_worker_sees_only_its_own_environment_and_the_passed_variables() {
    let program = "echo seen: $(env | sort); exec sleep infinity";
    let bulkhead = Fixture::new(&format!(
        "[[worker]]\nname = \"idle\"\ncommand = [\"sh\", \"-c\", \"{program}\"]\ncwd = \"/\"\n\
         env = {{ OWN = \"1\" }}\npass_env = [\"BULKHEAD_STATE_DIR\", \"NOT_SET\"]\n"
    ))
    .start();
    let seen = bulkhead
        .log()
        .from_start()
        .wait_for("the environment of the worker", |line| line.text("message").starts_with("seen: "));
    let seen = seen.text("message");
    for present in ["OWN=1", "BULKHEAD_STATE_DIR=", "BULKHEAD_WORKER=idle", "BULKHEAD_API_URL=http", "PWD=/"]
    {
        assert!(seen.contains(present), "{present} is missing: {seen}");
    }
    // The harness sets these variables for the supervisor, which must not pass them to the worker.
    for absent in ["BULKHEAD_API_LISTEN", "NOT_SET"] {
        assert!(!seen.contains(absent), "{absent} must not be set: {seen}");
    }
}

#[test]
fn workers_hold_their_own_pipes_and_no_files_of_the_supervisor() {
    let bulkhead = Fixture::new("").start();
    for worker in ["api", "analytics"] {
        let fds = process::fds(bulkhead.worker_pid(worker));
        let pipes = count(&fds, |target| matches!(target, FDTarget::Pipe(_)));
        assert_eq!(pipes, 4, "stdout, stderr, and one control pipe each way: {worker} has {fds:?}");
        // The API reads the quarantine and the crash reports through directories that it holds open and
        // cannot leave.
        let folders = ["state/quarantine", "state/crashes"];
        let known = |path: &Path| {
            path == Path::new("/dev/null")
                || worker == "api" && folders.iter().any(|folder| path.ends_with(folder))
        };
        let files = count(&fds, |target| matches!(target, FDTarget::Path(path) if !known(path)));
        assert_eq!(files, 0, "{worker} has {fds:?}");
    }
}

#[test]
fn a_new_generation_has_as_many_fds_as_the_one_before() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    for worker in ["api", "analytics"] {
        let before = process::fds(bulkhead.worker_pid(worker)).len();
        let mut log = bulkhead.log().from_now();
        for _ in 0..3 {
            assert_eq!(bulkhead.cli(&["fault", worker, "kill"]).code, Some(0));
            log.wait_for_worker("worker_activated", worker);
        }
        let after = process::fds(bulkhead.worker_pid(worker));
        assert_eq!(after.len(), before, "{worker} has {after:?}");
    }
}

#[test]
fn the_analysis_maps_the_events_read_only() {
    let bulkhead = Fixture::new("").start();
    let events = process::memfd_mappings(bulkhead.worker_pid("analytics"), "events");
    assert!(!events.is_empty(), "the analysis maps no events");
    for permissions in events {
        assert_eq!(permissions, MMPermissions::READ | MMPermissions::SHARED);
    }
}

#[test]
fn the_analysis_does_not_map_the_ledger_and_the_api_cannot_write_state() {
    let bulkhead = Fixture::new("").start();
    assert_eq!(process::memfd_mappings(bulkhead.worker_pid("analytics"), "board"), []);
    for name in ["state", "cursor", "board"] {
        for permissions in process::memfd_mappings(bulkhead.worker_pid("api"), name) {
            assert!(!permissions.contains(MMPermissions::WRITE), "the API may write {name}: {permissions:?}");
        }
    }
}
