//! `bulkhead check` as an operator meets it: every mistake with the picture that is drawn of it.
//!
//! After a change on purpose: `INSTA_UPDATE=always cargo test -p bulkhead-supervisor --test check`, and read the diff.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod files;
mod json;
mod mistakes;
mod streams;
mod surroundings;

use std::{path::Path, process::Command};
use tempfile::TempDir;

/// The configuration's name, relative to where the command runs.
const FILE: &str = "t.toml";

/// Makes the defaults pass wherever the test runs: both programs are there, and there is a `t.toml` with this text.
fn folder(text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE), text).unwrap();
    std::fs::create_dir(folder.path().join("bin")).unwrap();
    for program in ["bulkhead-api", "bulkhead-analytics", "collector"] {
        std::os::unix::fs::symlink("/bin/true", folder.path().join("bin").join(program)).unwrap();
    }
    folder
}

/// `bulkhead`, with nothing of the surroundings but what the test puts there.
fn bulkhead(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bulkhead"));
    command.current_dir(folder).env_clear().env("PATH", "bin");
    command
}

/// What a command says: its exit code, then both of its streams, with the folder's name taken out.
fn told(mut command: Command) -> String {
    let output = command.output().unwrap();
    let folder = command.get_current_dir().unwrap().to_string_lossy().into_owned();
    let stream = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&folder, "/FOLDER");
    let (out, err) = (stream(output.stdout), stream(output.stderr));
    format!("exit code {}\n--- stdout\n{out}--- stderr\n{err}", output.status.code().unwrap())
}

/// What `check` says of a configuration.
fn check(text: &str) -> String {
    let folder = folder(text);
    let mut command = bulkhead(folder.path());
    command.args(["check", "--config", FILE]);
    told(command)
}
