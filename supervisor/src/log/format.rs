//! The form of a line: a story for people, or a flat JSON object for machines.
//!
//! The JSON layer of `tracing-subscriber` cannot merge fields whose names are known at run time only, such as those of
//! our workers' own lines; hence one visitor and two ways to write what it gathered.

use super::escape::visible;
use serde_json::{Map, Value};
use std::fmt;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// A field of this name is an object as JSON text; its members become fields of the line.
pub(super) const MERGED: &str = "merged";

/// Writes lines.
pub(super) struct Format {
    pretty: bool,
    colour: bool,
}

impl Format {
    /// For people; in colour on a terminal that wants it (no-color.org).
    pub(super) fn pretty(terminal: bool) -> Self {
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { pretty: true, colour }
    }

    /// For machines.
    pub(super) fn json() -> Self {
        Self { pretty: false, colour: false }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>, N: for<'a> FormatFields<'a> + 'static> FormatEvent<S, N>
    for Format
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let line = Line::of(event);
        let now = jiff::Timestamp::now();
        if self.pretty {
            self.write_pretty(writer, now, *event.metadata().level(), &line)
        } else {
            write_json(writer, now, *event.metadata().level(), line)
        }
    }
}

/// What one event says.
#[derive(Default)]
pub(super) struct Line {
    pub(super) message: String,
    pub(super) fields: Map<String, Value>,
}

/// Fields that [`Line::subject`] tells.
const SUBJECT: &[&str] = &["event_name", "worker", "generation", "pid", "stream"];

impl Line {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut line = Self::default();
        event.record(&mut line);
        line
    }

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

/// Time, level, event and message come first: people read this too.
fn write_json(mut writer: Writer<'_>, now: jiff::Timestamp, level: Level, mut line: Line) -> fmt::Result {
    let mut first = vec![("timestamp", Value::from(format!("{now:.6}"))), ("level", level.as_str().into())];
    first.extend(line.fields.remove("event_name").map(|name| ("event_name", name)));
    first.push(("message", line.message.into()));
    for (index, (name, value)) in first.iter().enumerate() {
        let before = if index == 0 { '{' } else { ',' };
        write!(writer, "{before}\"{name}\":{value}")?;
        line.fields.remove(*name);
    }
    for (name, value) in line.fields {
        write!(writer, ",{}:{value}", Value::from(name))?;
    }
    writeln!(writer, "}}")
}

impl Format {
    /// `TIME LEVEL event_name worker gen N pid P: message name=value`
    fn write_pretty(
        &self,
        mut w: Writer<'_>,
        now: jiff::Timestamp,
        level: Level,
        line: &Line,
    ) -> fmt::Result {
        let (dim, strong, reset) =
            if self.colour { ("\x1b[2m", colour(level), "\x1b[0m") } else { ("", "", "") };
        let (subject, message) = line.story();
        write!(w, "{dim}{now:.3}{reset} {strong}{level:>5}{reset} {strong}{subject}{reset}{message}")?;
        // A lifecycle line's message tells the story of its fields; where in a program a line comes from is for machines.
        let lifecycle = line.fields.contains_key("event_name");
        let told = |name: &str| lifecycle || name == "target" || SUBJECT.contains(&name);
        for (name, value) in line.fields.iter().filter(|(name, _)| !told(name)) {
            write!(w, " {dim}{}={reset}{}", visible(name), visible(&plain(value)))?;
        }
        writeln!(w)
    }
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
pub(super) mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// What is logged in that form while `act` runs.
    pub(in crate::log) fn logged(format: Format, act: impl FnOnce()) -> String {
        let written = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .event_format(format)
            .with_writer({
                let written = Arc::clone(&written);
                move || Shared(Arc::clone(&written))
            })
            .finish();
        tracing::subscriber::with_default(subscriber, act);
        let written = written.lock().unwrap();
        String::from_utf8(written.clone()).unwrap()
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    pub(in crate::log) fn pretty(act: impl FnOnce()) -> String {
        let line = logged(Format { pretty: true, colour: false }, act);
        line.split_once(' ').unwrap().1.to_owned()
    }

    pub(in crate::log) fn json(act: impl FnOnce()) -> Value {
        serde_json::from_str(&logged(Format::json(), act)).unwrap()
    }

    #[test]
    fn a_line_for_people_reads_as_a_sentence() {
        let line = pretty(|| tracing::warn!(event_name = "listening", address = "x", "at x"));
        assert_eq!(line, " WARN listening: at x\n");
        let line = pretty(|| tracing::info!(path = "/x", "saved"));
        assert_eq!(line, " INFO saved path=/x\n");
    }

    #[test]
    fn a_line_for_machines_is_a_flat_object() {
        let line = json(|| {
            tracing::info!(event_name = "listening", port = 7, merged = r#"{"a":[1],"port":8}"#, "at x");
        });
        assert_eq!(line["event_name"], "listening");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "at x");
        assert_eq!(line["port"], 7, "merged members replace nothing");
        assert_eq!(line["a"][0], 1);
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn hostile_text_cannot_break_a_line() {
        let hostile = "x\u{1b}[2J\n2026-11-22 ERROR forged";
        assert_eq!(pretty(|| tracing::info!(note = hostile, "{hostile}")).matches('\n').count(), 1);
        assert_eq!(
            logged(Format::json(), || tracing::info!(note = hostile, "{hostile}")).matches('\n').count(),
            1
        );
    }
}
