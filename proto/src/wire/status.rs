//! The status that the supervisor publishes on the status page, which the API maps read-only.

use super::{
    cause::Cause,
    ids::{CrashId, Generation, Seq},
    role::Role,
    time,
    vocabulary::vocabulary,
};
use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};
use std::fs;

vocabulary! {
    /// The state of a worker, as operators see it.
    WorkerState("worker state") {
        /// Spawned, not ready yet.
        Starting = "starting",
        /// Ready and idle; the supervisor has not activated it.
        Standby = "standby",
        /// Activated.
        Running = "running",
        /// Asked to exit.
        Stopping = "stopping",
        /// Dead; the supervisor starts it again after a delay.
        Backoff = "backoff",
        /// Died too often without progress; the supervisor retries it at long intervals.
        Parked = "parked",
        /// Stopped on purpose.
        Stopped = "stopped",
    }
}

/// The status of the service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Status {
    /// The supervisor's pid.
    pub pid: u32,
    /// When the supervisor started, in Unix milliseconds.
    pub started_ms: u64,
    /// Whether faults are enabled.
    pub faults: bool,
    /// One row per worker. A standby has a row of its own, and so has a successor that starts beside its predecessor.
    pub workers: Vec<WorkerRow>,
}

/// One worker or one standby.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct WorkerRow {
    /// The worker's name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Its state.
    pub state: WorkerState,
    /// The generation that is alive, or the last one.
    pub generation: Generation,
    /// The pid of the process, if one is alive.
    pub pid: Option<u32>,
    /// The number of starts after the first one.
    pub restarts: u64,
    /// When this generation was started, in Unix milliseconds.
    pub started_ms: u64,
    /// The last death that was no orderly stop.
    pub last_crash: Option<CrashRow>,
    /// Why the brake parked the worker; `None` unless it did.
    pub brake: Option<String>,
    /// The series that are isolated: their events go to quarantine.
    pub isolated: Vec<String>,
}

/// One worker or one standby, as operators see it in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// The worker's name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Its state.
    pub state: WorkerState,
    /// The generation that is alive, or the last one.
    pub generation: Generation,
    /// The pid of the process, if one is alive.
    pub pid: Option<u32>,
    /// The number of starts after the first one.
    pub restarts: u64,
    /// The age of the process in milliseconds, if one is alive.
    pub uptime_ms: Option<u64>,
    /// The resident memory of the process in bytes, if it could be read.
    pub rss_bytes: Option<u64>,
    /// The last death that was no orderly stop.
    pub last_crash: Option<CrashRow>,
    /// Why the brake parked the worker; `None` unless it did.
    pub brake: Option<String>,
    /// The series that are isolated: their events go to quarantine.
    pub isolated: Vec<String>,
}

impl WorkerRow {
    /// The row at this time, in Unix milliseconds, with the memory that the process has now.
    #[must_use]
    pub fn status(self, now_ms: u64) -> WorkerStatus {
        WorkerStatus {
            name: self.name,
            role: self.role,
            state: self.state,
            generation: self.generation,
            pid: self.pid,
            restarts: self.restarts,
            uptime_ms: self.pid.map(|_| now_ms.saturating_sub(self.started_ms)),
            rss_bytes: self.pid.and_then(rss_bytes),
            last_crash: self.last_crash,
            brake: self.brake,
            isolated: self.isolated,
        }
    }
}

/// The summary of one death, as operators see it in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct CrashRow {
    /// The number of the crash report.
    pub id: CrashId,
    /// Why the generation died.
    pub cause: Cause,
    /// Details of the cause: a panic message with its location, the name of a signal, an exit code.
    pub detail: String,
    /// The event in flight, if there was one.
    pub seq: Option<Seq>,
    /// When the generation died, in Unix milliseconds; RFC 3339 in JSON.
    #[serde(rename = "at", with = "time")]
    pub at_ms: u64,
}

/// The resident memory of a process, from proc_pid_statm(5); `None` if the process has ended.
#[must_use]
pub fn rss_bytes(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_has_memory_and_an_absent_one_has_none() {
        assert!(rss_bytes(std::process::id()).is_some_and(|bytes| bytes > 0));
        assert_eq!(rss_bytes(u32::MAX), None);
    }
}
