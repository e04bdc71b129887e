//! What the core knows of a death. The runtime adds the exit artifacts and stores both as a crash report.

use super::{ExitStatus, GenerationRef, Panic, RestartDecision};
use bulkhead_proto::{
    shm::cursor::SignalInfo,
    wire::{
        cause::{Cause, Operation},
        ids::{CrashId, Seq},
        role::Role,
    },
};
use std::time::Duration;

/// One death. Each `worker_died` log line has exactly one record, with the same crash number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeathRecord {
    /// The generation that died. The pid is absent if no process was ever spawned.
    pub subject: GenerationRef,
    /// Role of its worker.
    pub role: Role,
    /// Number of its crash report.
    pub crash: CrashId,
    /// Time of death, Unix milliseconds.
    pub at_ms: u64,
    /// Time from spawn to death.
    pub uptime: Duration,
    /// The cause.
    pub cause: Cause,
    /// Details of the cause.
    pub detail: String,
    /// The panic that it reported.
    pub panic: Option<Panic>,
    /// The fatal signal, as recorded by its signal handler.
    pub signalled: Option<SignalInfo>,
    /// Exit status; `None` if no process was ever spawned.
    pub exit: Option<ExitStatus>,
    /// The event in flight, or the only event of a commit.
    pub seq: Option<Seq>,
    /// What the process was doing with that event, or with the events of a commit.
    pub during: Option<Operation>,
    /// Attempts so far and the limit; `None` if the death is not attributed to an event.
    pub attempts: Option<(u32, u32)>,
    /// What happens to the worker next.
    pub next: RestartDecision,
    /// Why, in one sentence.
    pub why: String,
}
