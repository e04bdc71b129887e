//! `bulkhead check` on the real binary: each mistake has a snapshot of its output.
//!
//! After an intended change: `INSTA_UPDATE=always cargo test -p bulkhead-supervisor --test check`, and read the diff.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod environment;
mod files;
mod json;
mod mistakes;
mod streams;

use std::{path::Path, process::Command};
use tempfile::TempDir;

/// The configuration file, relative to the working directory of the command.
const FILE: &str = "t.toml";

/// A directory in which the defaults are valid: it contains all programs, and a `t.toml` with this text.
fn dir(text: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(FILE), text).unwrap();
    std::fs::create_dir(dir.path().join("bin")).unwrap();
    for program in ["bulkhead-api", "bulkhead-analytics", "collector"] {
        std::os::unix::fs::symlink("/bin/true", dir.path().join("bin").join(program)).unwrap();
    }
    dir
}

/// `bulkhead` with an environment that contains only `PATH`.
fn bulkhead(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bulkhead"));
    command.current_dir(dir).env_clear().env("PATH", "bin");
    command
}

/// The exit code and both output streams of a command. The name of its directory is replaced.
fn output_of(mut command: Command) -> String {
    let output = command.output().unwrap();
    let dir = command.get_current_dir().unwrap().to_string_lossy().into_owned();
    let stream = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&dir, "/DIR");
    let (out, err) = (stream(output.stdout), stream(output.stderr));
    format!("exit code {}\n--- stdout\n{out}--- stderr\n{err}", output.status.code().unwrap())
}

/// The output of `check` for a configuration.
fn check(text: &str) -> String {
    let dir = dir(text);
    let mut command = bulkhead(dir.path());
    command.args(["check", "--config", FILE]);
    output_of(command)
}
