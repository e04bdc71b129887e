//! The queue of removals.

use crate::runtime::{blocking_task::BlockingTask, control_plane::ReplyTo};
use bulkhead_proto::wire::{
    control::RequestOutcome,
    ids::{Generation, Seq},
};
use std::collections::VecDeque;

/// What is to be removed, and who waits for it.
#[derive(Debug)]
pub(in crate::runtime) struct Removal {
    pub(in crate::runtime) seq: Seq,
    /// The seq under which the event was appended again, if it was replayed.
    pub(in crate::runtime) replayed_as: Option<Seq>,
    /// The worker that requested it, and the number of its request.
    pub(in crate::runtime) requester: Option<(Generation, u64)>,
    pub(in crate::runtime) operators: Vec<ReplyTo>,
}

/// The queued removals; the first one is in progress.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Removals {
    pub(super) queue: VecDeque<Removal>,
    pub(super) task: Option<BlockingTask<RequestOutcome>>,
}

impl Removals {
    /// The result of the removal in progress; waits forever if there is none.
    pub(in crate::runtime) async fn end(&mut self) -> RequestOutcome {
        BlockingTask::end(&mut self.task).await
    }
}
