//! What the heart knows of a death: the shell adds what it alone has seen, and stores both as a crash report.

use super::{Exit, Next, Panic, PostMortem, Who, suspects::Blame};
use bulkhead_proto::{
    shm::cursor::SignalInfo,
    wire::{
        cause::{Cause, Operation},
        ids::{CrashId, Seq},
        role::Role,
    },
};
use std::time::Duration;

/// One death. Every `worker_died` has these facts, under the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Which one; the pid is missing if there never was a process.
    pub who: Who,
    /// What its worker is for.
    pub role: Role,
    /// The number of its report.
    pub crash: CrashId,
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// Since its spawn.
    pub lived: Duration,
    /// Why.
    pub cause: Cause,
    /// More of why.
    pub detail: String,
    /// The panic that it told of.
    pub panic: Option<Panic>,
    /// The signal of a fault, as its handler noted it.
    pub signalled: Option<SignalInfo>,
    /// How it ended; none if there never was a process.
    pub exit: Option<Exit>,
    /// The event in hand, or that of a commit of one.
    pub seq: Option<Seq>,
    /// What it was doing with it, or with those of a commit.
    pub during: Option<Operation>,
    /// The event was tried so many times, of so many; none if it is not charged.
    pub attempts: Option<(u32, u32)>,
    /// What was decided.
    pub next: Next,
    /// Why that was decided: one sentence.
    pub why: String,
}

/// What one was doing when it died, as far as that can be told.
pub(super) fn during(seen: &PostMortem) -> Option<Operation> {
    match (seen.in_hand, seen.committing) {
        (Some(_), _) if seen.loading => Some(Operation::Load),
        (Some(_), _) => Some(Operation::Apply),
        (None, Some(_)) => Some(Operation::Commit),
        (None, None) => None,
    }
}

impl Blame {
    /// What comes of it, for people.
    pub(super) fn text(&self) -> String {
        let Self { seq, tried, most, charge, .. } = self;
        let then = if charge.is_some() { "to be set aside" } else { "to be tried again" };
        // Once more than enough behind one that could not be stored.
        let tried = if tried > most {
            format!("{tried} times ({most} are enough)")
        } else {
            format!("{tried} of {most} times")
        };
        format!("event {seq} was tried {tried}: {then}")
    }
}
