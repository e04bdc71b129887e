//! Events that may have killed the analysis.

use super::{Brake, GenerationRef};
use bincode::{Decode, Encode};
use bulkhead_proto::wire::{
    cause::{Cause, Operation},
    ids::{CrashId, Seq},
};

/// Number of SIGKILLs with one event in flight that quarantines it, if `max_attempts` is not larger. A
/// SIGKILL usually comes from outside and says little about the event. Eight are fewer than park a worker by
/// default, and more than chance or an operator causes. It is not a setting: `max_attempts` says how
/// many crashes an event is worth, not how often something outside kills the analysis.
pub const MAX_KILLS: u32 = 8;

/// The events that the analysis may have died of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct PoisonTracker {
    /// Events beyond the last commit; at most `MAX_HINTS`.
    pub suspects: Vec<SuspectEvent>,
    /// A death in a commit of several events was seen: up to this event, the analysis commits after each
    /// event.
    pub single_commit_until: Seq,
    /// Whether the events or the program are at fault.
    pub brake: Brake,
}

/// One event that the analysis may have died of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SuspectEvent {
    /// The event.
    pub seq: Seq,
    /// Number of generations that died of it.
    pub attempts: u32,
    /// Number of generations that were killed with it in flight: see [`MAX_KILLS`].
    pub kills: u32,
    /// What happens to it.
    pub state: SuspectState,
}

/// What happens to a suspect event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum SuspectState {
    /// It is tried again.
    Retrying,
    /// It is being stored. No generation is activated meanwhile: it could only die of the event again.
    Storing,
    /// It is stored, and will be skipped.
    Stored,
    /// The brake engaged: it is being removed from the quarantine again, and was not skipped. No generation is activated
    /// meanwhile.
    Releasing,
}

/// An event to be quarantined, with the last death that it is charged with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineRequest {
    /// The generation that died.
    pub subject: GenerationRef,
    /// The event.
    pub seq: Seq,
    /// Number of generations that died of it or were killed with it in flight, this one included.
    pub attempts: u32,
    /// What that generation was doing with it.
    pub during: Operation,
    /// Number of the crash report.
    pub crash: CrashId,
    /// The cause of the death.
    pub cause: Cause,
    /// Details of the cause.
    pub detail: String,
}
