//! The configuration: where it is found, how it is read, and the [`Plan`] that comes of it.

mod diagnosis;
mod file;
mod in_force;
pub mod plan;
mod problem;
mod reader;
mod sections;
mod survey;
mod syntax;
pub mod units;
mod words;
mod worker;

pub use diagnosis::Diagnosis;
pub use in_force::{Change, InForce, Setting, WorkerChange};
pub use plan::{Listen, LogFormat, LogPlan, Plan, WorkerPlan};
pub use problem::{Fault, Problem, Severity};
pub use sections::Overrides;

use problem::Notes;
use reader::Section;
use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};
use toml::de::DeTable;

/// Where a packaged installation keeps its configuration.
const SYSTEM_FILE: &str = "/etc/bulkhead/bulkhead.toml";

/// Looks up the environment.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Where a configuration came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// This file.
    File(PathBuf),
    /// There is no file.
    Defaults,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Defaults => f.write_str("the built-in defaults"),
        }
    }
}

/// Finds and reads the configuration: `--config`, else `$BULKHEAD_CONFIG`, else [`SYSTEM_FILE`] if it is there, else the
/// built-in defaults. A variable that is set to nothing counts as not set.
///
/// # Errors
/// All that is wrong, at once.
pub fn load(option: Option<&Path>, variable: Variable<'_>) -> Result<(Plan, Source), Diagnosis> {
    let (plan, diagnosis, _) = read(option, variable);
    if diagnosis.ok() { Ok((plan, diagnosis.source)) } else { Err(diagnosis) }
}

/// Where state is kept by the configuration that [`load`] finds, as far as it is understood: an operator whose file has a
/// mistake must still reach the supervisor that runs.
#[must_use]
pub fn state_dir(variable: Variable<'_>) -> PathBuf {
    read(None, variable).0.state_dir
}

/// As [`load`]; looks also at what can be looked at without running: programs, directories, the token. There is a plan
/// unless there is an error. `executable` is the supervisor's own.
#[must_use]
pub fn check(option: Option<&Path>, variable: Variable<'_>, executable: &Path) -> (Option<Plan>, Diagnosis) {
    let (plan, mut diagnosis, notes) = read(option, variable);
    if diagnosis.ok() {
        survey::survey(&plan, &notes, variable, executable);
        diagnosis.problems.extend(notes.problems());
    }
    (Some(plan).filter(|_| diagnosis.ok()), diagnosis)
}

/// Reads a configuration's text.
///
/// # Errors
/// All that is wrong, in the order of the text.
pub fn parse(text: &str, source: Source, overrides: &Overrides) -> Result<Plan, Diagnosis> {
    let (plan, diagnosis, _) = understand(text.to_owned(), source, overrides);
    if diagnosis.ok() { Ok(plan) } else { Err(diagnosis) }
}

/// The plan, not to be carried out unless the diagnosis allows it.
fn read(option: Option<&Path>, variable: Variable<'_>) -> (Plan, Diagnosis, Notes) {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let overrides = overrides(&set);
    let named = option.map(Path::to_owned).or_else(|| set("BULKHEAD_CONFIG").map(PathBuf::from));
    let system = || Some(PathBuf::from(SYSTEM_FILE)).filter(|path| path.exists());
    let Some(path) = named.or_else(system) else {
        return understand(String::new(), Source::Defaults, &overrides);
    };
    let by_variable = option.is_none() && set("BULKHEAD_CONFIG").is_some();
    match file::read(&path) {
        Ok(text) => understand(text, Source::File(path), &overrides),
        Err(mut refusal) => {
            if by_variable {
                refusal.fault.help = Some("the environment variable BULKHEAD_CONFIG names this file".into());
            }
            let problems = vec![Problem::new(refusal.fault, refusal.span)];
            let (plan, _, notes) = understand(String::new(), Source::Defaults, &overrides);
            (plan, Diagnosis { source: Source::File(path), text: refusal.text, problems }, notes)
        }
    }
}

/// What the environment adds to the file. systemd may name several directories, separated by colons: the first is ours.
fn overrides(set: &dyn Fn(&str) -> Option<OsString>) -> Overrides {
    Overrides {
        listen: set("BULKHEAD_API_LISTEN").map(|listen| listen.to_string_lossy().into_owned()),
        state_dir: set("BULKHEAD_STATE_DIR").map(PathBuf::from),
        default_state_dir: set("STATE_DIRECTORY").and_then(|list| std::env::split_paths(&list).next()),
        default_token: set("CREDENTIALS_DIRECTORY")
            .map(|folder| Path::new(&folder).join("token"))
            .filter(|path| path.exists()),
    }
}

fn understand(text: String, source: Source, overrides: &Overrides) -> (Plan, Diagnosis, Notes) {
    let notes = Notes::default();
    let (table, errors) = DeTable::parse_recoverable(&text);
    let plan = sections::plan(Section::root(table.get_ref(), &notes), overrides, &notes);
    syntax::note(&text, &errors, &notes);
    let problems = notes.problems();
    (plan, Diagnosis { source, text, problems }, notes)
}

#[cfg(test)]
mod tests;
