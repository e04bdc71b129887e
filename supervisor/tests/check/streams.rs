//! What happens when nothing can be written any more.

use super::{FILE, bulkhead, folder};
use std::{fs::File, path::Path};

/// Every write to it fails as on a full disk.
fn full() -> File {
    File::options().write(true).open(Path::new("/dev/full")).unwrap()
}

#[test]
fn a_full_disk_behind_stdout_is_a_failure_and_said() {
    let folder = folder("");
    let output = bulkhead(folder.path()).args(["check", "--config", FILE]).stdout(full()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("bulkhead: cannot write to stdout: No space left on device"), "{said}");
}

#[test]
fn what_cannot_be_said_on_stderr_is_still_told_by_the_exit_code() {
    let folder = folder("");
    for (arguments, code) in [(["check", "--config", "none.toml"], 2), (["status", "--socket", "none"], 3)] {
        let status = bulkhead(folder.path()).args(arguments).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}
