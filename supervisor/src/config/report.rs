//! Renders the problems of a configuration: for people with the source lines, for logs one line each, for programs as
//! JSON.

use super::{
    problem::{Issue, Problem, Severity},
    source::Source,
};
use crate::display::format_count;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;
use std::{fmt, ops::Range, path::Path};

/// The text of a configuration and all its problems.
#[derive(Debug, PartialEq, Eq)]
pub struct ProblemReport {
    pub(super) source: Source,
    pub(super) text: String,
    pub(super) problems: Vec<Problem>,
    /// Whether the text has any key.
    pub(super) has_keys: bool,
}

/// One line per problem, for logs.
impl fmt::Display for ProblemReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{}", origin(problem, &self.source.to_string()))?;
            if let Some((line, column)) = problem.position(&self.text) {
                write!(f, ":{line}:{column}")?;
            }
            write!(f, ": {}", problem.issue.message())?;
            if let Some(help) = &problem.issue.help {
                write!(f, "; {help}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ProblemReport {}

impl ProblemReport {
    /// Where the configuration came from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Whether the configuration can be used: the report contains no error. It may contain warnings.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.problems.iter().all(|problem| problem.severity == Severity::Warning)
    }

    /// Whether there is neither an error nor a warning.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether there is a file with at least one key.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.has_keys
    }

    /// For people, in the style of rustc. Each line ends with a newline; empty without problems. `styled` adds colours.
    #[must_use]
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let source = self.source.to_string();
        let render = |problem| renderer.render(&[group(problem, &source, &self.text)]) + "\n\n";
        self.problems.iter().map(render).chain(self.summary()).collect()
    }

    /// For programs: what `check --json` prints.
    #[must_use]
    pub fn json(&self) -> JsonDiagnostics<'_> {
        let json_problem = |problem: &'_ Problem| {
            let (line, column) = problem.position(&self.text).unzip();
            let message = problem.issue.message();
            JsonProblem {
                severity: problem.severity,
                line,
                column,
                message,
                help: problem.issue.help.clone(),
            }
        };
        let source = match &self.source {
            Source::File(path) => Some(path.as_path()),
            Source::Defaults => None,
        };
        JsonDiagnostics { source, ok: self.ok(), problems: self.problems.iter().map(json_problem).collect() }
    }

    /// The last line: the number of errors and warnings.
    fn summary(&self) -> Option<String> {
        let count = |severity, noun| {
            let count = self.problems.iter().filter(|problem| problem.severity == severity).count();
            (count > 0).then(|| format_count(count, noun))
        };
        let counts = [count(Severity::Error, "error"), count(Severity::Warning, "warning")];
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        (!counts.is_empty()).then(|| format!("{}: {}\n", self.source, counts.join(" and ")))
    }
}

/// What `check --json` prints.
#[derive(Debug, Serialize)]
pub struct JsonDiagnostics<'a> {
    /// The file; `null` for the built-in defaults.
    source: Option<&'a Path>,
    /// Whether the configuration can be used.
    ok: bool,
    /// All problems.
    problems: Vec<JsonProblem>,
}

/// One problem. Line and column count from 1 and are `null` if the problem has no position in the file.
#[derive(Debug, Serialize)]
struct JsonProblem {
    severity: Severity,
    line: Option<usize>,
    column: Option<usize>,
    message: String,
    help: Option<String>,
}

fn group<'a>(problem: &'a Problem, source: &'a str, text: &'a str) -> Group<'a> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let Issue { found, expected, help } = &problem.issue;
    let mut group = Group::with_title(level.primary_title(found.as_str()));
    if let Some(span) = &problem.span {
        let primary = AnnotationKind::Primary.span(underline(text, span)).label(expected.as_str());
        let related = problem
            .related
            .iter()
            .map(|(span, label)| AnnotationKind::Context.span(underline(text, span)).label(label.as_str()));
        group = group.element(Snippet::source(text).path(source).annotation(primary).annotations(related));
    } else {
        group = group.element(Origin::path(origin(problem, source)));
        if !expected.is_empty() {
            group = group.element(Level::NOTE.message(expected.as_str()));
        }
    }
    match help {
        Some(help) => group.element(Level::HELP.message(help.as_str())),
        None => group,
    }
}

/// The file or the environment.
fn origin<'a>(problem: &Problem, source: &'a str) -> &'a str {
    if problem.in_environment { "the environment" } else { source }
}

/// The part of a span to underline: its first line, because the rest of a long value adds nothing. The result lies
/// within the text and on character boundaries, even if the parser's span does not.
fn underline(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = floor_char_boundary(text, span.start);
    let end = floor_char_boundary(text, span.end).max(start);
    let line = text[start..end].find(['\r', '\n']).map_or(end, |newline| start + newline);
    start..line
}

fn floor_char_boundary(text: &str, index: usize) -> usize {
    (0..=index.min(text.len())).rev().find(|&index| text.is_char_boundary(index)).unwrap_or(0)
}
