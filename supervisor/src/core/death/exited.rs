//! A process that is gone.

use crate::core::model::{Millis, Process, StopReason, StopStage, WorkerSlotId};
/// A generation that is gone, taken out of its place.
pub(in crate::core) struct ExitedProcess {
    pub(in crate::core) slot_id: WorkerSlotId,
    pub(in crate::core) process: Process,
    /// Why, how far, since when it was leaving, if it was.
    pub(in crate::core) leaving: Option<(StopReason, StopStage, Millis)>,
}
