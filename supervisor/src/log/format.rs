//! The form of a line: a story for people, or a flat JSON object for machines.

use super::{
    Line,
    escape::visible,
    line::{SUBJECT, plain},
};
use std::fmt::Write as _;
use tracing::Level;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For machines.
    Json,
    /// For people.
    Pretty {
        /// Whether it is coloured; see [`colours`].
        colour: bool,
    },
}

/// Whether a terminal wants colours (no-color.org); what is no terminal never does.
#[must_use]
pub fn colours(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

impl Format {
    /// One line, with its end.
    #[must_use]
    pub fn render(self, line: &Line) -> String {
        match self {
            Self::Json => line.to_json() + "\n",
            Self::Pretty { colour } => pretty(line, colour) + "\n",
        }
    }
}

/// `TIME LEVEL event_name worker gen N pid P: message name=value`
fn pretty(line: &Line, coloured: bool) -> String {
    let (dim, strong, reset) =
        if coloured { ("\x1b[2m", colour(line.level), "\x1b[0m") } else { ("", "", "") };
    let (subject, message) = line.story();
    let mut text = format!(
        "{dim}{:.3}{reset} {strong}{:>5}{reset} {strong}{subject}{reset}{message}",
        line.at,
        line.level.as_str()
    );
    // A lifecycle line's message tells the story of its fields; where in a program a line comes from is for machines.
    let lifecycle = line.fields.contains_key("event_name");
    let told = |name: &str| lifecycle || name == "target" || SUBJECT.contains(&name);
    for (name, value) in line.fields.iter().filter(|(name, _)| !told(name)) {
        // Writing to a String cannot fail.
        let _ = write!(text, " {dim}{}={reset}{}", visible(name), visible(&plain(value)));
    }
    text
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[1;31m",
        Level::WARN => "\x1b[1;33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG | Level::TRACE => "\x1b[34m",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing::{lines, pretty};

    #[test]
    fn a_line_for_people_reads_as_a_sentence() {
        let line = pretty(|| tracing::warn!(event_name = "listening", address = "x", "at x"));
        assert_eq!(line, " WARN listening: at x\n");
        let line = pretty(|| tracing::info!(path = "/x", "saved"));
        assert_eq!(line, " INFO saved path=/x\n");
    }

    #[test]
    fn hostile_text_cannot_break_a_line() {
        let hostile = "x\u{1b}[2J\n2026-11-22 ERROR forged";
        let line = lines(|| tracing::info!(note = hostile, "{hostile}")).remove(0);
        for format in [Format::Json, Format::Pretty { colour: true }] {
            assert_eq!(format.render(&line).matches('\n').count(), 1, "{format:?}");
        }
    }

    #[test]
    fn only_a_terminal_gets_colours() {
        assert!(!colours(false));
        let line = lines(|| tracing::error!(worker = "api", "lost")).remove(0);
        assert!(!Format::Pretty { colour: false }.render(&line).contains('\x1b'));
        assert!(Format::Pretty { colour: true }.render(&line).contains("\x1b[1;31m"));
    }
}
