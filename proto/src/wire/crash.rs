//! Crash reports: one file `ID.json` per death, in a directory that only the supervisor writes.

use super::{
    cause::{Cause, Operation},
    ids::{CrashId, Generation, Seq},
    quarantine::EventView,
    record_store::{Order, Record, RecordStore},
    role::Role,
};
use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// The most reports that are kept. The oldest ones are removed.
pub const MAX_REPORTS: usize = 1_000;

/// The most lines of output in a report: the last ones.
pub const MAX_LINES: usize = 50;

/// The longest line of output in a report, in bytes.
pub const MAX_LINE: usize = 1 << 10;

/// The longest file, in bytes. JSON escapes can make a line or an event six times as long; the rest is reserve.
const MAX_FILE: u64 = 1 << 20;

/// One death. Unknown facts are absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The number of the report. Every death has one; numbers rise.
    pub id: CrashId,
    /// When the generation died: RFC 3339, UTC.
    pub at: String,
    /// The name of the worker.
    pub worker: String,
    /// The role of the worker.
    pub role: Role,
    /// The generation that died.
    pub generation: Generation,
    /// The pid of the process, if it was spawned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The time from spawn to death, in milliseconds.
    pub uptime_ms: u64,
    /// Why it died.
    pub cause: Cause,
    /// Details of the cause.
    pub detail: String,
    /// The panic that the worker reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub panic: Option<Panic>,
    /// The exit code, if the process exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that killed the process, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<FatalSignal>,
    /// The event in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// What the worker was doing with that event. Without a `seq`, it was committing several events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub during: Option<Operation>,
    /// That event as it was sent, if it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventView>,
    /// The id of the request that sent that event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// How often that event was tried, this death included. Absent if the death is not attributed to an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The number of attempts at which the event is quarantined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// What the supervisor decided.
    pub decision: String,
    /// The reason of the decision.
    pub why: String,
    /// What the process had used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// The last lines of output, at most [`MAX_LINES`]. Lists omit them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<OutputLine>,
    /// The number of lines of output that were dropped in the whole run because they came too fast.
    #[serde(default)]
    pub output_dropped: u64,
    /// What the threads of a hung process were doing before it was killed. Lists omit it.
    #[serde(default, rename = "living", skip_serializing_if = "Vec::is_empty")]
    pub thread_dump: Vec<String>,
    /// Where the process panicked or hung, the innermost frame first. Lists omit it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<String>,
}

/// A panic, as the worker reported it. Each user of the texts bounds them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Panic {
    /// The message; in a report, cut to 1 KiB.
    pub message: String,
    /// `file:line:column`.
    pub location: String,
    /// The name of the thread.
    pub thread: String,
}

/// The signal that killed a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FatalSignal {
    /// The number of the signal.
    pub number: i32,
    /// Its name in signal(7), if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Why the kernel sent it (`si_code` of sigaction(2)), if the worker's handler recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The address of the failed access, in hexadecimal, if the worker's handler recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Whether a core was dumped.
    pub core: bool,
}

/// What a process had used when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// The peak of resident memory. Not less than the supervisor's own at the fork: the kernel counts from the fork on.
    pub peak_rss_bytes: u64,
    /// CPU time in user mode, in milliseconds.
    pub user_ms: u64,
    /// CPU time in the kernel, in milliseconds.
    pub system_ms: u64,
}

/// A line of output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputLine {
    /// `stdout` or `stderr`.
    pub stream: String,
    /// The line, cut to [`MAX_LINE`], with control characters escaped.
    pub text: String,
}

impl Record for Report {
    type Number = CrashId;
    const MAX_FILE: u64 = MAX_FILE;
    const ORDER: Order = Order::NewestFirst;

    fn number(&self) -> CrashId {
        self.id
    }

    /// Without output, thread dump and backtrace.
    fn summary(self) -> Self {
        Self { output: Vec::new(), thread_dump: Vec::new(), backtrace: Vec::new(), ..self }
    }
}

/// Which reports a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Only reports of this worker.
    pub worker: Option<String>,
    /// Only reports of this cause.
    pub cause: Option<Cause>,
}

impl Filter {
    /// Whether the list shows this report.
    #[must_use]
    pub fn matches(&self, report: &Report) -> bool {
        self.worker.as_ref().is_none_or(|worker| *worker == report.worker)
            && self.cause.is_none_or(|cause| cause == report.cause)
    }
}

/// The directory of the reports, for reading.
pub type ReportStore = RecordStore<Report>;
