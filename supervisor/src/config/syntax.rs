//! Reports TOML syntax errors.

use super::problem::{Diagnostics, Issue, Problem};
use std::{collections::BTreeSet, ops::Range};
use toml::de::Error;

/// The most parser errors that are examined. A file of garbage has one in every line, and finding the line of each
/// takes time.
const MAX_ERRORS: usize = 1_000;

/// Adds the parser's errors to `diagnostics`, one per line of text. Removes other problems on those lines: they follow
/// from the syntax error.
pub(super) fn report_errors(text: &str, errors: &[Error], diagnostics: &Diagnostics) {
    let mut broken_lines = BTreeSet::new();
    let line = |span: &Range<usize>| {
        text.as_bytes()[..span.start.min(text.len())].iter().filter(|&&b| b == b'\n').count()
    };
    let problems: Vec<Problem> = errors
        .iter()
        .take(MAX_ERRORS)
        .map(|error| problem(text, error))
        .filter(|problem| problem.span.as_ref().is_none_or(|span| broken_lines.insert(line(span))))
        .collect();
    diagnostics
        .retain(|problem| problem.span.as_ref().is_none_or(|span| !broken_lines.contains(&line(span))));
    for problem in problems {
        diagnostics.push(problem);
    }
}

fn problem(text: &str, error: &Error) -> Problem {
    // An error without a span is at the end of the text.
    let span = error.span().unwrap_or(text.len()..text.len());
    let issue = match value_at(text, &span) {
        Some("") => Issue::new("invalid TOML: the key has no value", "expected a value"),
        Some(value) if !value.starts_with(['"', '\'', '[', '{']) => {
            Issue::new("invalid TOML: not a number, true, false, or a string in quotes", "")
                .with_help(format!("if it is a string, write {value:?}, in quotes"))
        }
        Some(_) | None => {
            let (found, expected) =
                error.message().split_once(", expected ").unwrap_or((error.message(), ""));
            let expected = match expected {
                "" | "nothing" => String::new(),
                "literal string" => "expected a string in quotes".to_owned(),
                expected => format!("expected {expected}"),
            };
            Issue::new(format!("invalid TOML: {found}"), expected)
        }
    };
    Problem::new(issue, Some(span))
}

/// The value in the line of `span`, if the parser failed within it.
fn value_at<'a>(text: &'a str, span: &Range<usize>) -> Option<&'a str> {
    let before = text.get(..span.start)?;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text.get(start..)?.lines().next().unwrap_or_default();
    let (key, value) = line.split_once('=')?;
    let in_value = span.start > start + key.len();
    in_value.then(|| value.split_once('#').map_or(value, |(value, _)| value).trim())
}
