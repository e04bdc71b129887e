//! Checks the programs, directories and files that a configuration names, without running anything. The check may run
//! as another user than the supervisor, and before everything is installed. Only what can never work is an error.

use super::{
    model::{Config, ListenAddr, WorkerConfig, resolve_program},
    overrides::EnvLookup,
    problem::{Diagnostics, Issue, Problem, Severity},
};
use crate::core::Policy;
use rustix::fs::{Access, access};
use std::{ffi::OsString, io, os::unix::fs::MetadataExt as _, path::Path};

/// The permission bits of all other users in a file's mode.
const OTHERS: u32 = 0o007;

/// Checks programs, directories, the token file and restart limits.
pub(super) fn preflight(config: &Config, diagnostics: &Diagnostics, env: EnvLookup<'_>, executable: &Path) {
    let report = |key: &str, finding: Option<Finding>| {
        if let Some((severity, issue)) = finding {
            let issue = Issue { found: format!("{key}: {}", issue.found), ..issue };
            diagnostics.push(Problem { severity, ..Problem::new(issue, diagnostics.span_of(key)) });
        }
    };
    for (index, worker) in config.workers.iter().enumerate() {
        // The API and the analysis come first; see `sections::read_config`.
        let section =
            index.checked_sub(2).map_or_else(|| worker.name.clone(), |plain| format!("worker[{plain}]"));
        report(&format!("{section}.command"), check_command(worker, env, executable));
        report(&format!("{section}.cwd"), worker.cwd.as_deref().and_then(check_directory));
    }
    report("api.token_file", config.token_file.as_deref().and_then(check_token));
    if let ListenAddr::Unix(path) = &config.listen {
        report("api.listen", path.parent().and_then(check_directory));
    }
    report("state_dir", check_state_dir(&config.state_dir));
    report("analytics.max_attempts", check_attempts(&config.policy));
}

/// A severity and an issue.
type Finding = (Severity, Issue);

/// Warns if the deaths by a poison event park the analysis before the event is quarantined.
fn check_attempts(policy: &Policy) -> Option<Finding> {
    let Policy { max_attempts, limit, .. } = policy;
    let found = format!("{max_attempts} is not less than restart.limit ({limit})");
    let issue = Issue::new(found, "the analysis is parked before a poison event is quarantined");
    (max_attempts >= limit)
        .then(|| (Severity::Warning, issue.with_help("raise restart.limit, or lower analytics.max_attempts")))
}

/// Checks that the worker's program exists and is executable.
fn check_command(worker: &WorkerConfig, env: EnvLookup<'_>, executable: &Path) -> Option<Finding> {
    let name = worker.command.first()?;
    let program = resolve_program(name, executable);
    if program.components().count() > 1 {
        return check_executable(&program);
    }
    // exec searches the PATH of the worker.
    let path = worker.env.get("PATH").map(OsString::from).or_else(|| env("PATH")).unwrap_or_default();
    if std::env::split_paths(&path).any(|dir| check_executable(&dir.join(name)).is_none()) {
        return None;
    }
    let issue = Issue::new(
        format!("program {name:?} not found"),
        "neither beside the bulkhead executable nor in PATH",
    );
    Some((Severity::Error, issue.with_help("write the full path of the program")))
}

fn check_executable(program: &Path) -> Option<Finding> {
    let (shown, expected) = (program.display(), "expected a program");
    let kind = match program.metadata() {
        Ok(kind) => kind,
        Err(error) => return Some(access_issue(program, &error, expected)),
    };
    if !kind.is_file() {
        return Some((Severity::Error, Issue::new(format!("{shown} is not a regular file"), expected)));
    }
    if access(program, Access::EXEC_OK).is_err() {
        let issue = Issue::new(format!("{shown} is not executable by this user"), expected);
        return Some((Severity::Error, issue.with_help(format!("chmod +x {shown}"))));
    }
    None
}

fn check_directory(path: &Path) -> Option<Finding> {
    let expected = "expected a directory";
    match path.metadata() {
        Err(error) => Some(access_issue(path, &error, expected)),
        Ok(kind) if !kind.is_dir() => {
            Some((Severity::Error, Issue::new(format!("{} is not a directory", path.display()), expected)))
        }
        Ok(_) => None,
    }
}

/// Checks access to the token file. The API checks its content and refuses to start with an invalid token.
fn check_token(path: &Path) -> Option<Finding> {
    let (shown, expected) = (path.display(), "expected a file");
    let kind = match path.metadata() {
        Ok(kind) => kind,
        Err(error) => return Some(access_issue(path, &error, expected)),
    };
    if !kind.is_file() {
        return Some((Severity::Error, Issue::new(format!("{shown} is not a regular file"), expected)));
    }
    if kind.mode() & OTHERS != 0 {
        let issue = Issue::new(
            format!("{shown} is accessible to all users of this machine"),
            "the token is not secret",
        );
        return Some((Severity::Warning, issue.with_help(format!("chmod o= {shown}"))));
    }
    if access(path, Access::READ_OK).is_err() {
        let issue = Issue::new(
            format!("{shown} is not readable by this user"),
            "the user that runs the supervisor must be able to read it",
        );
        return Some((Severity::Warning, issue));
    }
    None
}

/// Checks that the directory exists or that this user could create it.
fn check_state_dir(path: &Path) -> Option<Finding> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let existing = path.ancestors().find(|dir| dir.symlink_metadata().is_ok())?;
    if let Some(finding) = check_directory(existing) {
        return Some(finding);
    }
    if access(existing, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let found = format!("{} is not writable by this user", existing.display());
        return Some((
            Severity::Warning,
            Issue::new(found, "the user that runs the supervisor must be able to write to it"),
        ));
    }
    None
}

/// The issue of a failed stat(2). A denied access is a warning, because another user may have access.
fn access_issue(path: &Path, error: &io::Error, expected: &str) -> Finding {
    let shown = path.display();
    let (severity, found) = if error.kind() == io::ErrorKind::NotFound {
        (Severity::Error, format!("{shown} does not exist"))
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        (Severity::Warning, format!("{shown} is not accessible to this user"))
    } else {
        (Severity::Error, format!("{shown}: {error}"))
    };
    (severity, Issue::new(found, expected))
}
