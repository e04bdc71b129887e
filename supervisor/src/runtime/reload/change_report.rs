//! The result of each change, for the log and for the client.

use crate::{
    config::{ListenAddr, SettingChange, WorkerChange},
    control::protocol::{ChangeOutcome, ChangeResult, CommandOutcome, Reply},
    core::{DesiredState, Worker},
    log::{self, event_at},
};
use tracing::Level;

/// A setting that needs no new process. `log_result` is the result of changing the log, and `inherited` the address of
/// the socket from systemd, if there is one.
pub(in crate::runtime) fn setting(
    change: SettingChange,
    log_result: &Result<(), String>,
    inherited: Option<&ListenAddr>,
) -> ChangeResult {
    let SettingChange { key, from, to, live } = change;
    let (how, text) = match (log_result, inherited) {
        (_, Some(address)) if key == "api.listen" => {
            let why = format!("not used: the API listens on {address}, the socket from systemd (file: {to})");
            (ChangeOutcome::NextStart, format!("{key}: {why}"))
        }
        _ if !live => {
            let when = format!("takes effect at the next start of the service (running: {from}, file: {to})");
            (ChangeOutcome::NextStart, format!("{key}: {when}"))
        }
        (Err(why), _) if key.starts_with("log.") => {
            (ChangeOutcome::Failed, format!("{key}: not changed: {why}"))
        }
        (Ok(()) | Err(_), _) => {
            let note = match key.as_str() {
                "log.level" if log::is_overridden() => ", but RUST_LOG overrides it",
                "log.level" => "; the API and the analysis follow at their next start",
                _ => "",
            };
            (ChangeOutcome::Live, format!("{key}: changed from {from} to {to}{note}"))
        }
    };
    ChangeResult { what: key, how, text }
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
        let level = match how {
            ChangeOutcome::Failed => Level::ERROR,
            ChangeOutcome::NextStart => Level::WARN,
            ChangeOutcome::Live
            | ChangeOutcome::Replaced
            | ChangeOutcome::WhenStarted
            | ChangeOutcome::Added
            | ChangeOutcome::Removed => Level::INFO,
        };
        event_at!(level, event_name = "reloaded", what, how = how.as_str(), "{text}");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_address_is_reported_as_unused_if_systemd_has_the_socket() {
        let change = SettingChange {
            key: "api.listen".into(),
            from: "127.0.0.1:8080".into(),
            to: "127.0.0.1:9090".into(),
            live: false,
        };
        let address = ListenAddr::DEFAULT;
        let text = |inherited| setting(change.clone(), &Ok(()), inherited).text;
        assert!(text(None).contains("takes effect at the next start"), "{}", text(None));
        let unused = text(Some(&address));
        assert!(unused.contains("not used: the API listens on 127.0.0.1:8080"), "{unused}");
    }
}
