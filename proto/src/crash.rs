//! Crash reports, as files: one `ID.json` each in a folder that the supervisor alone writes. Every death has one.

use crate::{
    folder::{self, Numbered, Order},
    ids::{CrashId, Generation, Seq},
    quarantine::Shown,
    words::{Cause, During, Role},
};
use serde::{Deserialize, Serialize};

/// The most reports that are kept: the newest.
pub const MAX_REPORTS: usize = 1_000;

/// So many of the last lines of a worker's output are part of its report.
pub const MAX_LINES: usize = 50;

/// The longest of those lines, in bytes.
pub const MAX_LINE: usize = 1 << 10;

/// The longest file, in bytes: a line may take six times its length, an event likewise, and there is room to spare.
const MAX_FILE: u64 = 1 << 20;

/// One death, with all that is known of it. What is not known is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Its number: rising, one for every death.
    pub id: CrashId,
    /// When: RFC 3339, UTC.
    pub at: String,
    /// The worker.
    pub worker: String,
    /// What that is for.
    pub role: Role,
    /// Which generation of it.
    pub generation: Generation,
    /// Its process, if there ever was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Since its spawn.
    pub uptime_ms: u64,
    /// Why it died.
    pub cause: Cause,
    /// More of why.
    pub detail: String,
    /// The panic that it told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub panic: Option<Panic>,
    /// Its exit code, if it left with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<Signal>,
    /// The event in hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// What it was doing with that event; without a `seq`, it was committing several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub during: Option<During>,
    /// That event as it was sent, if it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Shown>,
    /// The request that brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// So often was the event tried, this death included; absent when it is not charged with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// At so many it is set aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// What was decided.
    pub decision: String,
    /// Why that was decided.
    pub why: String,
    /// What it had used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Its last lines, at most [`MAX_LINES`]. Lists leave them out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<Line>,
    /// So many lines of its output came too fast, in all its life, and were dropped.
    #[serde(default)]
    pub output_dropped: u64,
    /// What its threads did while it still lived, of one that hung. Lists leave it out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub living: Vec<String>,
    /// Where it panicked or hung, the innermost frame first. Lists leave it out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<String>,
}

/// A panic, as the worker told it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Panic {
    /// Its message, cut to 1 KiB.
    pub message: String,
    /// `file:line:column`.
    pub location: String,
    /// The thread's name.
    pub thread: String,
}

/// The signal that ended a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// Its number.
    pub number: i32,
    /// Its name in signal(7), if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Why the kernel sent it (`si_code` of sigaction(2)), if the worker could note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The address that was accessed in vain, in hexadecimal, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Whether a core was dumped.
    pub core: bool,
}

/// What a process had used when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// The most memory that it had resident. Not less than what the supervisor had when it started it: the kernel counts
    /// from the fork on.
    pub peak_rss_bytes: u64,
    /// CPU time in user mode.
    pub user_ms: u64,
    /// CPU time in the kernel.
    pub system_ms: u64,
}

/// A line that it wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// `stdout` or `stderr`.
    pub stream: String,
    /// The line, cut to [`MAX_LINE`], control characters shown as escapes.
    pub text: String,
}

impl Numbered for Report {
    type Number = CrashId;
    const MAX_FILE: u64 = MAX_FILE;
    const ORDER: Order = Order::NewestFirst;

    fn number(&self) -> CrashId {
        self.id
    }

    /// Without output, threads and backtrace.
    fn brief(self) -> Self {
        Self { output: Vec::new(), living: Vec::new(), backtrace: Vec::new(), ..self }
    }
}

/// The folder, for reading.
pub type Folder = folder::Folder<Report>;
