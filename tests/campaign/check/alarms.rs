//! Lines of the log that must not be.

use super::Check;
use crate::records::{Records, Told};

/// Lines that tell of something that no kill of a worker excuses, whatever their level.
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

/// What an analysis says that panics as it was told to.
const ASKED_FOR: &str = ": injected fault: panic";

pub(super) fn check(records: &Records) -> Check {
    let mut check = Check::of("lines of the log without an alarm, or an error that is none of what was done");
    for told in &records.story {
        check.holds(is_harmless(told), || told.line.to_string());
    }
    check
}

/// Deaths are errors, too, and judged elsewhere; so is what leads to the one that was told to panic. Whatever else is an
/// error, the supervisor's or a worker's own, is one; so is a line that is no line of the log.
fn is_harmless(told: &Told) -> bool {
    let excused = || match told.text("stream") {
        "" => told.is("worker_died"),
        _ => told.text("worker") == "analytics" && told.text("message").ends_with(ASKED_FOR),
    };
    told.line.is_object()
        && !ALARMS.contains(&told.text("event_name"))
        && (told.text("level") != "ERROR" || excused())
}
