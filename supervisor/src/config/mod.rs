//! The configuration: where it is found, how it is read, and the [`Plan`] that comes of it.

pub mod plan;
mod reader;
mod sections;
pub mod units;

pub use plan::{Listen, LogFormat, LogPlan, Plan, WorkerPlan};
pub use reader::Problem;
pub use sections::Overrides;

use reader::{Problems, Section};
use std::{
    fmt,
    path::{Path, PathBuf},
};
use toml::de::DeTable;

/// Where a packaged installation keeps its configuration.
const SYSTEM_FILE: &str = "/etc/bulkhead/bulkhead.toml";

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

/// Everything that is wrong with a configuration, each with its place.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    source: Source,
    text: String,
    problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            match problem.place(&self.text) {
                Some((line, column)) => {
                    write!(f, "{newline}{}:{line}:{column}: {}", self.source, problem.message)?;
                }
                None => write!(f, "{newline}{}: {}", self.source, problem.message)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Finds and reads the configuration: `--config`, else `$BULKHEAD_CONFIG`, else [`SYSTEM_FILE`] if it is there, else the
/// built-in defaults. `variable` looks up the environment.
///
/// # Errors
/// All that is wrong, at once.
pub fn load(
    option: Option<&Path>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(Plan, Source), ConfigError> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let overrides = Overrides {
        listen: set("BULKHEAD_API_LISTEN"),
        state_dir: set("BULKHEAD_STATE_DIR").map(PathBuf::from),
        // systemd may name several, separated by colons: the first is ours.
        default_state_dir: set("STATE_DIRECTORY").and_then(|list| list.split(':').next().map(PathBuf::from)),
        default_token: set("CREDENTIALS_DIRECTORY")
            .map(|folder| Path::new(&folder).join("token"))
            .filter(|path| path.exists()),
    };
    let named = option.map(Path::to_owned).or_else(|| set("BULKHEAD_CONFIG").map(PathBuf::from));
    let system = || Some(PathBuf::from(SYSTEM_FILE)).filter(|path| path.exists());
    let Some(path) = named.or_else(system) else {
        return parse("", Source::Defaults, &overrides).map(|plan| (plan, Source::Defaults));
    };
    let source = Source::File(path.clone());
    let text = std::fs::read_to_string(&path).map_err(|error| ConfigError {
        source: source.clone(),
        text: String::new(),
        problems: vec![Problem::general(format!("cannot read the configuration: {error}"))],
    })?;
    parse(&text, source.clone(), &overrides).map(|plan| (plan, source))
}

/// Reads a configuration's text.
///
/// # Errors
/// All that is wrong, in the order of the text.
pub fn parse(text: &str, source: Source, overrides: &Overrides) -> Result<Plan, ConfigError> {
    let problems = Problems::default();
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        problems.borrow_mut().push(Problem { span: error.span(), message: error.message().to_owned() });
    }
    let plan = sections::plan(Section::root(table.get_ref(), &problems), overrides, &problems);
    let mut problems = problems.into_inner();
    if problems.is_empty() {
        return Ok(plan);
    }
    problems.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
    Err(ConfigError { source, text: text.to_owned(), problems })
}

#[cfg(test)]
mod tests;
