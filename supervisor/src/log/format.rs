//! Text formats of a log line: readable text for people, or one flat JSON object.

use super::{
    escape::escape_controls,
    line::{LogLine, ORIGIN_FIELDS, unquoted},
};
use std::fmt::Write as _;
use tracing::Level;

/// Text format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// Text for people.
    Pretty {
        /// Whether the text has ANSI colours; see [`colours`].
        colour: bool,
    },
}

/// Whether to write colours: only to a terminal, and only if `NO_COLOR` is unset or empty (<https://no-color.org>).
#[must_use]
pub fn colours(terminal: bool) -> bool {
    terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

impl Format {
    /// Renders a line, with a newline at its end.
    #[must_use]
    pub fn render(self, line: &LogLine) -> String {
        match self {
            Self::Json => line.to_json() + "\n",
            Self::Pretty { colour } => pretty(line, colour) + "\n",
        }
    }
}

/// `TIME LEVEL event_name: message` for a lifecycle line, `TIME LEVEL worker gen N stream: message name=value` for
/// others.
fn pretty(line: &LogLine, coloured: bool) -> String {
    let (dim, strong, reset) =
        if coloured { ("\x1b[2m", colour(line.level), "\x1b[0m") } else { ("", "", "") };
    let (prefix, message) = line.render_message();
    let mut text = format!(
        "{dim}{:.3}{reset} {strong}{:>5}{reset} {strong}{prefix}{reset}{message}",
        line.at,
        line.level.as_str()
    );
    // The message of a lifecycle line contains its fields. The target, a module of the program, is not for operators.
    let lifecycle = line.fields.contains_key("event_name");
    let is_shown = |name: &str| lifecycle || name == "target" || ORIGIN_FIELDS.contains(&name);
    for (name, value) in line.fields.iter().filter(|(name, _)| !is_shown(name)) {
        // Writing to a String cannot fail.
        let _ = write!(text, " {dim}{}={reset}{}", escape_controls(name), escape_controls(&unquoted(value)));
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
    use crate::log::test_capture::{capture_lines, capture_pretty};

    #[test]
    fn a_pretty_line_has_level_prefix_message_and_fields() {
        let line = capture_pretty(|| tracing::warn!(event_name = "listening", address = "x", "at x"));
        assert_eq!(line, " WARN listening: at x\n");
        let line = capture_pretty(|| tracing::info!(path = "/x", "saved"));
        assert_eq!(line, " INFO saved path=/x\n");
    }

    #[test]
    fn hostile_text_cannot_add_a_line() {
        let hostile = "x\u{1b}[2J\n2026-11-22 ERROR forged";
        let line = capture_lines(|| tracing::info!(note = hostile, "{hostile}")).remove(0);
        for format in [Format::Json, Format::Pretty { colour: true }] {
            assert_eq!(format.render(&line).matches('\n').count(), 1, "{format:?}");
        }
    }

    #[test]
    fn only_a_terminal_gets_colours() {
        assert!(!colours(false));
        let line = capture_lines(|| tracing::error!(worker = "api", "lost")).remove(0);
        assert!(!Format::Pretty { colour: false }.render(&line).contains('\x1b'));
        assert!(Format::Pretty { colour: true }.render(&line).contains("\x1b[1;31m"));
    }
}
