//! Where the configuration is looked for, and what may lie there.

use super::{FILE, bulkhead, check, folder, told};
use std::{fs, path::Path, process::Command};

fn check_of(folder: &Path, path: &str) -> String {
    let mut command = bulkhead(folder);
    command.args(["check", "--config", path]);
    told(command)
}

#[test]
fn a_good_file_is_summed_up() {
    insta::assert_snapshot!(check(
        "[api]\nlisten = \"127.0.0.1:0\"\n[[worker]]\nname = \"one\"\ncommand = [\"collector\"]\n"
    ));
}

#[test]
fn a_file_that_is_not_there_is_told() {
    insta::assert_snapshot!(check_of(folder("").path(), "missing.toml"));
}

#[test]
fn a_variable_that_names_nothing_is_told() {
    let folder = folder("");
    let mut command = bulkhead(folder.path());
    command.arg("check").env("BULKHEAD_CONFIG", "missing.toml");
    insta::assert_snapshot!(told(command));
}

#[test]
fn a_variable_set_to_nothing_counts_as_not_set() {
    let folder = folder("");
    let mut command = bulkhead(folder.path());
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
    assert!(told(command).starts_with("exit code 0"));
}

#[test]
fn a_directory_is_no_configuration() {
    insta::assert_snapshot!(check_of(folder("").path(), "bin"));
}

#[test]
fn nobody_waits_for_the_writer_of_a_fifo() {
    let folder = folder("");
    assert!(Command::new("mkfifo").arg(folder.path().join("fifo")).status().unwrap().success());
    insta::assert_snapshot!(check_of(folder.path(), "fifo"));
}

#[test]
fn a_file_of_a_gigabyte_is_refused_without_being_read() {
    let folder = folder("");
    fs::File::create(folder.path().join("huge")).unwrap().set_len(1 << 30).unwrap();
    insta::assert_snapshot!(check_of(folder.path(), "huge"));
}

#[test]
fn bytes_that_are_not_utf_8_are_pointed_at() {
    let folder = folder("");
    fs::write(folder.path().join(FILE), b"[api]\nenv = { NAME = \"M\xfcller\" }\n").unwrap();
    insta::assert_snapshot!(check_of(folder.path(), FILE));
}

#[test]
fn a_file_of_garbage_is_told_briefly() {
    let lines = check(&"key = 1\n".repeat(100_000)).lines().count();
    assert!(lines < 1_000, "{lines}");
}

#[test]
fn run_refuses_a_bad_file_as_check_does() {
    let folder = folder("restart.limit = 0\n");
    let mut run = bulkhead(folder.path());
    run.args(["run", "--config", FILE]);
    assert_eq!(told(run), check_of(folder.path(), FILE));
}

#[test]
fn colours_are_for_terminals() {
    let folder = folder("restart.limit = 0\n");
    let told = |variable: Option<&str>| {
        let command = format!("{} check --config {FILE}", env!("CARGO_BIN_EXE_bulkhead"));
        let mut script = Command::new("/usr/bin/script");
        script.args(["-qec", &command, "/dev/null"]).current_dir(folder.path()).env("TERM", "xterm");
        script.env_remove("NO_COLOR").envs(variable.map(|name| (name, "1")));
        String::from_utf8(script.output().unwrap().stdout).unwrap()
    };
    if !Path::new("/usr/bin/script").exists() {
        eprintln!("NOT CHECKED: there is no script(1) to make a terminal");
        return;
    }
    assert!(told(None).contains("\u{1b}["));
    assert!(!told(Some("NO_COLOR")).contains("\u{1b}["));
    assert!(!check("restart.limit = 0\n").contains("\u{1b}["));
}
