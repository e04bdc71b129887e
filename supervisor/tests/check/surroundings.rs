//! What the environment says, and what can be looked at without running: programs, directories, the token.

use super::{FILE, bulkhead, check, folder, told};
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

fn check_with(variable: (&str, &str), text: &str) -> String {
    let folder = folder(text);
    let mut command = bulkhead(folder.path());
    command.args(["check", "--config", FILE]).env(variable.0, variable.1);
    told(command)
}

/// A file of the folder, with these permissions.
fn put(folder: &Path, name: &str, mode: u32) {
    fs::write(folder.join(name), "a token of some length").unwrap();
    fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_wrong_address_in_the_environment_names_the_variable() {
    insta::assert_snapshot!(check_with(("BULKHEAD_API_LISTEN", "8080"), ""));
}

#[test]
fn an_exposed_address_in_the_environment_names_the_variable() {
    insta::assert_snapshot!(check_with(("BULKHEAD_API_LISTEN", "0.0.0.0:8080"), "api.insecure = false\n"));
}

#[test]
fn a_credential_of_systemd_is_a_token() {
    let folder = folder("api.listen = \"0.0.0.0:8080\"\n");
    put(folder.path(), "token", 0o400);
    let mut command = bulkhead(folder.path());
    command.args(["check", "--config", FILE]).env("CREDENTIALS_DIRECTORY", folder.path());
    assert!(told(command).starts_with("exit code 0"));
}

#[test]
fn a_missing_program_is_pointed_at() {
    insta::assert_snapshot!(check(
        "[api]\ncommand = [\"my-api\"]\n[analytics]\ncommand = [\"/nowhere/analytics\"]\n"
    ));
}

#[test]
fn a_missing_program_of_the_defaults_is_told() {
    let folder = folder("api.env = { PATH = \"/nowhere\" }\n");
    let mut command = bulkhead(folder.path());
    command.args(["check", "--config", FILE]);
    // The supervisor's own directory has the API in it when the whole workspace is built.
    let beside = Path::new(env!("CARGO_BIN_EXE_bulkhead")).with_file_name("bulkhead-api").exists();
    assert_eq!(told(command).contains("there is no program \"bulkhead-api\""), !beside);
}

#[test]
fn a_program_that_cannot_be_executed_is_pointed_at() {
    let folder = folder("[[worker]]\nname = \"one\"\ncommand = [\"./one\", \"-v\"]\n");
    put(folder.path(), "one", 0o644);
    let mut command = bulkhead(folder.path());
    command.args(["check", "--config", FILE]);
    insta::assert_snapshot!(told(command));
}

#[test]
fn missing_directories_are_pointed_at() {
    insta::assert_snapshot!(check("[api]\nlisten = \"unix:/nowhere/api.sock\"\ncwd = \"/nowhere\"\n"));
}

#[test]
fn a_missing_token_is_pointed_at() {
    insta::assert_snapshot!(check("api.token_file = \"/nowhere/token\"\n"));
}

#[test]
fn a_token_that_everybody_may_read_is_a_warning() {
    let folder = folder("api.token_file = \"token\"\n");
    put(folder.path(), "token", 0o644);
    let mut command = bulkhead(folder.path());
    command.args(["check", "--config", FILE]);
    insta::assert_snapshot!(told(command));
}

#[test]
fn a_state_directory_that_is_a_file_is_pointed_at() {
    insta::assert_snapshot!(check("state_dir = \"t.toml\"\n"));
}

#[test]
fn attempts_that_park_the_analysis_before_an_event_is_set_aside_are_a_warning() {
    insta::assert_snapshot!(check("[analytics]\nmax_attempts = 20\n"));
}
