//! Finding and reading the configuration file.

use super::{FILE, bulkhead, check, dir, output_of};
use std::{fs, path::Path, process::Command};

fn check_path(dir: &Path, path: &str) -> String {
    let mut command = bulkhead(dir);
    command.args(["check", "--config", path]);
    output_of(command)
}

#[test]
fn a_valid_file_is_summarised() {
    insta::assert_snapshot!(check(
        "[api]\nlisten = \"127.0.0.1:0\"\n[[worker]]\nname = \"one\"\ncommand = [\"collector\"]\n"
    ));
}

#[test]
fn a_missing_file_is_reported() {
    insta::assert_snapshot!(check_path(dir("").path(), "missing.toml"));
}

#[test]
fn a_missing_file_named_by_the_variable_is_reported() {
    let dir = dir("");
    let mut command = bulkhead(dir.path());
    command.arg("check").env("BULKHEAD_CONFIG", "missing.toml");
    insta::assert_snapshot!(output_of(command));
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let dir = dir("");
    let mut command = bulkhead(dir.path());
    command.args(["check", "--config", FILE]);
    for name in [
        "BULKHEAD_CONFIG",
        "BULKHEAD_API_LISTEN",
        "BULKHEAD_STATE_DIR",
        "STATE_DIRECTORY",
        "CREDENTIALS_DIRECTORY",
    ] {
        command.env(name, "");
    }
    assert!(output_of(command).starts_with("exit code 0"));
}

#[test]
fn a_directory_is_refused() {
    insta::assert_snapshot!(check_path(dir("").path(), "bin"));
}

#[test]
fn a_fifo_is_refused_without_waiting_for_a_writer() {
    let dir = dir("");
    assert!(Command::new("mkfifo").arg(dir.path().join("fifo")).status().unwrap().success());
    insta::assert_snapshot!(check_path(dir.path(), "fifo"));
}

#[test]
fn a_file_of_a_gigabyte_is_refused_without_being_read() {
    let dir = dir("");
    fs::File::create(dir.path().join("huge")).unwrap().set_len(1 << 30).unwrap();
    insta::assert_snapshot!(check_path(dir.path(), "huge"));
}

#[test]
fn invalid_utf_8_is_reported_with_its_position() {
    let dir = dir("");
    fs::write(dir.path().join(FILE), b"[api]\nenv = { NAME = \"M\xfcller\" }\n").unwrap();
    insta::assert_snapshot!(check_path(dir.path(), FILE));
}

#[test]
fn a_file_of_garbage_gets_a_bounded_report() {
    let lines = check(&"key = 1\n".repeat(100_000)).lines().count();
    assert!(lines < 1_000, "{lines}");
}

#[test]
fn run_reports_an_invalid_file_as_check_does() {
    let dir = dir("restart.limit = 0\n");
    let mut run = bulkhead(dir.path());
    run.args(["run", "--config", FILE]);
    assert_eq!(output_of(run), check_path(dir.path(), FILE));
}

#[test]
fn only_a_terminal_gets_colours() {
    let dir = dir("restart.limit = 0\n");
    let terminal_output = |variable: Option<&str>| {
        let command = format!("{} check --config {FILE}", env!("CARGO_BIN_EXE_bulkhead"));
        let mut script = Command::new("/usr/bin/script");
        script.args(["-qec", &command, "/dev/null"]).current_dir(dir.path()).env("TERM", "xterm");
        script.env_remove("NO_COLOR").envs(variable.map(|name| (name, "1")));
        String::from_utf8(script.output().unwrap().stdout).unwrap()
    };
    let mut probe = Command::new("/usr/bin/script");
    if !probe.args(["-qec", "true", "/dev/null"]).output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: script(1) or a pseudo-terminal is missing");
        return;
    }
    assert!(terminal_output(None).contains("\u{1b}["));
    assert!(!terminal_output(Some("NO_COLOR")).contains("\u{1b}["));
    assert!(!check("restart.limit = 0\n").contains("\u{1b}["));
}
