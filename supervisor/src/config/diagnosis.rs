//! How the problems of a configuration are shown: to people with the lines that they are about, to logs in a line each,
//! to programs as JSON.

use super::{
    Source,
    problem::{Fault, Problem, Severity},
};
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;
use std::{fmt, ops::Range, path::Path};

/// A configuration's text, and everything that is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Diagnosis {
    pub(super) source: Source,
    pub(super) text: String,
    pub(super) problems: Vec<Problem>,
}

/// A line a problem, for logs.
impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}{}", origin(problem, &self.source.to_string()))?;
            if let Some((line, column)) = problem.place(&self.text) {
                write!(f, ":{line}:{column}")?;
            }
            write!(f, ": {}", problem.fault.message())?;
            if let Some(help) = &problem.fault.help {
                write!(f, "; {help}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Diagnosis {}

impl Diagnosis {
    /// Where the configuration came from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Whether it can be used; there may be warnings.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.problems.iter().all(|problem| problem.severity == Severity::Warning)
    }

    /// For people, as rustc would show it; several lines, each ended by a newline; nothing when there is no problem.
    /// `styled` adds colours.
    #[must_use]
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let source = self.source.to_string();
        let show = |problem| renderer.render(&[group(problem, &source, &self.text)]) + "\n\n";
        self.problems.iter().map(show).chain(self.sum()).collect()
    }

    /// For programs.
    #[must_use]
    pub fn told(&self) -> Told<'_> {
        let problem = |problem: &'_ Problem| {
            let (line, column) = problem.place(&self.text).unzip();
            let message = problem.fault.message();
            ToldProblem {
                severity: problem.severity,
                line,
                column,
                message,
                help: problem.fault.help.clone(),
            }
        };
        let source = match &self.source {
            Source::File(path) => Some(path.as_path()),
            Source::Defaults => None,
        };
        Told { source, ok: self.ok(), problems: self.problems.iter().map(problem).collect() }
    }

    /// The last line: how many there are.
    fn sum(&self) -> Option<String> {
        let count = |severity, one: &str| match self
            .problems
            .iter()
            .filter(|problem| problem.severity == severity)
            .count()
        {
            0 => None,
            1 => Some(format!("1 {one}")),
            many => Some(format!("{many} {one}s")),
        };
        let sums: Vec<String> = [count(Severity::Error, "error"), count(Severity::Warning, "warning")]
            .into_iter()
            .flatten()
            .collect();
        (!sums.is_empty()).then(|| format!("{}: {}\n", self.source, sums.join(" and ")))
    }
}

/// What `check --json` prints.
#[derive(Debug, Serialize)]
pub struct Told<'a> {
    /// The file; none for the built-in defaults.
    source: Option<&'a Path>,
    /// Whether the configuration can be used.
    ok: bool,
    /// All that is wrong.
    problems: Vec<ToldProblem>,
}

/// One problem; line and column, from 1, when it has a place in the file.
#[derive(Debug, Serialize)]
struct ToldProblem {
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
    let Fault { found, wanted, help } = &problem.fault;
    let mut group = Group::with_title(level.primary_title(found.as_str()));
    if let Some(span) = &problem.span {
        let primary = AnnotationKind::Primary.span(shown(text, span)).label(wanted.as_str());
        let also = problem
            .also
            .iter()
            .map(|(span, label)| AnnotationKind::Context.span(shown(text, span)).label(label.as_str()));
        group = group.element(Snippet::source(text).path(source).annotation(primary).annotations(also));
    } else {
        group = group.element(Origin::path(origin(problem, source)));
        if !wanted.is_empty() {
            group = group.element(Level::NOTE.message(wanted.as_str()));
        }
    }
    match help {
        Some(help) => group.element(Level::HELP.message(help.as_str())),
        None => group,
    }
}

/// Where the problem lies, as far as that is no place in the text.
fn origin<'a>(problem: &Problem, source: &'a str) -> &'a str {
    if problem.environment { "the environment" } else { source }
}

/// What of a span is underlined: its first line, for the rest of a long value says nothing; within the text, and between
/// characters, whatever the parser said.
fn shown(text: &str, span: &Range<usize>) -> Range<usize> {
    let start = floor(text, span.start);
    let end = floor(text, span.end).max(start);
    let line = text[start..end].find(['\r', '\n']).map_or(end, |newline| start + newline);
    start..line
}

fn floor(text: &str, index: usize) -> usize {
    (0..=index.min(text.len())).rev().find(|&index| text.is_char_boundary(index)).unwrap_or(0)
}
