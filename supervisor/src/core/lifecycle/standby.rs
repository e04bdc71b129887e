//! The warm standby: a generation of the analysis that is connected, has mapped the memory, and waits. It moves to the main slot
//! where otherwise a process would be spawned, so back-off, parking and the brake are the same with and without it.

use crate::core::{
    model::{
        DesiredState, GenerationState, Process, StopRequest, SupervisorPhase, Worker, WorkerSlot,
        WorkerSlotId,
    },
    transition::Transition,
};
use bulkhead_proto::wire::role::Role;

impl Worker {
    /// The standby, if it may become the main generation.
    pub(in crate::core) fn usable_standby(&self) -> Option<&Process> {
        let usable = |process: &&Process| process.is_starting() && !self.is_outdated(process.generation);
        self.standby.process().filter(usable)
    }

    /// Whether a standby may be started: the main generation is active, and no other one is being started.
    pub(in crate::core) fn may_begin_standby(&self) -> bool {
        let idle = self.successor == GenerationState::Stopped && self.replacement.is_none();
        self.main.running().is_some() && idle
    }

    /// The program or its settings may have changed: a standby that could not be started is tried again.
    pub(in crate::core) fn retry_standby(&mut self) {
        if self.standby.process().is_none() {
            self.standby = GenerationState::Stopped;
        }
    }

    /// Whether a standby is of use: the worker runs, or is about to.
    fn wants_standby(&self) -> bool {
        let may_run = match &self.main {
            GenerationState::Live(_) | GenerationState::Backoff { .. } => true,
            GenerationState::Stopped | GenerationState::Parked { .. } => false,
        };
        may_run && self.role == Role::Analytics && self.desired == DesiredState::Running
    }
}

impl Transition<'_> {
    /// Starts the standby of each worker that runs without one, and stops each that is of no use.
    pub(in crate::core) fn keep_standbys(&mut self) {
        if self.state.phase != SupervisorPhase::Up {
            return;
        }
        for id in self.state.worker_ids() {
            let worker = self.worker(id);
            let wanted = self.state.policy.standby && worker.wants_standby();
            match &worker.standby {
                GenerationState::Stopped if wanted && worker.may_begin_standby() => {
                    let until = self.earliest_start(id);
                    self.worker_mut(id).standby = GenerationState::Backoff { until };
                }
                GenerationState::Live(process) if wanted && !worker.is_outdated(process.generation) => {}
                GenerationState::Live(process) if process.is_starting() => {
                    let request =
                        worker.replacement.map_or(StopRequest::Unneeded, |replacement| replacement.request);
                    self.begin_stop(id.standby(), request);
                }
                GenerationState::Backoff { .. } | GenerationState::Parked { .. } if !wanted => {
                    self.worker_mut(id).standby = GenerationState::Stopped;
                }
                GenerationState::Stopped
                | GenerationState::Live(_)
                | GenerationState::Backoff { .. }
                | GenerationState::Parked { .. } => {}
            }
        }
    }

    /// Moves the standby to the main slot instead of spawning a process, and schedules the next one. `false`: there is none that
    /// may.
    pub(in crate::core) fn take_standby(&mut self, slot_id: WorkerSlotId) -> bool {
        let usable = self.worker(slot_id.worker).usable_standby().map(|process| process.generation);
        let Some(generation) = usable.filter(|_| slot_id.slot == WorkerSlot::Main) else { return false };
        self.count_start(slot_id.worker, generation, false);
        let next = GenerationState::Backoff { until: self.earliest_start(slot_id.worker) };
        let worker = self.worker_mut(slot_id.worker);
        worker.main = std::mem::replace(&mut worker.standby, next);
        self.advance_takeover(slot_id.worker);
        true
    }
}
