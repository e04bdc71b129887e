//! Lines for a terminal: escaped and cut to its width.

use super::output::terminal_size;
use crate::log::{colours, escape_controls};

/// How output is rendered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// The longest line, in characters.
    pub(super) width: usize,
    /// Whether states are coloured.
    pub(super) colour: bool,
}

impl Style {
    /// Without a terminal: 80 columns, no colours.
    pub(super) const PLAIN: Self = Self { width: 80, colour: false };

    /// The style for stdout.
    pub(super) fn for_stdout() -> Self {
        terminal_size().map_or(Self::PLAIN, |(width, _)| Self { width, colour: colours(true) })
    }

    /// One line: escaped and cut to the width.
    pub(super) fn line(self, text: &str) -> String {
        truncate(&escape_controls(text), self.width)
    }
}

/// Cuts a text to this number of characters. The last one then is an ellipsis.
pub(super) fn truncate(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Escapes each of these lines. The result has no final newline.
pub(super) fn escape_lines(lines: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let lines = lines.into_iter().map(|line| escape_controls(line.as_ref()).into_owned());
    lines.collect::<Vec<_>>().join("\n")
}
