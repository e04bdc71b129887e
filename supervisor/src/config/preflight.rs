//! Checks the programs, directories and files that a configuration names, without running anything. The check may run
//! as another user than the supervisor, and before everything is installed. Only what can never work is an error.

use super::{
    SYSTEM_FILE,
    model::{Config, ListenAddr, WorkerConfig, resolve_program},
    overrides::EnvLookup,
    problem::{Diagnostics, Finding, Issue, Problem, Severity},
    program_format,
    source::Source,
};
use crate::{core::Policy, display::format_size};
use bulkhead_proto::worker::token_file::{self, TokenError};
use rustix::fs::{Access, access};
use std::{
    ffi::OsString,
    fs::{File, Metadata},
    io,
    net::TcpListener,
    os::unix::fs::MetadataExt as _,
    path::Path,
};
use tracing_subscriber::filter::Targets;

/// The permission bits of all other users in a file's mode.
const OTHERS: u32 = 0o007;

/// Exists while the packaged socket unit is enabled.
const ENABLED_SOCKET_UNIT: &str = "/etc/systemd/system/sockets.target.wants/bulkhead.socket";

const TOKEN_KEY: &str = "api.token_file";

/// Adds what a check of this key's value has found.
fn report(diagnostics: &Diagnostics, key: &str, checked: Result<(), Finding>) {
    if let Err((severity, issue)) = checked {
        let issue = Issue { found: format!("{key}: {}", issue.found), ..issue };
        diagnostics.push(Problem { severity, ..Problem::new(issue, diagnostics.span_of(key)) });
    }
}

/// Checks the token file for a supervisor that starts, whose user must be able to read it.
pub(super) fn token(config: &Config, diagnostics: &Diagnostics) {
    let checked = config.token_file.as_deref().map_or(Ok(()), check_token_content);
    report(diagnostics, TOKEN_KEY, checked);
}

/// Checks programs, directories, the token file and restart limits.
pub(super) fn preflight(
    config: &Config,
    source: &Source,
    diagnostics: &Diagnostics,
    env: EnvLookup<'_>,
    executable: &Path,
) {
    let report = |key: &str, checked| report(diagnostics, key, checked);
    for (index, worker) in config.workers.iter().enumerate() {
        // The API and the analysis come first; see `sections::read_config`.
        let section =
            index.checked_sub(2).map_or_else(|| worker.name.clone(), |plain| format!("worker[{plain}]"));
        report(&format!("{section}.command"), check_command(worker, env, executable, &config.start_dir));
        report(&format!("{section}.cwd"), worker.cwd.as_deref().map_or(Ok(()), check_cwd));
        for (index, argument) in worker.command.iter().enumerate().skip(1) {
            report(&format!("{section}.command[{index}]"), check_argument(argument));
        }
    }
    report(TOKEN_KEY, config.token_file.as_deref().map_or(Ok(()), check_token));
    report("api.listen", check_listen(&config.listen));
    if diagnostics.span_of("api.listen").is_some() && *source == Source::File(SYSTEM_FILE.into()) {
        report("api.listen", check_socket_unit(Path::new(ENABLED_SOCKET_UNIT)));
    }
    if let Some(filter) = env("RUST_LOG")
        && let Err(error) = filter.to_string_lossy().parse::<Targets>()
    {
        let issue = Issue::new(error.to_string(), "expected a filter such as \"debug\"");
        diagnostics.push(Problem::in_environment("RUST_LOG", issue));
    }
    report("state_dir", check_state_dir(&config.state_dir));
    report("analytics.max_attempts", check_attempts(&config.policy));
    // The default of the one key does not have to fit the other.
    if diagnostics.span_of("api.max_event").is_some() {
        report("api.max_event", check_event_size(config));
    }
}

/// Warns if the deaths by a poison event park the analysis before the event is quarantined.
fn check_attempts(policy: &Policy) -> Result<(), Finding> {
    let Policy { max_attempts, limit, .. } = policy;
    if max_attempts < limit {
        return Ok(());
    }
    let found = format!("{max_attempts} is not less than restart.limit ({limit})");
    let issue = Issue::new(found, "the analysis is parked before a poison event is quarantined");
    Err((Severity::Warning, issue.with_help("raise restart.limit, or lower analytics.max_attempts")))
}

/// Warns if no request is large enough for the largest event.
fn check_event_size(config: &Config) -> Result<(), Finding> {
    let (max_event, max_body) = (u64::from(config.limits.max_event), config.max_body);
    if max_event < max_body {
        return Ok(());
    }
    let found =
        format!("{} is not less than api.max_body ({})", format_size(max_event), format_size(max_body));
    let issue = Issue::new(found, "a request with an event of this size is refused");
    Err((Severity::Warning, issue.with_help("raise api.max_body, or lower api.max_event")))
}

/// Checks that the worker's program exists and is executable.
fn check_command(
    worker: &WorkerConfig,
    env: EnvLookup<'_>,
    executable: &Path,
    start_dir: &Path,
) -> Result<(), Finding> {
    let Some(name) = worker.command.first() else { return Ok(()) };
    let program = resolve_program(name, executable, start_dir);
    if program.components().count() > 1 {
        return check_executable(&program);
    }
    // exec searches the PATH of the worker.
    let path = worker.env.get("PATH").map(OsString::from).or_else(|| env("PATH")).unwrap_or_default();
    if std::env::split_paths(&path).any(|dir| check_executable(&dir.join(name)).is_ok()) {
        return Ok(());
    }
    let expected = "neither beside the bulkhead executable nor in PATH";
    let issue = Issue::new(format!("program {name:?} not found"), expected);
    Err((Severity::Error, issue.with_help("write the full path of the program")))
}

