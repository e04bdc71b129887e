//! What can be wrong with a configuration, and where.

use super::words::nearest;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// The most problems that are gathered: nobody mends more at once, and a file of garbage has one in every line.
const MAX_PROBLEMS: usize = 100;

/// What is wrong with a value, wherever that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What was found.
    pub found: String,
    /// What was wanted; may be empty, when there is nothing to add.
    pub wanted: String,
    /// What to do, if that is known.
    pub help: Option<String>,
}

impl Fault {
    /// What was found instead of what was wanted.
    #[must_use]
    pub fn new(found: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self { found: found.into(), wanted: wanted.into(), help: None }
    }

    /// Says what to do.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Offers a likely slip's correction, if there is one.
    #[must_use]
    pub fn offer(self, likely: Option<impl std::fmt::Display>) -> Self {
        match likely {
            Some(likely) => self.help(format!("did you mean {likely}?")),
            None => self,
        }
    }

    /// What was found and what was wanted, in one line.
    #[must_use]
    pub fn message(&self) -> String {
        if self.wanted.is_empty() { self.found.clone() } else { format!("{}; {}", self.found, self.wanted) }
    }
}

/// Whether a problem keeps the configuration from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, but somebody should look.
    Warning,
}

/// Something wrong in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub fault: Fault,
    /// Where in the text, in bytes; none when it is about the whole.
    pub span: Option<Range<usize>>,
    /// It is the environment, not the file, that is wrong.
    pub environment: bool,
    /// What else in the text has to do with it, and how.
    pub also: Option<(Range<usize>, String)>,
}

impl Problem {
    /// An error at this place.
    #[must_use]
    pub fn new(fault: Fault, span: Option<Range<usize>>) -> Self {
        Self { severity: Severity::Error, fault, span, environment: false, also: None }
    }

    /// An error of a variable of the environment.
    #[must_use]
    pub fn of_variable(name: &str, fault: Fault) -> Self {
        let found = format!("{name}: {}", fault.found);
        Self { environment: true, ..Self::new(Fault { found, ..fault }, None) }
    }

    /// The place as line and column, both from 1; columns count characters.
    #[must_use]
    pub fn place(&self, text: &str) -> Option<(usize, usize)> {
        let start = self.span.as_ref()?.start.min(text.len());
        let before = text.get(..start)?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Some((before.matches('\n').count() + 1, before[line_start..].chars().count() + 1))
    }
}

/// A key that nobody asked for.
#[derive(Debug)]
pub(super) struct Stray {
    /// Where it stands: `api`, or empty at the top.
    pub(super) section: String,
    /// The key itself.
    pub(super) key: String,
    /// Its place.
    pub(super) span: Range<usize>,
    /// What is known there.
    pub(super) known: Vec<&'static str>,
}

/// What is noted while a text is read.
#[derive(Debug, Default)]
pub(super) struct Notes {
    problems: RefCell<Vec<Problem>>,
    places: RefCell<BTreeMap<String, Range<usize>>>,
    known: RefCell<BTreeSet<String>>,
    strays: RefCell<Vec<Stray>>,
}

impl Notes {
    /// Notes a problem, if it is not one too many.
    pub(super) fn push(&self, problem: Problem) {
        let mut problems = self.problems.borrow_mut();
        match problems.len() {
            0..MAX_PROBLEMS => problems.push(problem),
            MAX_PROBLEMS => problems.push(Problem::new(
                Fault::new("there are more problems than are shown", "").help("mend these first"),
                None,
            )),
            _ => {}
        }
    }

    /// Notes where a key's value, an item of a list or a name stands: `api.listen`, `api.command[0]`, `api.env.NAME`.
    pub(super) fn place(&self, name: String, span: Range<usize>) {
        self.places.borrow_mut().insert(name, span);
    }

    /// Where it stands, if it is there.
    pub(super) fn find(&self, name: &str) -> Option<Range<usize>> {
        self.places.borrow().get(name).cloned()
    }

    /// Notes that a key has an effect, by its full name: `api.listen`, `worker.name`.
    pub(super) fn know(&self, name: String) {
        self.known.borrow_mut().insert(name);
    }

    /// Notes a key that nobody asked for. What to say of it is found when all keys are known.
    pub(super) fn stray(&self, stray: Stray) {
        let mut strays = self.strays.borrow_mut();
        if strays.len() <= MAX_PROBLEMS {
            strays.push(stray);
        }
    }

    /// All keys that have an effect.
    #[cfg(test)]
    pub(super) fn known(&self) -> BTreeSet<String> {
        self.known.borrow().clone()
    }

    /// Forgets every problem for which this does not hold.
    pub(super) fn retain(&self, holds: impl FnMut(&Problem) -> bool) {
        self.settle();
        self.problems.borrow_mut().retain(holds);
    }

    /// All problems in the order of the text, those without a place at the end.
    pub(super) fn problems(&self) -> Vec<Problem> {
        self.settle();
        let mut problems = self.problems.take();
        problems.sort_by_key(|problem| problem.span.as_ref().map_or(usize::MAX, |span| span.start));
        problems
    }

    fn settle(&self) {
        for stray in self.strays.take() {
            self.push(self.unknown(&stray));
        }
    }

    fn unknown(&self, stray: &Stray) -> Problem {
        let Stray { section, key, span, known } = stray;
        let (place, dot) =
            if section.is_empty() { ("at the top".to_owned(), "") } else { (format!("in {section}"), ".") };
        let fault = Fault::new(format!("{section}{dot}{key}: unknown key"), format!("not known {place}"));
        let everywhere = self.known.borrow();
        let elsewhere =
            everywhere.iter().find(|name| name.rsplit_once('.').is_some_and(|(_, last)| last == key));
        let fault = match (nearest(key, known.iter().copied()), elsewhere) {
            (Some(near), _) => fault.offer(Some(near)),
            (None, Some(name)) => fault.offer(Some(name)),
            (None, None) => fault.help(format!("known {place} are {}", known.join(", "))),
        };
        Problem::new(fault, Some(span.clone()))
    }
}
