//! Text from elsewhere, made harmless for a terminal.

use bulkhead_proto::wire::text::needs_escape;
use std::{borrow::Cow, fmt::Write as _};

/// Shows control characters, and those that reorder or break lines, as escapes; the rest stays as it is.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(needs_escape) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            hidden if needs_escape(hidden) => {
                // Writing to a String cannot fail.
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(hidden));
            }
            harmless => shown.push(harmless),
        }
    }
    Cow::Owned(shown)
}

/// Decodes bytes as UTF-8; what is none appears as `\xNN`.
#[must_use]
pub(super) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_text_is_left_alone() {
        assert!(matches!(visible("Grüße,\t世界 ✓"), Cow::Borrowed(_)));
    }

    #[test]
    fn terminal_escapes_and_line_breaks_are_shown_not_sent() {
        assert_eq!(visible("a\u{1b}[31mred\nb\u{9b}c\u{202e}d"), "a\\u{1b}[31mred\\nb\\u{9b}c\\u{202e}d");
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_numbers() {
        assert_eq!(decode(b"ok \xff\xfe end \xc3"), "ok \\xff\\xfe end \\xc3");
    }
}
