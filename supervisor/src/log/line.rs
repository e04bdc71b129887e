//! What one line of the log says, whatever its form: gathered once from an event, written for people or for machines,
//! kept, and read back by the operator's commands.
//!
//! The JSON layer of `tracing-subscriber` cannot merge fields whose names are known at run time only, such as those of
//! our workers' own lines; hence one visitor of our own.

use super::escape::visible;
use bulkhead_proto::wire::text::escape_controls_in_json;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::fmt::{self, Write as _};
use tracing::{
    Event, Level,
    field::{Field, Visit},
};

/// A field of this name is an object as JSON text; its members become fields of the line.
pub(super) const MERGED: &str = "merged";

/// Fields that [`Line::story`] tells.
pub(super) const SUBJECT: &[&str] = &["event_name", "worker", "generation", "pid", "stream"];

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub(super) at: Timestamp,
    pub(super) level: Level,
    pub(super) message: String,
    pub(super) fields: Map<String, Value>,
}

impl Line {
    /// A line of now without fields.
    #[must_use]
    pub fn new(level: Level, message: String) -> Self {
        Self { at: Timestamp::now(), level, message, fields: Map::new() }
    }

    /// Gathers what an event says.
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut line = Self::new(*event.metadata().level(), String::new());
        event.record(&mut line);
        line
    }

    /// A field's value, if there is such a field.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.fields.get(name).map(plain)
    }

    /// What or whom it is about: `event_name worker gen N pid P`.
    fn subject(&self) -> String {
        let mut subject: Vec<_> =
            ["event_name", "worker"].iter().filter_map(|name| self.text(name)).collect();
        if self.fields.contains_key("worker") {
            for (field, word) in [("generation", "gen "), ("pid", "pid "), ("stream", "")] {
                subject.extend(self.text(field).map(|value| format!("{word}{value}")));
            }
        }
        subject.join(" ")
    }

    /// Subject and message, as people read them: harmless for a terminal, and without a line's end.
    pub(super) fn story(&self) -> (String, String) {
        let subject = visible(&self.subject()).into_owned();
        let colon = if subject.is_empty() || self.message.is_empty() { "" } else { ": " };
        (subject, format!("{colon}{}", visible(&self.message)))
    }

    /// One flat object. Time, level, event and message come first: people read this too.
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

    /// Reads back what [`Line::to_json`] has written; none when it is something else.
    #[must_use]
    pub fn from_json(text: &str) -> Option<Self> {
        let mut fields: Map<String, Value> = serde_json::from_str(text).ok()?;
        let at = fields.remove("timestamp")?.as_str()?.parse().ok()?;
        let level = fields.remove("level")?.as_str()?.parse().ok()?;
        let Value::String(message) = fields.remove("message")? else { return None };
        Some(Self { at, level, message, fields })
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (MERGED, Value::String(text)) => {
                if let Ok(Value::Object(members)) = serde_json::from_str(&text) {
                    for (name, value) in members {
                        self.fields.entry(name).or_insert(value);
                    }
                }
            }
            (name, value) => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

/// A value without the quotes of a string.
pub(super) fn plain(value: &Value) -> String {
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
    use crate::log::testing::lines;

    #[test]
    fn a_line_for_machines_is_a_flat_object() {
        let lines = lines(|| {
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
    fn what_was_written_for_machines_can_be_read_back() {
        let written = lines(|| tracing::warn!(port = 7, worker = "api", "at \"x\"\n")).remove(0).to_json();
        let read = Line::from_json(&written).unwrap();
        assert_eq!(read.to_json(), written);
        assert_eq!((read.level, read.message.as_str()), (Level::WARN, "at \"x\"\n"));
    }

    #[test]
    fn what_is_no_line_of_the_log_is_not_read() {
        for text in ["", "{}", "hello", r#"{"timestamp":"now","level":"INFO","message":""}"#] {
            assert_eq!(Line::from_json(text), None, "{text}");
        }
    }
}
