//! Which frames a worker may send, and when.

use super::frames::FromWorker;
use crate::wire::role::Role;
use bincode::{Decode, Encode};

/// How far a generation has come, as the supervisor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Phase {
    /// Spawned; [`FromWorker::Hello`] is expected.
    Spawned,
    /// Sent [`FromWorker::Hello`]; [`FromWorker::Ready`] is expected.
    Greeted,
    /// Ready, not activated.
    Ready,
    /// Activated.
    Active,
    /// Asked to exit.
    Draining,
}

/// Whether a worker of this role may send this frame in this phase. The supervisor kills the sender of any other frame.
#[must_use]
pub fn allowed(role: Role, phase: Phase, frame: &FromWorker) -> bool {
    match frame {
        FromWorker::Hello { .. } => phase == Phase::Spawned,
        FromWorker::Ready => matches!(phase, Phase::Greeted | Phase::Draining),
        FromWorker::Panicked { .. } | FromWorker::Backtrace { .. } | FromWorker::Failed { .. } => true,
        FromWorker::TrialPassed | FromWorker::StoreIsolated { .. } | FromWorker::SeriesApplied(_) => {
            role == Role::Analytics && matches!(phase, Phase::Active | Phase::Draining)
        }
        FromWorker::Request { .. }
        | FromWorker::ReplayFailed { .. }
        | FromWorker::SeqMark(_)
        | FromWorker::Pong { .. }
        | FromWorker::Busy => role == Role::Api && matches!(phase, Phase::Active | Phase::Draining),
    }
}
