//! A process that has exited.

use crate::core::model::{Millis, PostMortem, Process, StopReason, StopStage, WorkerSlotId};
use bulkhead_proto::wire::crash::Panic;

/// A process that has exited, taken out of its slot.
pub(in crate::core) struct ExitedProcess {
    pub(in crate::core) slot_id: WorkerSlotId,
    pub(in crate::core) process: Process,
    /// The reason, stage and start of its stop, if it was stopping.
    pub(in crate::core) stopping: Option<(StopReason, StopStage, Millis)>,
}

impl ExitedProcess {
    /// Its panic: the one in shared memory is whole, the one that it reported by frame is cut.
    pub(in crate::core) fn panic<'a>(&'a self, post_mortem: &'a PostMortem) -> Option<&'a Panic> {
        post_mortem.panic.as_ref().or(self.process.panic.as_ref())
    }
}
