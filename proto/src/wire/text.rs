//! Text from other processes: how it is shortened, and how it is made safe to print on a terminal.

use std::{borrow::Cow, fmt::Write as _};

/// Cuts a text to at most `max` bytes, at a character boundary.
#[must_use]
pub fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// Escapes control characters in JSON text by JSON's own escapes, which do not change its meaning. serde_json leaves C1
/// controls, and characters that reorder text, as they are. Line feeds are the layout of the JSON text and stay.
#[must_use]
pub fn escape_controls_in_json(text: &str) -> Cow<'_, str> {
    let escaped = |character| character != '\n' && needs_escape(character);
    if !text.contains(escaped) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if escaped(character) {
            // Writing to a String cannot fail. All escaped characters have at most four hexadecimal digits.
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    Cow::Owned(out)
}

/// Whether a terminal acts on a character instead of showing it: controls, and characters that reorder text or break lines.
#[must_use]
pub fn needs_escape(character: char) -> bool {
    // A tab is harmless and common. U+2028 and U+2029 break lines; the others reorder text or are invisible.
    character.is_control() && character != '\t'
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_json_holds_no_controls_and_means_the_same() {
        let value = serde_json::json!({ "text": "a\u{1b}[31m\nb\u{9b}c\u{202e}d\u{7f}\u{61c}\u{2060}" });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let escaped = escape_controls_in_json(&text);
        assert!(!escaped.contains(|character| character != '\n' && needs_escape(character)), "{escaped}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
        assert!(matches!(escape_controls_in_json("{\n}"), Cow::Borrowed(_)));
    }
}
