//! Makes untrusted text safe to show on a terminal.

use bulkhead_proto::wire::text::needs_escape;
use std::{borrow::Cow, fmt::Write as _};

/// Replaces control characters, and characters that reorder or break lines, by escapes. Other text is unchanged.
#[must_use]
pub fn escape_controls(text: &str) -> Cow<'_, str> {
    if !text.contains(needs_escape) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            control if needs_escape(control) => {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\u{{{:x}}}", u32::from(control));
            }
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

/// Decodes bytes as UTF-8. Invalid bytes become `\xNN`.
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
    fn ordinary_text_is_unchanged() {
        assert!(matches!(escape_controls("Grüße,\t世界 ✓"), Cow::Borrowed(_)));
    }

    #[test]
    fn control_characters_and_line_breaks_are_escaped() {
        assert_eq!(
            escape_controls("a\u{1b}[31mred\nb\u{9b}c\u{202e}d"),
            "a\\u{1b}[31mred\\nb\\u{9b}c\\u{202e}d"
        );
    }

    #[test]
    fn invalid_bytes_are_shown_in_hexadecimal() {
        assert_eq!(decode(b"ok \xff\xfe end \xc3"), "ok \\xff\\xfe end \\xc3");
    }
}
