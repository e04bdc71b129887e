//! No line of the log may report a problem that the campaign did not cause.

use super::{Check, deploy_log::Deploys};
use crate::records::{LogLine, Records};

/// Event names that no kill of a worker explains, whatever their level.
const ALARMS: [&str; 8] = [
    "worker_parked",
    "worker_given_up",
    "quarantine_failed",
    "crash_report_failed",
    "state_lost",
    "state_repaired",
    "seq_gap",
    "marks_failed",
];

/// Event names of errors that a bad deploy causes, with its generations.
const JUDGEMENTS: [&str; 2] = ["worker_braked", "series_isolated"];

/// The end of the message of an analysis that executes a commanded panic.
const COMMANDED_PANIC: &str = ": injected fault: panic";

pub(super) fn check(records: &Records, deploys: &Deploys<'_>) -> Check {
    let mut check = Check::of("log lines that are neither an alarm nor an unexplained error");
    for line in &records.log {
        check.expect(is_harmless(line, deploys), || line.fields.to_string());
    }
    check
}

/// A line is harmless unless it is an alarm, an error without a known reason, or not a JSON object. Deaths
/// are logged as errors and are checked elsewhere. A commanded panic of the analysis is a known reason, and so is a wrong
/// program.
fn is_harmless(line: &LogLine, deploys: &Deploys<'_>) -> bool {
    let wrong = || deploys.of_line(line);
    let excused = || match line.text("stream") {
        "" if JUDGEMENTS.contains(&line.text("event_name")) => wrong().is_some(),
        "" => line.is("worker_died"),
        _ if line.text("worker") != "analytics" => false,
        _ => {
            let message = line.text("message");
            message.ends_with(COMMANDED_PANIC) || wrong().is_some_and(|wrong| wrong.prints(message))
        }
    };
    line.fields.is_object()
        && !ALARMS.contains(&line.text("event_name"))
        && (line.text("level") != "ERROR" || excused())
}