fn check_executable(program: &Path) -> Result<(), Finding> {
    let (shown, expected) = (program.display(), "expected a program");
    regular_file(program, expected)?;
    if access(program, Access::EXEC_OK).is_err() {
        let issue = Issue::new(format!("{shown} is not executable by this user"), expected);
        return Err((Severity::Error, issue.with_help(format!("chmod +x {shown}"))));
    }
    program_format::check(program)
}

fn check_argument(argument: &str) -> Result<(), Finding> {
    if !argument.starts_with("~/") {
        return Ok(());
    }
    let issue = Issue::new(format!("{argument:?} begins with \"~\""), "no shell expands it");
    Err((Severity::Warning, issue.with_help("write the full path")))
}

fn check_cwd(path: &Path) -> Result<(), Finding> {
    check_directory(path)?;
    if access(path, Access::EXEC_OK).is_err() {
        let found = format!("this user may not enter {}", path.display());
        let expected = "the user that runs the supervisor must be able to";
        return Err((Severity::Warning, Issue::new(found, expected)));
    }
    Ok(())
}

/// Checks that the directory of a Unix socket exists, or that an IP address is one of this machine.
fn check_listen(listen: &ListenAddr) -> Result<(), Finding> {
    match listen {
        ListenAddr::Unix(path) => path.parent().map_or(Ok(()), check_directory),
        // With port 0, the check does not depend on whether the service runs.
        ListenAddr::Tcp(address) => match TcpListener::bind((address.ip(), 0)) {
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                let found = format!("{} is not an address of this machine", address.ip());
                Err((Severity::Warning, Issue::new(found, "the API could not listen on it now")))
            }
            Ok(_) | Err(_) => Ok(()),
        },
    }
}

/// Warns if systemd's socket takes precedence over the key.
fn check_socket_unit(enabled: &Path) -> Result<(), Finding> {
    if enabled.symlink_metadata().is_err() {
        return Ok(());
    }
    let issue =
        Issue::new("bulkhead.socket is enabled", "under systemd, the address of its socket is used instead");
    Err((Severity::Warning, issue.with_help("systemctl edit bulkhead.socket")))
}

fn check_directory(path: &Path) -> Result<(), Finding> {
    let expected = "expected a directory";
    if metadata(path, expected)?.is_dir() {
        return Ok(());
    }
    Err((Severity::Error, Issue::new(format!("{} is not a directory", path.display()), expected)))
}

/// Checks access to the token file, and its content.
fn check_token(path: &Path) -> Result<(), Finding> {
    let shown = path.display();
    let mode = regular_file(path, "expected a file")?.mode();
    if access(path, Access::READ_OK).is_err() {
        let expected = "the user that runs the supervisor must be able to read it";
        let issue = Issue::new(format!("{shown} is not readable by this user"), expected);
        return Err((Severity::Warning, issue));
    }
    check_token_content(path)?;
    if mode & OTHERS != 0 {
        let found = format!("{shown} is accessible to all users of this machine");
        let issue = Issue::new(found, "the token is not secret").with_help(format!("chmod o= {shown}"));
        return Err((Severity::Warning, issue));
    }
    Ok(())
}

/// Reads the file as the API does.
fn check_token_content(path: &Path) -> Result<(), Finding> {
    regular_file(path, "expected a file")?;
    let read = File::open(path).map_err(TokenError::from).and_then(token_file::read);
    read.map(drop).map_err(|error| {
        let issue = Issue::new(error.to_string(), "the API would not serve with this file");
        (Severity::Error, issue.with_help(format!("openssl rand -hex 32 >{}", path.display())))
    })
}

/// Checks that the directory exists or that this user could create it.
fn check_state_dir(path: &Path) -> Result<(), Finding> {
    let Some(existing) = path.ancestors().find(|dir| dir.symlink_metadata().is_ok()) else { return Ok(()) };
    check_directory(existing)?;
    if access(existing, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let found = format!("{} is not writable by this user", existing.display());
        let expected = "the user that runs the supervisor must be able to write to it";
        return Err((Severity::Warning, Issue::new(found, expected)));
    }
    Ok(())
}

fn regular_file(path: &Path, expected: &str) -> Result<Metadata, Finding> {
    let found = metadata(path, expected)?;
    if found.is_file() {
        return Ok(found);
    }
    Err((Severity::Error, Issue::new(format!("{} is not a regular file", path.display()), expected)))
}

/// stat(2). A denied access is a warning, because another user may have access.
fn metadata(path: &Path, expected: &str) -> Result<Metadata, Finding> {
    let shown = path.display();
    path.metadata().map_err(|error| {
        let (severity, found) = if error.kind() == io::ErrorKind::NotFound {
            (Severity::Error, format!("{shown} does not exist"))
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            (Severity::Warning, format!("{shown} is not accessible to this user"))
        } else {
            (Severity::Error, format!("{shown}: {error}"))
        };
        (severity, Issue::new(found, expected))
    })
}
