//! Checks the programs, directories and files that a configuration names, without running anything. The check may run
//! as another user than the supervisor, and before everything is installed. Only what can never work is an error.

use super::{
    model::{Config, ListenAddr, WorkerConfig, resolve_program},
    overrides::EnvLookup,
    problem::{Diagnostics, Issue, Problem, Severity},
};
use crate::core::Policy;
use rustix::fs::{Access, access};
use std::{ffi::OsString, fs::Metadata, io, os::unix::fs::MetadataExt as _, path::Path};

/// The permission bits of all other users in a file's mode.
const OTHERS: u32 = 0o007;

/// What ends a check: a problem and its severity.
type Finding = (Severity, Issue);

/// Checks programs, directories, the token file and restart limits.
pub(super) fn preflight(config: &Config, diagnostics: &Diagnostics, env: EnvLookup<'_>, executable: &Path) {
    let report = |key: &str, checked: Result<(), Finding>| {
        if let Err((severity, issue)) = checked {
            let issue = Issue { found: format!("{key}: {}", issue.found), ..issue };
            diagnostics.push(Problem { severity, ..Problem::new(issue, diagnostics.span_of(key)) });
        }
    };
    for (index, worker) in config.workers.iter().enumerate() {
        // The API and the analysis come first; see `sections::read_config`.
        let section =
            index.checked_sub(2).map_or_else(|| worker.name.clone(), |plain| format!("worker[{plain}]"));
        report(&format!("{section}.command"), check_command(worker, env, executable, &config.start_dir));
        report(&format!("{section}.cwd"), worker.cwd.as_deref().map_or(Ok(()), check_directory));
    }
    report("api.token_file", config.token_file.as_deref().map_or(Ok(()), check_token));
    if let ListenAddr::Unix(path) = &config.listen {
        report("api.listen", path.parent().map_or(Ok(()), check_directory));
    }
    report("state_dir", check_state_dir(&config.state_dir));
    report("analytics.max_attempts", check_attempts(&config.policy));
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
    Ok(())
}

fn check_directory(path: &Path) -> Result<(), Finding> {
    let expected = "expected a directory";
    if metadata(path, expected)?.is_dir() {
        return Ok(());
    }
    Err((Severity::Error, Issue::new(format!("{} is not a directory", path.display()), expected)))
}

/// Checks access to the token file. The API checks its content and refuses to start with an invalid token.
fn check_token(path: &Path) -> Result<(), Finding> {
    let shown = path.display();
    if regular_file(path, "expected a file")?.mode() & OTHERS != 0 {
        let found = format!("{shown} is accessible to all users of this machine");
        let issue = Issue::new(found, "the token is not secret").with_help(format!("chmod o= {shown}"));
        return Err((Severity::Warning, issue));
    }
    if access(path, Access::READ_OK).is_err() {
        let expected = "the user that runs the supervisor must be able to read it";
        let issue = Issue::new(format!("{shown} is not readable by this user"), expected);
        return Err((Severity::Warning, issue));
    }
    Ok(())
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
