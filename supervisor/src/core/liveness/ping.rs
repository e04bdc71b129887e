//! Pings: the API shows its progress by answers from the threads that serve requests.

use crate::core::{
    model::{HangDetector, Pings, Progress, WorkerSlotId},
    transition::Transition,
};
use bulkhead_proto::wire::{cause::Cause, ids::Seq};

impl Pings {
    /// Records the answer to a ping that was sent.
    fn answered(&mut self, number: u64, accept_polls: u64) {
        self.answered = self.answered.max(number);
        if !self.backlog_pending || accept_polls > self.accept_polls {
            self.served = self.answered;
        }
        self.accept_polls = self.accept_polls.max(accept_polls);
    }

    /// The answered pings as progress.
    pub(in crate::core) const fn progress(&self) -> Progress {
        Progress { seq: Seq(self.answered), steps: 0, committed: Seq(self.served) }
    }
}

impl Transition<'_> {
    /// The API answered a ping.
    pub(in crate::core) fn on_pong(
        &mut self,
        slot_id: WorkerSlotId,
        number: u64,
        accept_polls: u64,
        busy: bool,
    ) {
        // A process that is stopping is not watched.
        let Some(process) = self.running_process(slot_id) else { return };
        if number > process.pings.sent {
            let detail = format!("answered ping {number}, which was not sent");
            return self.kill_for(slot_id, Cause::Protocol, &detail, true);
        }
        process.pings.answered(number, accept_polls);
        if !busy && process.pings.served == process.pings.answered && !process.is_hang_ordered() {
            process.hang_detector = HangDetector::Idle;
        }
    }
}
