//! Output that cannot be written.

use super::{FILE, bulkhead, dir};
use std::{fs::File, path::Path};

/// A file on which every write fails, as on a full disk.
fn full() -> File {
    File::options().write(true).open(Path::new("/dev/full")).unwrap()
}

#[test]
fn a_full_disk_on_stdout_is_reported_as_a_failure() {
    let dir = dir("");
    let output = bulkhead(dir.path()).args(["check", "--config", FILE]).stdout(full()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("bulkhead: cannot write to stdout: No space left on device"), "{stderr}");
}

#[test]
fn the_exit_code_is_right_even_if_stderr_cannot_be_written() {
    let dir = dir("");
    for (arguments, code) in [(["check", "--config", "none.toml"], 2), (["status", "--socket", "none"], 3)] {
        let status = bulkhead(dir.path()).args(arguments).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}
