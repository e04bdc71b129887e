//! The result of each change, for the log and for the client.

use crate::{
    config::{Setting, WorkerChange},
    control::protocol::{Change, Ended, How, Reply},
    core::{DesiredState, Worker},
    log,
};

/// A setting that needs no new process. `log` is the result of changing the log.
pub(in crate::runtime) fn setting(setting: Setting, log: &Result<(), String>) -> Change {
    match (setting, log) {
        (Setting::Live { key, .. }, Err(why)) if key.starts_with("log.") => {
            Change { text: format!("{key}: not changed: {why}"), what: key, how: How::Failed }
        }
        (Setting::Live { key, from, to }, _) => {
            let but = match key.as_str() {
                "log.level" if log::is_overridden() => ", but RUST_LOG overrides it",
                "log.level" => "; the API and the analysis follow at their next start",
                _ => "",
            };
            Change { text: format!("{key}: changed from {from} to {to}{but}"), what: key, how: How::Live }
        }
        (Setting::Later { key, running, file }, _) => Change {
            what: key.to_owned(),
            how: How::NextStart,
            text: format!(
                "{key}: takes effect at the next start of the service (running: {running}, file: {file})"
            ),
        },
    }
}

/// A change of a worker, after the answer of the core. `worker` is its present state, if it still exists.
pub(in crate::runtime) fn worker_change(
    name: &str,
    change: &WorkerChange,
    worker: Option<&Worker>,
    answer: &Reply,
) -> Change {
    let running = worker.and_then(Worker::running);
    let generation =
        running.map(|process| format!(", generation {}", process.generation)).unwrap_or_default();
    let done = answer.outcome == Ended::Done;
    let idle = worker.is_some_and(|worker| worker.desired == DesiredState::Stopped);
    let (how, what_came) = match change {
        _ if !done => (How::Failed, format!("failed: {}", answer.text)),
        WorkerChange::Replaced(_) if idle => {
            (How::WhenStarted, "takes effect at its next start (the worker is stopped)".to_owned())
        }
        WorkerChange::Replaced(_) => (How::Replaced, format!("replaced{generation}")),
        WorkerChange::Added => (How::Added, format!("started{generation}")),
        WorkerChange::Removed => (How::Removed, "stopped".to_owned()),
    };
    let text = match change {
        WorkerChange::Replaced(keys) => format!("{name}: {} changed: {what_came}", keys.join(", ")),
        WorkerChange::Added => format!("worker {name} added: {what_came}"),
        WorkerChange::Removed => format!("worker {name} removed: {what_came}"),
    };
    Change { what: name.to_owned(), how, text }
}

/// Writes the changes to the log.
pub(in crate::runtime) fn log_changes(changes: &[Change]) {
    if changes.is_empty() {
        tracing::info!(event_name = "reloaded", "{NOTHING}");
    }
    for Change { what, how, text } in changes {
        let name = how.as_str();
        match how {
            How::Failed => tracing::error!(event_name = "reloaded", what, how = name, "{text}"),
            How::NextStart => tracing::warn!(event_name = "reloaded", what, how = name, "{text}"),
            How::Live | How::Replaced | How::WhenStarted | How::Added | How::Removed => {
                tracing::info!(event_name = "reloaded", what, how = name, "{text}");
            }
        }
    }
}

/// Builds the reply to the client.
pub(in crate::runtime) fn reply(changes: Vec<Change>) -> Reply {
    let lines: Vec<_> = changes.iter().map(|change| change.text.as_str()).collect();
    let text = if lines.is_empty() { NOTHING.to_owned() } else { lines.join("\n") };
    Reply { changes: Some(changes), ..Reply::new(Ended::Done, text) }
}

/// The text if nothing changed.
const NOTHING: &str = "nothing changed";
