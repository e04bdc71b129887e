//! A process that has exited.

use crate::core::model::{Millis, Process, StopReason, StopStage, WorkerSlotId};

/// A process that has exited, taken out of its slot.
pub(in crate::core) struct ExitedProcess {
    pub(in crate::core) slot_id: WorkerSlotId,
    pub(in crate::core) process: Process,
    /// The reason, stage and start of its stop, if it was stopping.
    pub(in crate::core) stopping: Option<(StopReason, StopStage, Millis)>,
}
