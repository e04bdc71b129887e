//! Resource limits of the supervisor's process.

use crate::harness::Service;
use std::{fs, os::unix::fs::PermissionsExt as _};

/// Starts under a limit that is too low. Returns the exit code and the error.
fn start_with(limit: &str) -> (Option<i32>, String) {
    let service = Service::prepare(&["sleep", "60"], "", "1m");
    let output = service.output_by(&["bash", "-ec", &format!(r#"ulimit {limit}; exec "$@""#), "bash"]);
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_limit_that_is_too_low_ends_the_start_and_is_named() {
    for (limit, option) in [("-f 8", "ulimit -f"), ("-n 10", "ulimit -n"), ("-v 200000", "ulimit -v")] {
        let (code, error) = start_with(limit);
        assert_eq!(code, Some(1), "{limit}: {error}");
        assert!(error.contains(option), "{limit}: {error}");
    }
}

#[test]
fn without_a_thread_for_the_log_the_start_is_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: changing the user needs root");
        return;
    }
    // Root has no limit of processes, and another user cannot read the build directory.
    let service = Service::prepare(&["sleep", "60"], "", "1m");
    fs::set_permissions(service.path(""), fs::Permissions::from_mode(0o777)).unwrap();
    let program = service.path("bulkhead");
    fs::copy(env!("CARGO_BIN_EXE_bulkhead"), &program).unwrap();
    let script = format!(
        r#"ulimit -u 1; shift; exec setpriv --reuid 54321 --regid 54321 --clear-groups {} "$@""#,
        program.display()
    );
    let output = service.output_by(&["bash", "-ec", &script, "bash"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("cannot start the thread of the log") && error.contains("ulimit -u"), "{error}");
}
