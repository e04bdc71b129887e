//! Text from elsewhere, in JSON that a person may look at in a terminal.

use std::{borrow::Cow, fmt::Write as _};

/// JSON text, with what [is hidden](is_hidden) in it shown as JSON's own escapes: it means the same. serde_json leaves C1
/// controls, and characters that reorder text, as they are. Line ends are the text's layout.
#[must_use]
pub fn visible_json(text: &str) -> Cow<'_, str> {
    let hidden = |character| character != '\n' && is_hidden(character);
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if hidden(character) {
            // Writing to a String cannot fail. None of them is beyond four digits.
            let _ = write!(shown, "\\u{:04x}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Whether a character does something else than to be seen: controls, and those that reorder or break lines.
#[must_use]
pub fn is_hidden(character: char) -> bool {
    // A tab is harmless and common; U+2028 and U+2029 break lines, the others reorder text or hide in it.
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
    fn json_is_as_harmless_and_means_the_same() {
        let value = serde_json::json!({ "text": "a\u{1b}[31m\nb\u{9b}c\u{202e}d\u{7f}\u{61c}\u{2060}" });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = visible_json(&text);
        assert!(!shown.contains(|character| character != '\n' && is_hidden(character)), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        assert!(matches!(visible_json("{\n}"), Cow::Borrowed(_)));
    }
}
