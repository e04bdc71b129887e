//! Text that is not TOML.

use super::problem::{Fault, Notes, Problem};
use std::{collections::BTreeSet, ops::Range};
use toml::de::Error;

/// So many errors are looked at: finding an error's line takes time, and a file of garbage has an error in each.
const MAX_ERRORS: usize = 1_000;

/// What the parser says of a text, in the words of this module, instead of what the rest of each such line looks like
/// after it: one slip makes many errors there.
pub(super) fn note(text: &str, errors: &[Error], notes: &Notes) {
    let mut broken = BTreeSet::new();
    let line = |span: &Range<usize>| {
        text.as_bytes()[..span.start.min(text.len())].iter().filter(|&&b| b == b'\n').count()
    };
    let problems: Vec<Problem> = errors
        .iter()
        .take(MAX_ERRORS)
        .map(|error| problem(text, error))
        .filter(|problem| problem.span.as_ref().is_none_or(|span| broken.insert(line(span))))
        .collect();
    notes.retain(|problem| problem.span.as_ref().is_none_or(|span| !broken.contains(&line(span))));
    for problem in problems {
        notes.push(problem);
    }
}

fn problem(text: &str, error: &Error) -> Problem {
    // An error without a place is one of the end.
    let span = error.span().unwrap_or(text.len()..text.len());
    let fault = match value(text, &span) {
        Some("") => Fault::new("not TOML: a key without a value", "wanted a value"),
        Some(value) if !value.starts_with(['"', '\'', '[', '{']) => {
            Fault::new("not TOML: this is no number and no other value", "")
                .help(format!("if it is a string, write {value:?}, in quotes"))
        }
        Some(_) | None => {
            let (found, wanted) = error.message().split_once(", expected ").unwrap_or((error.message(), ""));
            let wanted = match wanted {
                "" | "nothing" => String::new(),
                "literal string" => "wanted quotes around it".to_owned(),
                wanted => format!("wanted {wanted}"),
            };
            Fault::new(format!("not TOML: {found}"), wanted)
        }
    };
    Problem::new(fault, Some(span))
}

/// The value of the line, if it is there that the parser stumbled.
fn value<'a>(text: &'a str, span: &Range<usize>) -> Option<&'a str> {
    let before = text.get(..span.start)?;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text.get(start..)?.lines().next().unwrap_or_default();
    let (key, value) = line.split_once('=')?;
    let stumbled = span.start > start + key.len();
    stumbled.then(|| value.split_once('#').map_or(value, |(value, _)| value).trim())
}
