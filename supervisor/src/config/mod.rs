//! Finds, reads and checks the configuration. The result is a [`Config`].

mod access;
mod active;
pub mod model;
mod overrides;
mod preflight;
mod problem;
mod program_format;
mod reader;
mod report;
mod sections;
mod source;
mod syntax;
pub mod units;
mod worker;

pub use active::{ActiveConfig, Change, SettingChange, WorkerChange};
pub use model::{Config, ListenAddr, LogConfig, LogFormat, WorkerConfig};
pub use overrides::{EnvLookup, Overrides};
pub use problem::{Issue, Problem, Severity};
pub use report::ProblemReport;
pub(crate) use sections::ring_capacity_for;
pub use source::Source;

use problem::Diagnostics;
use reader::Section;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// Where a packaged installation keeps its configuration.
const SYSTEM_FILE: &str = "/etc/bulkhead/bulkhead.toml";

/// Finds and reads the configuration: `option` (`--config`), else `$BULKHEAD_CONFIG`, else [`SYSTEM_FILE`] if it
/// exists, else the built-in defaults. An empty variable counts as unset. Relative paths begin at `start_dir`. The token file
/// must be usable, because no generation of the API would serve without it; programs and directories may appear later.
///
/// # Errors
/// All problems found, in the order of the text.
pub fn load(
    option: Option<&Path>,
    env: EnvLookup<'_>,
    start_dir: &Path,
) -> Result<(Config, Source), ProblemReport> {
    let (config, mut report, diagnostics) = read(option, env, start_dir);
    let config = config.in_directory(start_dir);
    if report.ok() {
        preflight::token(&config, &diagnostics);
        report.problems.extend(diagnostics.problems());
    }
    if report.ok() { Ok((config, report.source)) } else { Err(report) }
}

/// The state directory of the configuration that [`load`] finds. Works for a file with errors, so that the commands of
/// an operator still reach a running supervisor.
#[must_use]
pub fn state_dir(env: EnvLookup<'_>) -> PathBuf {
    read(None, env, Path::new("")).0.state_dir
}

/// Like [`load`], and also checks programs, directories and the token file. The configuration is `None` if the report
/// contains an error. `executable` is the path of the supervisor.
#[must_use]
pub fn check(
    option: Option<&Path>,
    env: EnvLookup<'_>,
    executable: &Path,
    start_dir: &Path,
) -> (Option<Config>, ProblemReport) {
    let (config, mut report, diagnostics) = read(option, env, start_dir);
    let config = config.in_directory(start_dir);
    if report.ok() {
        preflight::preflight(&config, &report.source, &diagnostics, env, executable);
        report.problems.extend(diagnostics.problems());
    }
    (Some(config).filter(|_| report.ok()), report)
}

/// Parses the text of a configuration.
///
/// # Errors
/// All problems found, in the order of the text.
pub fn parse(text: &str, source: Source, overrides: &Overrides) -> Result<Config, ProblemReport> {
    let (config, report, _) = parse_text(text.to_owned(), source, overrides);
    if report.ok() { Ok(config) } else { Err(report) }
}

/// Returns a configuration even if the report contains errors. Callers must not run it then.
fn read(option: Option<&Path>, env: EnvLookup<'_>, start_dir: &Path) -> (Config, ProblemReport, Diagnostics) {
    let env = |name: &str| env(name).filter(|value| !value.is_empty());
    let overrides = Overrides::from_env(&env);
    let named = option.map(Path::to_owned).or_else(|| env("BULKHEAD_CONFIG").map(PathBuf::from));
    let system = || Some(PathBuf::from(SYSTEM_FILE)).filter(|path| path.exists());
    let Some(path) = named.or_else(system) else {
        return parse_text(String::new(), Source::Defaults, &overrides);
    };
    let by_variable = option.is_none() && env("BULKHEAD_CONFIG").is_some();
    match source::read(&start_dir.join(&path)) {
        Ok(text) => parse_text(text, Source::File(path), &overrides),
        Err(mut error) => {
            if by_variable {
                error.issue.help = Some("the environment variable BULKHEAD_CONFIG names this file".into());
            }
            let problems = vec![Problem::new(error.issue, error.span)];
            let (config, _, diagnostics) = parse_text(String::new(), Source::Defaults, &overrides);
            (
                config,
                ProblemReport { source: Source::File(path), text: error.text, problems, has_keys: false },
                diagnostics,
            )
        }
    }
}

fn parse_text(text: String, source: Source, overrides: &Overrides) -> (Config, ProblemReport, Diagnostics) {
    let diagnostics = Diagnostics::default();
    let (table, errors) = DeTable::parse_recoverable(&text);
    let config = sections::read_config(Section::root(table.get_ref(), &diagnostics), overrides, &diagnostics);
    syntax::report_errors(&text, &errors, &diagnostics);
    let problems = diagnostics.problems();
    let has_keys = !table.get_ref().is_empty();
    (config, ProblemReport { source, text, problems, has_keys }, diagnostics)
}

#[cfg(test)]
mod path_tests;
#[cfg(test)]
mod tests;
