//! Replaces a generation with a newer one, for `restart` and reload. The replacement is advanced in each
//! transition, so that a death or a takeover in progress is handled wherever it occurs.

use crate::core::{
    model::{GenerationState, ProcessPhase, Replacement, StopRequest, SupervisorPhase, Worker, WorkerId},
    transition::Transition,
};
use bulkhead_proto::wire::{ids::Generation, role::Role};

impl Worker {
    /// Whether the generation is being replaced.
    pub(in crate::core) fn is_outdated(&self, generation: Generation) -> bool {
        self.replacement.is_some_and(|replacement| generation <= replacement.outdated_through)
    }
}

impl Transition<'_> {
    /// Marks every generation so far as outdated. A worker without a running process is started at once.
    pub(in crate::core) fn begin_replacement(&mut self, id: WorkerId, request: StopRequest) {
        let worker = self.worker_mut(id);
        worker.replacement = Some(Replacement { outdated_through: worker.generation, request });
        worker.retry_standby();
        match (&worker.main, &worker.successor) {
            (
                GenerationState::Stopped | GenerationState::Backoff { .. } | GenerationState::Parked { .. },
                _,
            ) => self.start_immediately(id.main()),
            // The successor died while its predecessor was stopping.
            (
                GenerationState::Live(process),
                GenerationState::Backoff { .. } | GenerationState::Parked { .. },
            ) if process.stop().is_some() => self.start_immediately(id.successor()),
            (GenerationState::Live(_), _) => {}
        }
    }

    /// Advances all replacements.
    pub(in crate::core) fn advance_replacements(&mut self) {
        if self.state.phase != SupervisorPhase::Up {
            return;
        }
        for id in self.state.worker_ids() {
            if let Some(Replacement { outdated_through, request }) = self.worker(id).replacement {
                self.advance_replacement(id, outdated_through, request);
            }
        }
    }

    fn advance_replacement(&mut self, id: WorkerId, outdated_through: Generation, request: StopRequest) {
        let worker = self.worker(id);
        if worker.running().is_some_and(|process| process.generation > outdated_through) {
            self.worker_mut(id).replacement = None;
            return;
        }
        // What is in progress finishes first, even a takeover by an outdated generation.
        let (GenerationState::Live(process), GenerationState::Stopped) = (&worker.main, &worker.successor)
        else {
            return;
        };
        match process.phase {
            ProcessPhase::Running if worker.role != Role::Plain => {
                let until = self.earliest_start(id);
                self.worker_mut(id).successor = GenerationState::Backoff { until };
            }
            // The old process is not active yet, or its worker allows no second process.
            ProcessPhase::Starting { .. } | ProcessPhase::Standby | ProcessPhase::Running => {
                if process.generation <= outdated_through {
                    self.begin_stop(id.main(), request);
                }
            }
            ProcessPhase::Stopping(_) => {}
        }
    }

    /// A generation died. If it was the new one, the replacement ends and the old generation stays.
    pub(in crate::core) fn replacement_failed(&mut self, id: WorkerId, died: Generation) {
        if !self.worker(id).is_outdated(died) {
            self.worker_mut(id).replacement = None;
        }
    }
}
