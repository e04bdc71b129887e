//! No line of the log may report a problem that the campaign did not cause.

use super::Check;
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

/// The end of the message of an analysis that executes a commanded panic.
const COMMANDED_PANIC: &str = ": injected fault: panic";

pub(super) fn check(records: &Records) -> Check {
    let mut check = Check::of("log lines that are neither an alarm nor an unexplained error");
    for line in &records.log {
        check.expect(is_harmless(line), || line.fields.to_string());
    }
    check
}

/// A line is harmless unless it is an alarm, an error without a known reason, or not a JSON object. Deaths
/// are logged as errors and are checked elsewhere. A commanded panic of the analysis is a known reason.
fn is_harmless(line: &LogLine) -> bool {
    let excused = || match line.text("stream") {
        "" => line.is("worker_died"),
        _ => line.text("worker") == "analytics" && line.text("message").ends_with(COMMANDED_PANIC),
    };
    line.fields.is_object()
        && !ALARMS.contains(&line.text("event_name"))
        && (line.text("level") != "ERROR" || excused())
}
