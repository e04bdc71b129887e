//! Everything that happens because time has passed. Deadlines and their handling are in one place, so that
//! each deadline that is reported is also handled.

use crate::core::{
    model::{
        GenerationState, LogRecord, Millis, Process, State, SupervisorPhase, WorkerSlot, WorkerSlotId,
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
    let start_due = |slot_id: WorkerSlotId| match state.phase {
        SupervisorPhase::Up => {
            state.slot(slot_id).and_then(GenerationState::due).filter(|_| state.may_start(slot_id))
        }
        SupervisorPhase::New
        | SupervisorPhase::Stopping(_)
        | SupervisorPhase::Saving { .. }
        | SupervisorPhase::Gone => None,
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
        match self.state.phase {
            SupervisorPhase::Saving { deadline } if deadline <= now => self.saving_timed_out(),
            SupervisorPhase::Saving { .. }
            | SupervisorPhase::New
            | SupervisorPhase::Up
            | SupervisorPhase::Stopping(_)
            | SupervisorPhase::Gone => {}
        }
    }

    fn expired(&mut self, slot_id: WorkerSlotId) {
        match self.state.slot(slot_id) {
            Some(GenerationState::Starting { deadline, .. }) => self.start_expired(slot_id, *deadline),
            Some(GenerationState::Stopping { .. }) => self.escalate(slot_id),
            Some(GenerationState::Running { .. }) => self.check_running(slot_id),
            Some(
                GenerationState::Stopped
                | GenerationState::Standby { .. }
                | GenerationState::Backoff { .. }
                | GenerationState::Parked { .. },
            )
            | None => {}
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
        match self.slot(slot_id)? {
            GenerationState::Starting { deadline, .. } => Some(*deadline),
            GenerationState::Stopping { deadline, .. } => *deadline,
            GenerationState::Running { process } => {
                [self.probation(slot_id, process), process.hang_detector.due()].into_iter().flatten().min()
            }
            GenerationState::Stopped
            | GenerationState::Standby { .. }
            | GenerationState::Backoff { .. }
            | GenerationState::Parked { .. } => None,
        }
    }
}

impl Transition<'_> {
    /// A probation has passed, or a probe is due.
    fn check_running(&mut self, slot_id: WorkerSlotId) {
        let now = self.now.mono;
        let Some(GenerationState::Running { process }) = self.state.slot(slot_id) else { return };
        let probation_passed =
            self.state.probation(slot_id, process).is_some_and(|probation| probation <= now);
        let probe_due = process.hang_detector.due().is_some_and(|due| due <= now);
        if probation_passed {
            let subject = self.generation_ref(slot_id.worker, process);
            self.worker_mut(slot_id.worker).restart_budget.clear();
            self.log(LogRecord::WorkerRecovered(subject));
        }
        if probe_due {
            self.probe(slot_id);
        }
    }
}

impl GenerationState {
    /// The time at which the next generation may be spawned in this slot.
    pub(in crate::core) const fn due(&self) -> Option<Millis> {
        match self {
            Self::Backoff { until } => Some(*until),
            Self::Parked { retry_at } => *retry_at,
            Self::Stopped
            | Self::Starting { .. }
            | Self::Standby { .. }
            | Self::Running { .. }
            | Self::Stopping { .. } => None,
        }
    }
}
