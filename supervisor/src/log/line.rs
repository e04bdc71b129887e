//! One log line, independent of its format: recorded from a tracing event, rendered as text or JSON, buffered, and
//! parsed again by `bulkhead logs`.
//!
//! The JSON layer of `tracing-subscriber` is not used: it cannot merge fields whose names are known only at run time, such
//! as those in the workers' own lines.

use super::escape::escape_controls;
use bulkhead_proto::wire::text::escape_controls_in_json;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::fmt::Write as _;
use tracing::{Event, Level};
use tracing_serde::fields::AsMap as _;

/// Name of a field that holds a JSON object as text. Its members become fields of the line.
pub(super) const MERGED_FIELD: &str = "merged";

/// Fields that [`LogLine::render_message`] puts before the message.
pub(super) const ORIGIN_FIELDS: &[&str] = &["event_name", "worker", "generation", "pid", "stream"];

/// One log line.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    pub(super) at: Timestamp,
    pub(super) level: Level,
    pub(super) message: String,
    pub(super) fields: Map<String, Value>,
}

impl LogLine {
    /// A line with the current time and without fields.
    #[must_use]
    pub fn new(level: Level, message: String) -> Self {
        Self { at: Timestamp::now(), level, message, fields: Map::new() }
    }

    /// Records an event.
    pub(super) fn from_event(event: &Event<'_>) -> Self {
        let mut line = Self::new(*event.metadata().level(), String::new());
        // Cannot fail: the values are strings, numbers and booleans.
        if let Ok(Value::Object(fields)) = serde_json::to_value(event.field_map()) {
            line.fields = fields;
        }
        if let Some(Value::String(message)) = line.fields.remove("message") {
            line.message = message;
        }
        if let Some(Value::String(merged)) = line.fields.remove(MERGED_FIELD)
            && let Ok(Value::Object(members)) = serde_json::from_str(&merged)
        {
            for (name, value) in members {
                line.fields.entry(name).or_insert(value);
            }
        }
        line
    }

    /// The value of a field as text; `None` without such a field.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.fields.get(name).map(unquoted)
    }

    /// The text before the message. In a lifecycle line, `event_name`: its message names the worker. In other lines,
    /// `worker gen N pid P stream`, as far as known.
    fn prefix(&self) -> String {
        let mut prefix: Vec<_> = self.text("event_name").into_iter().collect();
        let lifecycle = !prefix.is_empty() && !self.fields.contains_key("stream");
        if !lifecycle && self.fields.contains_key("worker") {
            for (field, word) in [("worker", ""), ("generation", "gen "), ("pid", "pid "), ("stream", "")] {
                prefix.extend(self.text(field).map(|value| format!("{word}{value}")));
            }
        }
        prefix.join(" ")
    }

    /// The prefix, and the message with a separator before it. Control characters and newlines are escaped.
    pub(super) fn render_message(&self) -> (String, String) {
        let prefix = escape_controls(&self.prefix()).into_owned();
        let colon = if prefix.is_empty() || self.message.is_empty() { "" } else { ": " };
        (prefix, format!("{colon}{}", escape_controls(&self.message)))
    }

    /// One flat JSON object, without a newline. Time, level, event name and message come first, for people who read
    /// JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut first = vec![
            ("timestamp", Value::from(format!("{:.6}", self.at))),
            ("level", self.level.as_str().into()),
        ];
        first.extend(self.fields.get("event_name").map(|name| ("event_name", name.clone())));
        first.push(("message", self.message.as_str().into()));
        let is_first = |name: &str| first.iter().any(|(known, _)| *known == name);
        let rest = self.fields.iter().filter(|(name, _)| !is_first(name));
        let first = first.iter().map(|(name, value)| (*name, value));
        let mut text = String::with_capacity(256);
        for (name, value) in first.chain(rest.map(|(name, value)| (name.as_str(), value))) {
            let before = if text.is_empty() { '{' } else { ',' };
            // Writing to a String cannot fail.
            let _ = write!(text, "{before}{}:{value}", Value::from(name));
        }
        text.push('}');
        escape_controls_in_json(&text).into_owned()
    }

    /// Parses the output of [`LogLine::to_json`]; `None` for other text.
    #[must_use]
    pub fn from_json(text: &str) -> Option<Self> {
        let mut fields: Map<String, Value> = serde_json::from_str(text).ok()?;
        let at = fields.remove("timestamp")?.as_str()?.parse().ok()?;
        let level = fields.remove("level")?.as_str()?.parse().ok()?;
        let Value::String(message) = fields.remove("message")? else { return None };
        Some(Self { at, level, message, fields })
    }
}

/// A value as text; a string without quotes.
pub(super) fn unquoted(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::test_capture::capture_lines;

    #[test]
    fn a_json_line_is_a_flat_object() {
        let lines = capture_lines(|| {
            tracing::info!(event_name = "listening", port = 7, merged = r#"{"a":[1],"port":8}"#, "at x");
        });
        let text = lines[0].to_json();
        assert!(text.starts_with(r#"{"timestamp":"20"#), "{text}");
        assert!(
            text.ends_with(
                r#"Z","level":"INFO","event_name":"listening","message":"at x","a":[1],"port":7}"#
            ),
            "merged members replace nothing: {text}"
        );
    }

    #[test]
    fn a_json_line_can_be_parsed_again() {
        let written =
            capture_lines(|| tracing::warn!(port = 7, worker = "api", "at \"x\"\n")).remove(0).to_json();
        let read = LogLine::from_json(&written).unwrap();
        assert_eq!(read.to_json(), written);
        assert_eq!((read.level, read.message.as_str()), (Level::WARN, "at \"x\"\n"));
    }

    #[test]
    fn text_that_is_not_a_log_line_is_not_parsed() {
        for text in ["", "{}", "hello", r#"{"timestamp":"now","level":"INFO","message":""}"#] {
            assert_eq!(LogLine::from_json(text), None, "{text}");
        }
    }
}
