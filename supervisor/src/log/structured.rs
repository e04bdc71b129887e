//! Lines of JSON loggers: which member is the level, and which the message.

use serde_json::{Map, Value};
use tracing::Level;

/// Members that hold the level: most loggers; Google Cloud and Stackdriver formats; the Elastic Common Schema.
const LEVEL_KEYS: [&str; 3] = ["level", "severity", "log.level"];

/// Members that hold the message.
const MESSAGE_KEYS: [&str; 2] = ["message", "msg"];

/// Prefixes of event names that only the supervisor may use.
const RESERVED_PREFIXES: [&str; 12] = [
    "worker_",
    "supervisor_",
    "event_",
    "crash_",
    "quarantine_",
    "disk_",
    "marks_",
    "seq_",
    "reload",
    "listening",
    "state_saved",
    "state_restored",
];

/// Parses a JSON object with a level: returns level, message and the other members, which become fields of the log
/// line (see [`super::line::MERGED_FIELD`]). Removes an `event_name` that is reserved for the supervisor.
pub(super) fn parse_structured(text: &str) -> Option<(Level, String, Map<String, Value>)> {
    if !text.starts_with('{') {
        return None;
    }
    let mut object: Map<String, Value> = serde_json::from_str(text).ok()?;
    let (key, value) = LEVEL_KEYS.iter().find_map(|key| Some((*key, object.get(*key)?)))?;
    // Without a message, a number named `level` may be anything.
    let level = match value {
        Value::String(name) => named_level(name)?,
        Value::Number(number) if MESSAGE_KEYS.iter().any(|key| object.contains_key(*key)) => {
            numbered_level(number.as_u64()?)?
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    object.remove(key);
    if let Some(Value::Object(fields)) = object.remove("fields") {
        object.extend(fields);
    }
    let message_key = MESSAGE_KEYS.into_iter().find(|key| object.get(*key).is_some_and(Value::is_string));
    let message = message_key.and_then(|key| object.remove(key));
    let message = message.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
    // The supervisor sets these itself: the origin, and the time at which the line arrived.
    for reserved in ["timestamp", "message", "level", "worker", "generation", "pid", "stream"] {
        object.remove(reserved);
    }
    let is_reserved = |name: &str| RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if object.get("event_name").and_then(Value::as_str).is_none_or(is_reserved) {
        object.remove("event_name");
    }
    Some((level, message, object))
}

/// The names of log4j, Python, syslog and Google Cloud, in any case.
fn named_level(name: &str) -> Option<Level> {
    Some(match name.to_ascii_lowercase().as_str() {
        "trace" => Level::TRACE,
        "debug" => Level::DEBUG,
        "info" | "information" | "notice" | "default" => Level::INFO,
        "warn" | "warning" => Level::WARN,
        "error" | "err" | "fatal" | "critical" | "crit" | "panic" | "dpanic" | "alert" | "emergency"
        | "emerg" => Level::ERROR,
        _ => return None,
    })
}

/// The numbers of pino and bunyan: 10 is trace, 60 is fatal.
const fn numbered_level(number: u64) -> Option<Level> {
    Some(match number {
        0..10 => return None,
        10..20 => Level::TRACE,
        20..30 => Level::DEBUG,
        30..40 => Level::INFO,
        40..50 => Level::WARN,
        50.. => Level::ERROR,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_usual_loggers_have_their_level_and_message() {
        for (text, level) in [
            (r#"{"level":50,"time":1,"pid":7,"hostname":"h","msg":"m"}"#, Level::ERROR),
            (r#"{"level":20,"msg":"m"}"#, Level::DEBUG),
            (r#"{"level":"warning","msg":"m"}"#, Level::WARN),
            (r#"{"level":"FATAL","message":"m"}"#, Level::ERROR),
            (r#"{"severity":"ERROR","message":"m"}"#, Level::ERROR),
            (r#"{"severity":"DEFAULT","message":"m"}"#, Level::INFO),
            (r#"{"log.level":"Warn","message":"m"}"#, Level::WARN),
            (r#"{"level":"error","msg":"m"}"#, Level::ERROR),
            (r#"{"level":"TRACE","fields":{"message":"m"}}"#, Level::TRACE),
        ] {
            let (found, message, fields) = parse_structured(text).unwrap();
            assert_eq!((found, message.as_str()), (level, "m"), "{text}");
            assert!(!fields.contains_key("level") && !fields.contains_key("pid"), "{fields:?}");
        }
    }

    #[test]
    fn other_objects_are_text() {
        for text in [
            "{}",
            r#"{"message":"m"}"#,
            r#"{"level":"high","message":"m"}"#,
            r#"{"level":40,"tank":"a"}"#,
            r#"{"level":3,"message":"m"}"#,
            r#"{"level":true,"message":"m"}"#,
            r#"{"level":-50,"message":"m"}"#,
            r#"["level"]"#,
        ] {
            assert_eq!(parse_structured(text), None, "{text}");
        }
    }

    #[test]
    fn a_second_message_is_a_field() {
        let (_, message, fields) = parse_structured(r#"{"level":"info","message":"a","msg":"b"}"#).unwrap();
        assert_eq!((message.as_str(), &fields["msg"]), ("a", &"b".into()));
    }
}
