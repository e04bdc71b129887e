//! The parts of the supervisor's log that the checks use.

use crate::records::{LogLine, Records};

/// The detail of a requested death starts with this prefix and the kind of the fault, followed by how the
/// process died.
const FAULT_DETAIL_PREFIX: &str = "fault ";

/// The start of the detail of a death by the shutdown.
const SHUTDOWN: &str = "the supervisor is stopping";

/// The details of a death by SIGKILL. The kernel executes this fault, so it can also hit a process that is still
/// starting.
pub(super) const SIGKILL_DETAILS: [&str; 2] = ["SIGKILL", "SIGKILL, before activation"];

/// A log line that reports a death.
#[derive(Clone, Copy, Debug)]
pub(super) struct Death<'a> {
    /// The index of the line in the log.
    pub index: usize,
    /// When the line was read.
    pub at: u64,
    pub worker: &'a str,
    pub generation: u64,
    pub cause: &'a str,
    pub detail: &'a str,
    pub seq: Option<u64>,
    /// The crash number.
    pub crash: u64,
    /// The death was part of the shutdown at the end of the run.
    pub stopped: bool,
}

/// A log line that reports a replay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replay {
    /// The index of the line in the log.
    pub index: usize,
    /// The seq of the quarantined event, and the one under which it was appended again.
    pub old: u64,
    pub new: u64,
}

impl LogLine {
    pub(super) fn text(&self, field: &str) -> &str {
        self.fields[field].as_str().unwrap_or_default()
    }

    pub(super) fn number(&self, field: &str) -> Option<u64> {
        self.fields[field].as_u64()
    }

    pub(super) fn is(&self, event: &str) -> bool {
        self.text("event_name") == event
    }

    pub(super) fn is_event_of(&self, event: &str, worker: &str) -> bool {
        self.is(event) && self.text("worker") == worker
    }
}

impl<'a> Death<'a> {
    /// The death was requested, so no event is charged.
    pub(super) fn is_requested(&self) -> bool {
        self.cause == "requested"
    }

    /// Killed by SIGKILL, from any sender.
    pub(super) fn is_kill(&self) -> bool {
        self.cause == "signal" && SIGKILL_DETAILS.contains(&self.detail)
    }

    /// The kind of the commanded fault and how the process died, if the death was commanded.
    pub(super) fn command(&self) -> Option<(&'a str, &'a str)> {
        self.detail.strip_prefix(FAULT_DETAIL_PREFIX).filter(|_| self.is_requested())?.split_once(": ")
    }
}

/// All replays, in the order of the log.
pub(super) fn replays(records: &Records) -> Vec<Replay> {
    let replay = |(index, line): (usize, &LogLine)| {
        line.is("event_replayed").then_some(())?;
        Some(Replay { index, old: line.number("seq")?, new: line.number("replayed_as")? })
    };
    records.log.iter().enumerate().filter_map(replay).collect()
}

/// All deaths, in the order of the log.
pub(super) fn deaths(records: &Records) -> Vec<Death<'_>> {
    let (mut deaths, mut stopping) = (Vec::new(), false);
    for (index, line) in records.log.iter().enumerate() {
        stopping |= line.is("supervisor_stopping");
        if line.is("worker_died") {
            let (cause, detail) = (line.text("cause"), line.text("detail"));
            deaths.push(Death {
                index,
                at: line.at,
                worker: line.text("worker"),
                generation: line.number("generation").unwrap_or_default(),
                cause,
                detail,
                seq: line.number("seq"),
                crash: line.number("crash").unwrap_or_default(),
                stopped: stopping && cause == "requested" && detail.starts_with(SHUTDOWN),
            });
        }
    }
    deaths
}
