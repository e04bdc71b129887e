//! Environment variables, and the preflight checks of programs, directories and the token file.

use super::{FILE, bulkhead, check, dir, output_of};
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

fn check_with(variable: (&str, &str), text: &str) -> String {
    let dir = dir(text);
    let mut command = bulkhead(dir.path());
    command.args(["check", "--config", FILE]).env(variable.0, variable.1);
    output_of(command)
}

/// Creates a file in `dir` with these permissions.
fn put(dir: &Path, name: &str, mode: u32) {
    fs::write(dir.join(name), "a-token-of-some-length").unwrap();
    fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn an_invalid_address_in_the_environment_names_the_variable() {
    insta::assert_snapshot!(check_with(("BULKHEAD_API_LISTEN", "8080"), ""));
}

#[test]
fn an_exposed_address_in_the_environment_names_the_variable() {
    insta::assert_snapshot!(check_with(("BULKHEAD_API_LISTEN", "0.0.0.0:8080"), "api.insecure = false\n"));
}

#[test]
fn the_systemd_credential_is_the_token() {
    let dir = dir("api.listen = \"0.0.0.0:8080\"\n");
    put(dir.path(), "token", 0o400);
    let mut command = bulkhead(dir.path());
    command.args(["check", "--config", FILE]).env("CREDENTIALS_DIRECTORY", dir.path());
    assert!(output_of(command).starts_with("exit code 0"));
}

#[test]
fn a_missing_program_is_reported() {
    insta::assert_snapshot!(check(
        "[api]\ncommand = [\"my-api\"]\n[analytics]\ncommand = [\"/nowhere/analytics\"]\n"
    ));
}

#[test]
fn a_missing_default_program_is_reported() {
    let dir = dir("api.env = { PATH = \"/nowhere\" }\n");
    let mut command = bulkhead(dir.path());
    command.args(["check", "--config", FILE]);
    // A build of the whole workspace puts the API next to the supervisor.
    let has_sibling = Path::new(env!("CARGO_BIN_EXE_bulkhead")).with_file_name("bulkhead-api").exists();
    assert_eq!(output_of(command).contains("program \"bulkhead-api\" not found"), !has_sibling);
}

#[test]
fn a_program_without_execute_permission_is_reported() {
    let dir = dir("[[worker]]\nname = \"one\"\ncommand = [\"./one\", \"-v\"]\n");
    put(dir.path(), "one", 0o644);
    let mut command = bulkhead(dir.path());
    command.args(["check", "--config", FILE]);
    insta::assert_snapshot!(output_of(command));
}

#[test]
fn a_script_that_the_kernel_cannot_execute_is_reported() {
    let dir = dir("[[worker]]\nname = \"one\"\ncommand = [\"./one\", \"~/x\"]\n");
    put(dir.path(), "one", 0o755);
    let output = |text: &str| {
        fs::write(dir.path().join("one"), text).unwrap();
        let mut command = bulkhead(dir.path());
        command.args(["check", "--config", FILE]);
        output_of(command)
    };
    insta::assert_snapshot!(output("#!/nowhere/python3\n"));
    let warned = output("echo no interpreter\n");
    assert!(
        warned.starts_with("exit code 0") && warned.contains("neither an ELF file nor a script"),
        "{warned}"
    );
}

#[test]
fn a_variable_of_the_environment_that_run_refuses_is_reported() {
    for (name, value) in [("BULKHEAD_STATE_DIR", "~/x"), ("RUST_LOG", "a=b=c")] {
        let output = check_with((name, value), "");
        assert!(output.starts_with("exit code 2") && output.contains(&format!("{name}: ")), "{output}");
    }
}

#[test]
fn an_address_of_another_machine_gets_a_warning() {
    let output = check("[api]\nlisten = \"192.0.2.1:8080\"\ninsecure = true\n");
    assert!(
        output.starts_with("exit code 0") && output.contains("not an address of this machine"),
        "{output}"
    );
}

#[test]
fn missing_directories_are_reported() {
    insta::assert_snapshot!(check("[api]\nlisten = \"unix:/nowhere/api.sock\"\ncwd = \"/nowhere\"\n"));
}

#[test]
fn a_missing_token_is_reported() {
    insta::assert_snapshot!(check("api.token_file = \"/nowhere/token\"\n"));
}

#[test]
fn a_token_that_other_users_can_read_gets_a_warning() {
    let dir = dir("api.token_file = \"token\"\n");
    put(dir.path(), "token", 0o644);
    let mut command = bulkhead(dir.path());
    command.args(["check", "--config", FILE]);
    insta::assert_snapshot!(output_of(command));
}

#[test]
fn a_token_file_that_the_api_could_not_use_is_refused_by_check_and_run() {
    for (content, text) in [
        ("", "it has 0"),
        ("\u{feff}a-token-of-some-length\n", "byte order mark"),
        ("a-token-of-some-length\nanother-token-of-some-length\n", "it has 2 lines"),
        ("ein-schlüssel-mit-umlaut", "byte"),
    ] {
        let dir = dir("api.token_file = \"token\"\n");
        put(dir.path(), "token", 0o600);
        fs::write(dir.path().join("token"), content).unwrap();
        for command_name in ["check", "run"] {
            let mut command = bulkhead(dir.path());
            command.args([command_name, "--config", FILE]);
            let output = output_of(command);
            assert!(output.starts_with("exit code 2"), "{command_name}: {output}");
            assert!(output.contains("api.token_file: ") && output.contains(text), "{command_name}: {output}");
        }
    }
}

#[test]
fn a_state_directory_that_is_a_file_is_reported() {
    insta::assert_snapshot!(check("state_dir = \"t.toml\"\n"));
}

#[test]
fn an_event_that_fits_no_request_gets_a_warning() {
    insta::assert_snapshot!(check("[api]\nmax_body = \"512KiB\"\nmax_event = \"512KiB\"\n"));
}

#[test]
fn attempts_that_park_the_analysis_before_quarantine_get_a_warning() {
    insta::assert_snapshot!(check("[analytics]\nmax_attempts = 20\n"));
}
