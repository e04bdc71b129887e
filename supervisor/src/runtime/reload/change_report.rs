//! The result of each change, for the log and for the client.

use crate::{
    config::{SettingChange, WorkerChange},
    control::protocol::{ChangeOutcome, ChangeResult, CommandOutcome, Reply},
    core::{DesiredState, Worker},
    log,
};

/// A setting that needs no new process. `log` is the result of changing the log.
pub(in crate::runtime) fn setting(setting: SettingChange, log: &Result<(), String>) -> ChangeResult {
    match (setting, log) {
        (SettingChange::Live { key, .. }, Err(why)) if key.starts_with("log.") => {
            ChangeResult { text: format!("{key}: not changed: {why}"), what: key, how: ChangeOutcome::Failed }
        }
        (SettingChange::Live { key, from, to }, _) => {
            let note = match key.as_str() {
                "log.level" if log::is_overridden() => ", but RUST_LOG overrides it",
                "log.level" => "; the API and the analysis follow at their next start",
                _ => "",
            };
            ChangeResult {
                text: format!("{key}: changed from {from} to {to}{note}"),
                what: key,
                how: ChangeOutcome::Live,
            }
        }
        (SettingChange::NextStart { key, running, file }, _) => ChangeResult {
            what: key.to_owned(),
            how: ChangeOutcome::NextStart,
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
) -> ChangeResult {
    let running = worker.and_then(Worker::running);
    let generation =
        running.map(|process| format!(", generation {}", process.generation)).unwrap_or_default();
    let done = answer.outcome == CommandOutcome::Done;
    let stopped = worker.is_some_and(|worker| worker.desired == DesiredState::Stopped);
    let (how, result) = match change {
        _ if !done => (ChangeOutcome::Failed, format!("failed: {}", answer.text)),
        WorkerChange::Replaced(_) if stopped => {
            (ChangeOutcome::WhenStarted, "takes effect at its next start (the worker is stopped)".to_owned())
        }
        WorkerChange::Replaced(_) => (ChangeOutcome::Replaced, format!("replaced{generation}")),
        WorkerChange::Added => (ChangeOutcome::Added, format!("started{generation}")),
        WorkerChange::Removed => (ChangeOutcome::Removed, "stopped".to_owned()),
    };
    let text = match change {
        WorkerChange::Replaced(keys) => format!("{name}: {} changed: {result}", keys.join(", ")),
        WorkerChange::Added => format!("worker {name} added: {result}"),
        WorkerChange::Removed => format!("worker {name} removed: {result}"),
    };
    ChangeResult { what: name.to_owned(), how, text }
}

/// Writes the changes to the log.
pub(in crate::runtime) fn log_changes(changes: &[ChangeResult]) {
    if changes.is_empty() {
        tracing::info!(event_name = "reloaded", "{NOTHING}");
    }
    for ChangeResult { what, how, text } in changes {
        let name = how.as_str();
        match how {
            ChangeOutcome::Failed => tracing::error!(event_name = "reloaded", what, how = name, "{text}"),
            ChangeOutcome::NextStart => tracing::warn!(event_name = "reloaded", what, how = name, "{text}"),
            ChangeOutcome::Live
            | ChangeOutcome::Replaced
            | ChangeOutcome::WhenStarted
            | ChangeOutcome::Added
            | ChangeOutcome::Removed => {
                tracing::info!(event_name = "reloaded", what, how = name, "{text}");
            }
        }
    }
}

/// Builds the reply to the client.
pub(in crate::runtime) fn reply(changes: Vec<ChangeResult>) -> Reply {
    let lines: Vec<_> = changes.iter().map(|change| change.text.as_str()).collect();
    let text = if lines.is_empty() { NOTHING.to_owned() } else { lines.join("\n") };
    Reply { changes: Some(changes), ..Reply::new(CommandOutcome::Done, text) }
}

/// The text if nothing changed.
const NOTHING: &str = "nothing changed";
