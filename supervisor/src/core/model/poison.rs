//! Events that the analysis may have died of.

use super::GenerationRef;
use bincode::{Decode, Encode};
use bulkhead_proto::{
    ids::{CrashId, Seq},
    words::{Cause, During},
};

/// SIGKILL comes from outside as a rule, and says little about the event in hand: so many of them set it aside, if
/// `max_attempts` is not more. Fewer than park a worker by default, and more than chance, or an operator, brings together.
pub const MAX_KILLS: u32 = 8;

/// What an analysis is suspected to die of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct PoisonTracker {
    /// Events beyond the last commit, at most [`MAX_CARE`].
    pub suspects: Vec<SuspectEvent>,
    /// A commit of several events was died of: one at a time up to here.
    pub single_commit_until: Seq,
}

/// One event under suspicion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SuspectEvent {
    /// Which one.
    pub seq: Seq,
    /// So many generations died of it.
    pub attempts: u32,
    /// So many more were killed with it in hand: see [`MAX_KILLS`].
    pub kills: u32,
    /// What became of it.
    pub state: SuspectState,
}

/// What becomes of a suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum SuspectState {
    /// It is tried again.
    Retrying,
    /// It is being stored. Nobody is activated meanwhile, who could only die of it again.
    Storing,
    /// It is stored, and skipped from here on.
    Stored,
}

/// What is stored with an event that is set aside: the last death that it was charged with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineRequest {
    /// Which generation died.
    pub who: GenerationRef,
    /// The event.
    pub seq: Seq,
    /// Generations that died of it, or were killed with it in hand, this one included.
    pub attempts: u32,
    /// What that one was doing with it.
    pub during: During,
    /// The number of its crash report.
    pub crash: CrashId,
    /// Why it died.
    pub cause: Cause,
    /// More of why.
    pub detail: String,
}
