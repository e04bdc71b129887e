//! What of a plan can be looked at without running it. The file may be checked by somebody else than who runs it, and
//! before everything is in its place: only what can never work is an error.

use super::{
    Listen, Plan, Variable, WorkerPlan,
    plan::program,
    problem::{Fault, Notes, Problem, Severity},
};
use crate::core::Policy;
use rustix::fs::{Access, access};
use std::{ffi::OsString, io, os::unix::fs::MetadataExt as _, path::Path};

/// The permissions of everybody else, in a file's mode.
const OTHERS: u32 = 0o007;

/// Looks at programs, directories and the token.
pub(super) fn survey(plan: &Plan, notes: &Notes, variable: Variable<'_>, executable: &Path) {
    let note = |key: &str, finding: Option<Finding>| {
        if let Some((severity, fault)) = finding {
            let fault = Fault { found: format!("{key}: {}", fault.found), ..fault };
            notes.push(Problem { severity, ..Problem::new(fault, notes.find(key)) });
        }
    };
    for (index, worker) in plan.workers.iter().enumerate() {
        // The API and the analysis come first; see `sections::plan`.
        let section =
            index.checked_sub(2).map_or_else(|| worker.name.clone(), |plain| format!("worker[{plain}]"));
        note(&format!("{section}.command"), command(worker, variable, executable));
        note(&format!("{section}.cwd"), worker.cwd.as_deref().and_then(directory));
    }
    note("api.token_file", plan.token.as_deref().and_then(token));
    if let Listen::Unix(path) = &plan.listen {
        note("api.listen", path.parent().and_then(directory));
    }
    note("state_dir", state_dir(&plan.state_dir));
    note("analytics.max_attempts", attempts(&plan.policy));
}

/// What was found, and how bad that is.
type Finding = (Severity, Fault);

/// Whether an event that kills is set aside before its deaths park the analysis.
fn attempts(policy: &Policy) -> Option<Finding> {
    let Policy { max_attempts, limit, .. } = policy;
    let found = format!("{max_attempts} is not below restart.limit, which is {limit}");
    let fault = Fault::new(found, "an event that kills parks the analysis before it is set aside");
    (max_attempts >= limit).then(|| (Severity::Warning, fault.help("raise restart.limit, or lower it")))
}

/// Whether the worker's program is there and can be executed.
fn command(worker: &WorkerPlan, variable: Variable<'_>, executable: &Path) -> Option<Finding> {
    let name = worker.command.first()?;
    let program = program(name, executable);
    if program.components().count() > 1 {
        return not_executable(&program);
    }
    // As exec will: along the worker's own PATH.
    let path = worker.env.get("PATH").map(OsString::from).or_else(|| variable("PATH")).unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| not_executable(&folder.join(name)).is_none()) {
        return None;
    }
    let fault = Fault::new(format!("there is no program {name:?}"), "neither beside bulkhead nor in PATH");
    Some((Severity::Error, fault.help("name it with its path")))
}

fn not_executable(program: &Path) -> Option<Finding> {
    let (shown, wanted) = (program.display(), "wanted a program");
    let kind = match program.metadata() {
        Ok(kind) => kind,
        Err(error) => return Some(unseen(program, &error, wanted)),
    };
    if !kind.is_file() {
        return Some((Severity::Error, Fault::new(format!("{shown} is not a file"), wanted)));
    }
    if access(program, Access::EXEC_OK).is_err() {
        let fault = Fault::new(format!("{shown} may not be executed by this user"), wanted);
        return Some((Severity::Error, fault.help(format!("chmod +x {shown}"))));
    }
    None
}

fn directory(path: &Path) -> Option<Finding> {
    let wanted = "wanted a directory";
    match path.metadata() {
        Err(error) => Some(unseen(path, &error, wanted)),
        Ok(kind) if !kind.is_dir() => {
            Some((Severity::Error, Fault::new(format!("{} is not a directory", path.display()), wanted)))
        }
        Ok(_) => None,
    }
}

/// What is in it is the API's matter, which refuses to start with a bad one.
fn token(path: &Path) -> Option<Finding> {
    let (shown, wanted) = (path.display(), "wanted a file");
    let kind = match path.metadata() {
        Ok(kind) => kind,
        Err(error) => return Some(unseen(path, &error, wanted)),
    };
    if !kind.is_file() {
        return Some((Severity::Error, Fault::new(format!("{shown} is not a file"), wanted)));
    }
    if kind.mode() & OTHERS != 0 {
        let fault = Fault::new(format!("{shown} is open to everybody on this machine"), "not a secret");
        return Some((Severity::Warning, fault.help(format!("chmod o= {shown}"))));
    }
    if access(path, Access::READ_OK).is_err() {
        let fault = Fault::new(format!("{shown} may not be read by this user"), "the supervisor's user must");
        return Some((Severity::Warning, fault));
    }
    None
}

/// Whether it is there, or could be made, by whoever checks.
fn state_dir(path: &Path) -> Option<Finding> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let nearest = path.ancestors().find(|folder| folder.symlink_metadata().is_ok())?;
    if let Some(finding) = directory(nearest) {
        return Some(finding);
    }
    if access(nearest, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let found = format!("{} may not be written by this user", nearest.display());
        return Some((Severity::Warning, Fault::new(found, "the supervisor's user must")));
    }
    None
}

/// What could not be looked at. Another user may be able to.
fn unseen(path: &Path, error: &io::Error, wanted: &str) -> Finding {
    let shown = path.display();
    let (severity, found) = if error.kind() == io::ErrorKind::NotFound {
        (Severity::Error, format!("{shown} does not exist"))
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        (Severity::Warning, format!("{shown} cannot be seen by this user"))
    } else {
        (Severity::Error, format!("{shown}: {error}"))
    };
    (severity, Fault::new(found, wanted))
}
