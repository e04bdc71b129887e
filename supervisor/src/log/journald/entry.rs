//! Encodes a log line as a journal entry.

use crate::log::line::{LogLine, unquoted};
use tracing::Level;

/// The identifier by which `journalctl -t` selects our entries.
const IDENTIFIER: &str = "bulkhead";

/// Longest field name that the journal accepts, in bytes.
const MAX_NAME: usize = 64;

/// Fields that only the supervisor sets, with their names in the journal. No other field may become one of them.
const RESERVED: &[(&str, &str)] = &[
    ("event_name", "EVENT"),
    ("worker", "WORKER"),
    ("generation", "GENERATION"),
    ("pid", "PID"),
    ("stream", "STREAM"),
];

/// Message ids of the events that the catalogue (`deploy/bulkhead.catalog`) explains; `journalctl -x` shows the
/// explanation. An id is never changed or reused.
const CATALOGUE: &[(&str, &str)] = &[
    ("worker_died", "38f1eb02026d4dfbb9c8d6b10d87e38a"),
    ("worker_parked", "9f60d97cb7144e04aa016dd2314ce3e9"),
    ("worker_braked", "5d0c3a1f6e7b4b0f9a64c1d2e8f7a913"),
    ("event_quarantined", "78cea10b97b74b1fad06f5b18e8a2cdb"),
    ("state_lost", "07670dc09bb84fb9ba9de3fe25475a27"),
];

/// Encodes a line in the journal's native protocol.
pub(in crate::log) fn encode(line: &LogLine) -> Vec<u8> {
    let (prefix, message) = line.render_message();
    let mut entry = JournalEntry::default();
    entry.put("MESSAGE", &format!("{prefix}{message}"));
    entry.put("PRIORITY", priority(line.level));
    entry.put("SYSLOG_IDENTIFIER", IDENTIFIER);
    if let Some(id) = message_id(line) {
        entry.put("MESSAGE_ID", id);
    }
    for (name, suffix) in RESERVED {
        if let Some(value) = line.text(name) {
            entry.put(&format!("BULKHEAD_{suffix}"), &value);
        }
    }
    for (name, value) in
        line.fields.iter().filter(|(name, _)| !RESERVED.iter().any(|(reserved, _)| reserved == name))
    {
        if let Some(name) = field_name(name) {
            entry.put(&name, &unquoted(value));
        }
    }
    entry.0
}

/// Priority as in syslog(3): `journalctl -p warning` shows only what went wrong.
const fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

fn message_id(line: &LogLine) -> Option<&'static str> {
    let event_name = line.text("event_name")?;
    // A requested death needs no explanation.
    let requested = line.text("cause").is_some_and(|cause| cause == "requested");
    let (_, id) = CATALOGUE.iter().find(|(name, _)| *name == event_name)?;
    (!requested).then_some(*id)
}

/// The journal's name of a field: upper case, with the prefix `BULKHEAD_`. `None` for a name that would imitate a
/// reserved field.
fn field_name(name: &str) -> Option<String> {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = name.chars().map(upper).take(MAX_NAME - "BULKHEAD_".len()).collect();
    let forged = RESERVED.iter().any(|(_, suffix)| *suffix == name);
    (!forged).then(|| format!("BULKHEAD_{name}"))
}

#[derive(Default)]
struct JournalEntry(Vec<u8>);

impl JournalEntry {
    fn put(&mut self, name: &str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            // A value with newlines is preceded by its length, so it cannot start another field.
            let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
            self.0.push(b'\n');
            self.0.extend_from_slice(&length.to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, Value, json};

    fn line(level: Level, message: &str, fields: Value) -> LogLine {
        let fields: Map<String, Value> = serde_json::from_value(fields).unwrap();
        LogLine { fields, ..LogLine::new(level, message.into()) }
    }

    fn text(line: &LogLine) -> String {
        String::from_utf8(encode(line)).unwrap()
    }

    #[test]
    fn a_death_has_its_fields_and_a_message_id() {
        let died = json!({ "event_name": "worker_died", "worker": "analytics", "generation": 3, "pid": 7,
            "cause": "panic", "seq": 4711, "crash": 9, "detail": "x", "next": "restart now" });
        let entry = text(&line(Level::ERROR, "analytics died: panic: x", died));
        let id = CATALOGUE[0].1;
        assert_eq!(
            entry,
            format!(
                "MESSAGE=worker_died: analytics died: panic: x\nPRIORITY=3\nSYSLOG_IDENTIFIER=bulkhead\n\
                 MESSAGE_ID={id}\nBULKHEAD_EVENT=worker_died\nBULKHEAD_WORKER=analytics\nBULKHEAD_GENERATION=3\n\
                 BULKHEAD_PID=7\nBULKHEAD_CAUSE=panic\nBULKHEAD_CRASH=9\nBULKHEAD_DETAIL=x\n\
                 BULKHEAD_NEXT=restart now\nBULKHEAD_SEQ=4711\n"
            )
        );
    }

    #[test]
    fn the_catalogue_explains_each_message_id() {
        let catalogue = include_str!("../../../../deploy/bulkhead.catalog");
        for (name, id) in CATALOGUE {
            assert!(catalogue.contains(&format!("\n-- {id}\nSubject: ")), "{name}");
        }
    }

    #[test]
    fn a_requested_death_has_no_message_id() {
        let died = json!({ "event_name": "worker_died", "cause": "requested" });
        assert!(!text(&line(Level::INFO, "", died)).contains("MESSAGE_ID"));
    }

    #[test]
    fn a_value_cannot_start_another_field() {
        let entry =
            encode(&line(Level::INFO, "a\nPRIORITY=0", json!({ "note": "b\nBULKHEAD_EVENT=worker_died" })));
        let note = b"BULKHEAD_NOTE\n\x1c\0\0\0\0\0\0\0b\nBULKHEAD_EVENT=worker_died\n";
        assert!(entry.starts_with(b"MESSAGE=a\\nPRIORITY=0\nPRIORITY=6\n"));
        assert!(entry.ends_with(note));
    }

    #[test]
    fn a_worker_cannot_forge_its_origin_in_another_spelling() {
        let entry = text(&line(
            Level::INFO,
            "x",
            json!({ "worker": "api", "WORKER": "analytics", "Event": "worker_died" }),
        ));
        assert!(entry.contains("BULKHEAD_WORKER=api\n"));
        assert!(!entry.contains("analytics") && !entry.contains("BULKHEAD_EVENT"), "{entry}");
    }

    #[test]
    fn every_field_name_is_valid_in_the_journal() {
        let entry = text(&line(Level::INFO, "x", json!({ "http.request-id": 1, "ü".repeat(99): 2 })));
        assert!(entry.contains("\nBULKHEAD_HTTP_REQUEST_ID=1\n"));
        assert!(entry.lines().all(|line| line.split('=').next().is_some_and(|name| name.len() <= MAX_NAME)));
    }
}
