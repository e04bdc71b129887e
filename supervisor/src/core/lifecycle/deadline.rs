//! Everything that happens because time has passed. Deadlines and their handling are in one place, so that
//! each deadline that is reported is also handled.

use crate::core::{
    model::{
        LogRecord, Millis, Process, ProcessPhase, State, SupervisorPhase, WorkerSlot, WorkerSlotId,
        policy::HEALTHY_AFTER,
    },
    transition::Transition,
};

/// The time at which the runtime must send [`crate::core::Event::Tick`] at the latest; `None` if only an
/// event can change anything. A start that waits for room has no deadline: an event makes the room.
#[must_use]
pub fn next_deadline(state: &State) -> Option<Millis> {
    let phase_deadline = match state.phase {
        SupervisorPhase::New | SupervisorPhase::Gone => return None,
        SupervisorPhase::Up => state.plain_wait,
        SupervisorPhase::Stopping(_) => None,
        SupervisorPhase::Saving { deadline } => Some(deadline),
    };
    let start_due = |slot_id: WorkerSlotId| {
        let may_start = state.phase == SupervisorPhase::Up && state.may_start(slot_id);
        state.slot(slot_id).due().filter(|_| may_start)
    };
    state
        .slot_ids()
        .flat_map(|slot_id| [state.expiry(slot_id), start_due(slot_id)])
        .flatten()
        .chain(phase_deadline)
        .min()
}

impl Transition<'_> {
    /// Handles what is overdue, except starts. One stage for each transition: after a jump of the clock the
    /// next stage still gets its full time.
    pub(in crate::core) fn expire(&mut self) {
        // A second signal may have ended everything in this transition.
        if self.state.phase == SupervisorPhase::Gone {
            return;
        }
        let now = self.now.mono;
        for slot_id in self.state.slot_ids() {
            if self.state.expiry(slot_id).is_some_and(|expiry| expiry <= now) {
                self.expired(slot_id);
            }
        }
        if self.state.plain_wait.is_some_and(|until| until <= now) {
            self.state.plain_wait = None;
        }
        if let SupervisorPhase::Saving { deadline } = self.state.phase
            && deadline <= now
        {
            self.saving_timed_out();
        }
    }

    fn expired(&mut self, slot_id: WorkerSlotId) {
        match self.state.process(slot_id).map(|process| &process.phase) {
            Some(ProcessPhase::Starting { deadline }) => self.start_expired(slot_id, *deadline),
            Some(ProcessPhase::Stopping(_)) => self.escalate(slot_id),
            Some(ProcessPhase::Running) => self.check_running(slot_id),
            Some(ProcessPhase::Standby) | None => {}
        }
    }

    /// A probation has passed, or a probe is due.
    fn check_running(&mut self, slot_id: WorkerSlotId) {
        let Some(process) = self.state.process(slot_id) else { return };
        let is_over = |deadline: Option<Millis>| deadline.is_some_and(|deadline| deadline <= self.now.mono);
        let probation_passed = is_over(self.state.probation(slot_id, process));
        let probe_due = is_over(process.hang_detector.due());
        if probation_passed {
            self.worker_mut(slot_id.worker).restart_budget.clear();
            self.log_about(slot_id, LogRecord::WorkerRecovered);
        }
        if probe_due {
            self.probe(slot_id);
        }
    }
}

impl State {
    /// End of a retried worker's probation. A process that may be hanging does not pass it.
    fn probation(&self, slot_id: WorkerSlotId, process: &Process) -> Option<Millis> {
        let worker = &self.workers[usize::from(slot_id.worker.0)];
        let on_probation = slot_id.slot == WorkerSlot::Main && worker.restart_budget.on_probation;
        let may_pass = on_probation && process.hang_detector.is_healthy(worker.hang_timeout);
        process.activated.filter(|_| may_pass).map(|activated| activated.after(HEALTHY_AFTER))
    }

    /// The time at which the state of this slot ends, except for starts.
    fn expiry(&self, slot_id: WorkerSlotId) -> Option<Millis> {
        let process = self.process(slot_id)?;
        match &process.phase {
            ProcessPhase::Starting { deadline } => Some(*deadline),
            ProcessPhase::Standby => None,
            ProcessPhase::Running => {
                [self.probation(slot_id, process), process.hang_detector.due()].into_iter().flatten().min()
            }
            ProcessPhase::Stopping(stop) => stop.deadline,
        }
    }
}
