//! Problems of a configuration: what is wrong, and where.

use crate::suggest::closest;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// The most problems that are collected. A file of garbage has one in every line.
const MAX_PROBLEMS: usize = 100;

/// What is wrong with a value, independent of its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// What was found.
    pub found: String,
    /// What was expected; may be empty.
    pub expected: String,
    /// What the operator can do, if known.
    pub help: Option<String>,
}

impl Issue {
    /// An issue without help.
    #[must_use]
    pub fn new(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { found: found.into(), expected: expected.into(), help: None }
    }

    /// Adds what the operator can do.
    #[must_use]
    pub fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Adds "did you mean …?" if there is a suggestion.
    #[must_use]
    pub fn suggest(self, suggestion: Option<impl std::fmt::Display>) -> Self {
        match suggestion {
            Some(suggestion) => self.with_help(format!("did you mean {suggestion}?")),
            None => self,
        }
    }

    /// `found` and `expected` in one line.
    #[must_use]
    pub fn message(&self) -> String {
        if self.expected.is_empty() {
            self.found.clone()
        } else {
            format!("{}; {}", self.found, self.expected)
        }
    }
}

/// How serious a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// The configuration can be used, but probably does not do what the operator wants.
    Warning,
}

/// What a check of one value has found.
pub(super) type Finding = (Severity, Issue);

/// An issue at a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How serious it is.
    pub severity: Severity,
    /// What is wrong.
    pub issue: Issue,
    /// The position in the text, in bytes; `None` if the problem has none.
    pub span: Option<Range<usize>>,
    /// The problem is in an environment variable, not in the file.
    pub in_environment: bool,
    /// Another position that matters, with a label.
    pub related: Option<(Range<usize>, String)>,
}

impl Problem {
    /// An error.
    #[must_use]
    pub fn new(issue: Issue, span: Option<Range<usize>>) -> Self {
        Self { severity: Severity::Error, issue, span, in_environment: false, related: None }
    }

    /// An error in an environment variable.
    #[must_use]
    pub fn in_environment(name: &str, issue: Issue) -> Self {
        let found = format!("{name}: {}", issue.found);
        Self { in_environment: true, ..Self::new(Issue { found, ..issue }, None) }
    }

    /// Line and column, both from 1. Columns count characters.
    #[must_use]
    pub fn position(&self, text: &str) -> Option<(usize, usize)> {
        let start = self.span.as_ref()?.start.min(text.len());
        let before = text.get(..start)?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Some((before.matches('\n').count() + 1, before[line_start..].chars().count() + 1))
    }
}

/// A key that no section reads.
#[derive(Debug)]
pub(super) struct UnknownKey {
    /// The section that contains it, such as `api`; empty at the top level.
    pub(super) section: String,
    /// The key.
    pub(super) key: String,
    /// Its position.
    pub(super) span: Range<usize>,
    /// The keys that this section knows.
    pub(super) known: Vec<&'static str>,
}

/// Collects problems, positions and known keys while a text is read.
#[derive(Debug, Default)]
pub(super) struct Diagnostics {
    problems: RefCell<Vec<Problem>>,
    spans: RefCell<BTreeMap<String, Range<usize>>>,
    known_keys: RefCell<BTreeSet<String>>,
    unknown_keys: RefCell<Vec<UnknownKey>>,
}

impl Diagnostics {
    /// Adds a problem, up to [`MAX_PROBLEMS`].
    pub(super) fn push(&self, problem: Problem) {
        let mut problems = self.problems.borrow_mut();
        match problems.len() {
            0..MAX_PROBLEMS => problems.push(problem),
            MAX_PROBLEMS => problems.push(Problem::new(
                Issue::new(format!("more than {MAX_PROBLEMS} problems"), "")
                    .with_help("fix the ones above first"),
                None,
            )),
            _ => {}
        }
    }

    /// Records the position of a key's value, a list item or a name: `api.listen`, `api.command[0]`, `api.env.NAME`.
    pub(super) fn record_span(&self, name: String, span: Range<usize>) {
        self.spans.borrow_mut().insert(name, span);
    }

    /// The recorded position.
    pub(super) fn span_of(&self, name: &str) -> Option<Range<usize>> {
        self.spans.borrow().get(name).cloned()
    }

    /// Records that a key has an effect, by its full name: `api.listen`, `worker.name`.
    pub(super) fn record_known_key(&self, name: String) {
        self.known_keys.borrow_mut().insert(name);
    }

    /// Adds an unknown key. It becomes a problem later, when all known keys are recorded and can be suggested.
    pub(super) fn push_unknown_key(&self, unknown_key: UnknownKey) {
        let mut unknown_keys = self.unknown_keys.borrow_mut();
        if unknown_keys.len() <= MAX_PROBLEMS {
            unknown_keys.push(unknown_key);
        }
    }

    /// All keys that have an effect.
    #[cfg(test)]
    pub(super) fn known_keys(&self) -> BTreeSet<String> {
        self.known_keys.borrow().clone()
    }

    /// Keeps only the problems that satisfy `keep`.
    pub(super) fn retain(&self, keep: impl FnMut(&Problem) -> bool) {
        self.resolve_unknown_keys();
        self.problems.borrow_mut().retain(keep);
    }

    /// Takes all problems, in the order of the text; those without a position come last.
    pub(super) fn problems(&self) -> Vec<Problem> {
        self.resolve_unknown_keys();
        let mut problems = self.problems.take();
        problems.sort_by_key(|problem| problem.span.as_ref().map_or(usize::MAX, |span| span.start));
        problems
    }

    fn resolve_unknown_keys(&self) {
        for unknown_key in self.unknown_keys.take() {
            self.push(self.unknown_key_problem(&unknown_key));
        }
    }

    fn unknown_key_problem(&self, unknown_key: &UnknownKey) -> Problem {
        let UnknownKey { section, key, span, known } = unknown_key;
        let (location, dot) = if section.is_empty() {
            ("at the top level".to_owned(), "")
        } else {
            (format!("in {section}"), ".")
        };
        let issue = Issue::new(format!("{section}{dot}{key}: unknown key"), format!("not a key {location}"));
        let known_keys = self.known_keys.borrow();
        // Keys of other sections are not for plain workers.
        let suggest_elsewhere = !section.starts_with("worker");
        let elsewhere = known_keys
            .iter()
            .find(|name| name.rsplit_once('.').is_some_and(|(_, last)| suggest_elsewhere && last == key));
        let issue = match (closest(key, known.iter().copied()), elsewhere) {
            (Some(near), _) => issue.suggest(Some(near)),
            (None, Some(name)) => issue.suggest(Some(name)),
            (None, None) => issue.with_help(format!("the keys {location} are: {}", known.join(", "))),
        };
        Problem::new(issue, Some(span.clone()))
    }
}
