//! A process that has exited.

use crate::core::model::{PostMortem, Process, StopReason, StopRequest, WorkerSlotId};
use bulkhead_proto::wire::crash::Panic;

/// A process that has exited, taken out of its slot.
pub(in crate::core) struct ExitedProcess {
    pub(in crate::core) slot_id: WorkerSlotId,
    pub(in crate::core) process: Process,
}

impl ExitedProcess {
    /// Its panic: the one in shared memory is whole, the one that it reported by frame is cut.
    pub(in crate::core) fn panic<'a>(&'a self, post_mortem: &'a PostMortem) -> Option<&'a Panic> {
        post_mortem.panic.as_ref().or(self.process.panic.as_ref())
    }

    /// The request to stop that it followed, if it was not killed for another reason.
    pub(in crate::core) fn stop_request(&self) -> Option<StopRequest> {
        match self.process.stop()?.why {
            StopReason::Requested(request) => Some(request),
            StopReason::Killed { .. } => None,
        }
    }
}
