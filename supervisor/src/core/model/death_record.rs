//! What the heart knows of a death: the shell adds what it alone has seen, and stores both as a crash report.

use super::{ExitStatus, GenerationRef, Panic, RestartDecision};
use bulkhead_proto::{
    cursor::Signalled,
    ids::{CrashId, Seq},
    words::{Cause, During, Role},
};
use std::time::Duration;

/// One death. Every `worker_died` has these facts, under the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeathRecord {
    /// Which one; the pid is missing if there never was a process.
    pub who: GenerationRef,
    /// What its worker is for.
    pub role: Role,
    /// The number of its report.
    pub crash: CrashId,
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// Since its spawn.
    pub uptime: Duration,
    /// Why.
    pub cause: Cause,
    /// More of why.
    pub detail: String,
    /// The panic that it told of.
    pub panic: Option<Panic>,
    /// The signal of a fault, as its handler noted it.
    pub signalled: Option<Signalled>,
    /// How it ended; none if there never was a process.
    pub exit: Option<ExitStatus>,
    /// The event in hand, or that of a commit of one.
    pub seq: Option<Seq>,
    /// What it was doing with it, or with those of a commit.
    pub during: Option<During>,
    /// The event was tried so many times, of so many; none if it is not charged.
    pub attempts: Option<(u32, u32)>,
    /// What was decided.
    pub next: RestartDecision,
    /// Why that was decided: one sentence.
    pub why: String,
}
